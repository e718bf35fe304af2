"""TD101: dropout that is active in evaluation."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.nn.functional as F
from audit_corpus import FEATURES, SEQUENCE, VECTOR, Body, Case, attention, check_twins, in_hosts, mlp
from torch import nn

import thinned


def cases() -> Iterator[Case]:
    yield from in_hosts(
        "TD101",
        {
            "functional": lambda wrong, p: Body(lambda m, x: F.dropout(x, p, training=wrong or m.training)),
            "default": lambda wrong, p: Body(lambda m, x: F.dropout(x, p) if wrong or m.training else x),
            "sdpa": lambda wrong, p: Body(lambda m, x: attention(m, x, p if wrong or m.training else 0.0)),
        },
        rates=(0.2, 0.5),
    )
    for p in (0.2, 0.5):

        def kept(wrong: bool, r: float = p) -> nn.Module:
            return mlp(Body(lambda m, x: m.kept[0](x), kept=(list if wrong else nn.ModuleList)([nn.Dropout(r)])))

        yield Case("TD101", f"unregistered-{p}", kept, VECTOR)
    for p in (0.2, 0.5):

        class Stubborn(nn.LSTM):
            wrong = True

            def train(self, mode: bool = True) -> nn.Module:
                return super().train(mode or self.wrong)

        def build(wrong: bool, r: float = p, cls: type = Stubborn) -> nn.Module:
            lstm = cls(FEATURES, 8, 2, dropout=r, batch_first=True)
            lstm.wrong = wrong
            return Body(lambda m, x: m.head(m.lstm(x)[0][:, -1]), lstm=lstm, head=nn.Linear(8, 3))

        yield Case("TD101", f"lstm-{p}", build, SEQUENCE)


@pytest.mark.parametrize("case", list(cases()), ids=lambda case: case.name)
def test_a_planted_mistake_is_found_and_its_twin_is_not(case: Case) -> None:
    check_twins(case)


@pytest.mark.parametrize("kind", ["sdpa", "built", "raises"])
def test_the_gate(kind: str) -> None:
    class Gated(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if kind == "sdpa":
                return F.scaled_dot_product_attention(x, x, x, None, 0.5) + F.scaled_dot_product_attention(
                    x, x, x, dropout_p=0.5
                )
            y = nn.Dropout(0.5)(x)
            if len(x) == 1:
                raise ValueError
            return y @ x.mT

    model, x = nn.Sequential(Gated()), torch.randn(4, 5, 6)
    assert not thinned.audit(model, x, fix=True).with_severity("error")
    model.eval()
    assert torch.equal(model(x), model(x))
    if kind == "raises":
        with pytest.raises(ValueError):  # noqa: PT011 - as it happens
            model(x[:1])
    assert torch._C._len_torch_function_stack() == 0
    with ThreadPoolExecutor(4) as pool:  # each thread has gates of its own
        assert all(torch.equal(y, model(x)) for y in pool.map(model, [x] * 32))
    other = F.dropout(torch.ones(1000), 0.5)
    assert (other == 0).any()


def test_monai_attention_drops_in_evaluation() -> None:
    blocks = pytest.importorskip("monai.networks.blocks")
    [finding] = thinned.audit(
        blocks.SABlock(32, 4, dropout_rate=0.2, use_flash_attention=True), torch.randn(2, 6, 32)
    ).with_severity("error")
    assert (finding.code, finding.data["op"]) == ("TD101", "scaled_dot_product_attention")


class MonteCarlo(nn.Module):
    """Dropout that stays on, since ``train`` does not reach it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.drop, self.last = nn.Linear(4, 4), nn.Dropout(0.3), nn.Linear(4, 2)

    def train(self, mode: bool = True) -> "MonteCarlo":
        self.training = mode
        return self

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.drop(self.first(x).relu()))


def test_the_fix_is_no_call_that_an_overridden_train_ignores() -> None:
    [finding] = [finding for finding in thinned.audit(MonteCarlo(), torch.randn(8, 4)) if finding.code == "TD101"]
    assert finding.fix.startswith("super().train(mode)  # in MonteCarlo.train")


def test_zeros_that_dropout_made_are_counted_and_not_those_of_relu() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.8), nn.Linear(64, 2))
    [finding] = thinned.audit(model, torch.randn(256, 64))
    assert finding.code == "TD303"
    # about 8,000 values behind ReLU: 0.03 is more than 6 standard errors, so that it fails once in 10^9
    assert finding.data["zeros"] == pytest.approx(0.8, abs=0.03)
    assert "became zero)" in finding.evidence
