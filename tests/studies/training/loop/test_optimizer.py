"""The optimizer is torch's, with decoupled decay of matrices and a schedule."""

import copy
import math

import pytest
import torch
from torch import nn

from thinned.studies.training.loop.config import NetworkConfig
from thinned.studies.training.loop.optimizer import NetworkOptimizer


def step(network: nn.Module, optimizer: object, number: int | None = None) -> None:
    network(torch.ones(4, 3)).square().sum().backward()
    if number is None:
        optimizer.step()  # type: ignore[attr-defined]
        optimizer.zero_grad()  # type: ignore[attr-defined]
    else:
        optimizer.step(number)  # type: ignore[attr-defined]


def test_adamw_is_that_of_torch() -> None:
    ours, torchs = (nn.Linear(3, 2, bias=False) for _ in range(2))
    torchs.load_state_dict(ours.state_dict())
    own = NetworkOptimizer(ours, NetworkConfig(1, 1, learning_rate=0.01, weight_decay=0.3), 5)
    reference = torch.optim.AdamW(torchs.parameters(), lr=0.01, weight_decay=0.3)
    for number in range(5):
        step(ours, own, number)
        step(torchs, reference)
    torch.testing.assert_close(ours.weight, torchs.weight)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_matrices_decay_and_biases_do_not(optimizer: str) -> None:
    network = nn.Linear(3, 2)
    before = copy.deepcopy(network)
    own = NetworkOptimizer(network, NetworkConfig(1, 1, learning_rate=0.1, optimizer=optimizer, weight_decay=2), 1)  # type: ignore[arg-type]
    for p in network.parameters():
        p.grad = torch.zeros_like(p)
    own.step(0)
    torch.testing.assert_close(network.weight, 0.8 * before.weight)
    assert torch.equal(network.bias, before.bias)


def test_cosine_falls_to_zero() -> None:
    own = NetworkOptimizer(nn.Linear(1, 1), NetworkConfig(1, 1, learning_rate=2.0, schedule="cosine"), 10)
    assert [own.rate(0), own.rate(5), own.rate(10)] == pytest.approx([2, 1, 0])
    assert own.rate(2) == pytest.approx(1 + math.cos(0.2 * math.pi))
    assert own.rate(12) == pytest.approx(0)


def test_clipping_bounds_a_step() -> None:
    network = nn.Linear(3, 2)
    before = copy.deepcopy(network)
    own = NetworkOptimizer(network, NetworkConfig(1, 1, learning_rate=1.0, optimizer="sgd", clip=0.5), 1)
    step(network, own, 0)
    pairs = zip(network.parameters(), before.parameters(), strict=True)
    moved = torch.cat([(p - q).detach().flatten() for p, q in pairs])
    assert float(moved.norm()) == pytest.approx(0.5, rel=1e-4)
