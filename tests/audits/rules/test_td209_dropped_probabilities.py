"""TD209: probabilities that dropout has changed, and that are used as probabilities."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from audit_corpus import FEATURES, SEQUENCE, Body, Case, check_twins
from torch import nn

import thinned

TARGET = torch.zeros(8, 5, dtype=torch.long)


def pointer(m: Any, x: torch.Tensor, wrong: bool, kind: str) -> Any:
    weights = (m.query(x) @ x.mT).softmax(-1)
    dropped = m.drop(weights)
    context = m.head(dropped @ x)
    points = dropped if wrong else weights
    if kind == "returned":
        return context, points.mean(1)
    if kind == "loss":
        return F.nll_loss((points + 1e-9).log().mT, TARGET) + 0 * context.sum()
    gate = m.gate(x).sigmoid()
    mixture = torch.zeros(8, 5, 9).scatter_add(2, torch.randint(9, (8, 5, 5)), gate * points)
    return (mixture + (1 - gate) * m.words(x).softmax(-1)).clamp(1e-9).log() + 0 * context.sum()


def cases() -> Iterator[Case]:
    for kind in ("returned", "loss", "mixed"):
        for p in (0.1, 0.3):

            def build(wrong: bool, kind: str = kind, p: float = p) -> nn.Module:
                sizes = {"query": FEATURES, "head": 2, "gate": 1, "words": 9}
                layers = {name: nn.Linear(FEATURES, size) for name, size in sizes.items()}
                return Body(lambda m, x: pointer(m, x, wrong, kind), drop=nn.Dropout(p), **layers)

            yield Case("TD209", f"{kind}-{p}", build, SEQUENCE)


@pytest.mark.parametrize("case", list(cases()), ids=lambda case: case.name)
def test_a_planted_mistake_is_found_and_its_twin_is_not(case: Case) -> None:
    check_twins(case)


class Torchs(nn.Module):
    def __init__(self, returns: bool) -> None:
        super().__init__()
        self.attention, self.returns = nn.MultiheadAttention(FEATURES, 2, 0.3, batch_first=True), returns

    def forward(self, x: torch.Tensor) -> Any:
        context, weights = self.attention(x, x, x)
        return (context, weights) if self.returns else context


@pytest.mark.parametrize("returns", [True, False])
def test_the_weights_that_torch_returns_are_dropped(returns: bool) -> None:
    assert ("TD209" in thinned.audit(Torchs(returns), SEQUENCE).codes()) is returns


def test_a_context_that_is_written_as_a_sum_is_no_probability() -> None:
    def pooled(m: Any, x: torch.Tensor) -> torch.Tensor:
        return (m.drop(m.score(x).tanh().softmax(1)) * x).sum(1)

    model = Body(pooled, drop=nn.Dropout(0.3), score=nn.Linear(FEATURES, 1))
    assert thinned.audit(model, SEQUENCE).codes() == set()


@pytest.mark.parametrize("join", ["stack", "cat", "with scores"])
def test_weights_of_several_layers_are_joined(join: str) -> None:
    def layers(m: Any, x: torch.Tensor) -> Any:
        scores = m.query(x) @ x.mT
        weights = [m.drop(scores.softmax(-1)), m.drop((2 * scores).softmax(-1))]
        if join == "with scores":  # a mixture is no distribution that dropout has changed
            return torch.cat([weights[0], scores], 1)
        return torch.stack([w.mean(1) for w in weights]) if join == "stack" else torch.cat(weights, 1)

    model = Body(layers, drop=nn.Dropout(0.3), query=nn.Linear(FEATURES, FEATURES))
    assert ("TD209" in thinned.audit(model, SEQUENCE).codes()) is (join != "with scores")
