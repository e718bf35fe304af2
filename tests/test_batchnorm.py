"""Batch norm statistics, corrected for dropout: the variance before and after."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import thinned

P = 0.5


def normed_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(20, 64), nn.ReLU(), thinned.Dropout(P), nn.Linear(64, 32), nn.BatchNorm1d(32), nn.Linear(32, 1)
    )


def batches(n: int = 40) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(1)
    x = [torch.randn(64, 20, generator=generator) for _ in range(n)]
    return [(rows, rows.sum(1, keepdim=True)) for rows in x]


def test_variance_that_batch_norm_believes_against_that_it_meets() -> None:
    """The ratio of the running variance to the variance at the norm's input in evaluation: above 1 before, 1 after."""
    model, data = normed_net(), batches()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for x, y in data * 3:
        loss = (model(x) - y).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    met = torch.stack([model[:4](x).detach().var(0) for x, _ in data]).mean(0)

    before = (model[4].running_var / met).mean()
    loss_before = sum(float((model(x) - y).detach().square().mean()) for x, y in data)
    weights = [p.clone() for p in model.parameters()]
    thinned.recalibrate_batchnorm(model, data)
    after = (model[4].running_var / met).mean()

    assert before > 1.2  # dropout with p = 0.5 doubles second moments, and variance by less
    assert after == pytest.approx(1, abs=1e-4)
    assert sum(float((model(x) - y).detach().square().mean()) for x, y in data) != loss_before
    assert all(torch.equal(a, b) for a, b in zip(weights, model.parameters(), strict=True))


def test_recalibration_leaves_flags_and_momenta_also_after_an_error() -> None:
    model = normed_net()
    model.train()
    model[4].eval()
    model[4].momentum = 0.3
    flags = [m.training for m in model.modules()]
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        thinned.recalibrate_batchnorm(model, [torch.ones(4, 3)])
    thinned.recalibrate_batchnorm(model, [torch.randn(8, 20), torch.randn(8, 20)])
    assert [m.training for m in model.modules()] == flags
    assert model[4].momentum == 0.3
    assert int(model[4].num_batches_tracked) == 2


def test_recalibration_switches_functional_dropout_off_too() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(4)

        def forward(self, x: torch.Tensor, factor: float = 1.0) -> torch.Tensor:
            return self.norm(factor * F.dropout(x, 0.5, self.training))

    x = torch.randn(100, 4)
    model = thinned.recalibrate_batchnorm(Net(), [x])
    assert torch.allclose(model.norm.running_var, x.var(0), atol=1e-5)
    thinned.recalibrate_batchnorm(model, [{"x": x}], forward=lambda m, batch: m(batch["x"], factor=2.0))
    assert torch.allclose(model.norm.running_var, 4 * x.var(0), atol=1e-5)


def test_recalibration_errors() -> None:
    with pytest.raises(ValueError, match="must have a batch norm"):
        thinned.recalibrate_batchnorm(nn.Linear(2, 2), [])
    model = normed_net()
    model[4].running_mean.fill_(3)
    with pytest.raises(ValueError, match="at least one batch"):
        thinned.recalibrate_batchnorm(model, [])
    assert (model[4].running_mean == 3).all()
