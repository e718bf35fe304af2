"""TD201: dropout on the output."""

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from audit_corpus import (
    BATCH,
    FEATURES,
    HOSTS,
    VECTOR,
    Body,
    Case,
    check_twins,
)
from torch import nn

import thinned


def cases() -> Iterator[Case]:
    ends = {
        "linear": lambda d, h: nn.Sequential(h, d),
        "softmax": lambda d, h: nn.Sequential(h, d, nn.Softmax(-1)),
        "log_softmax": lambda d, h: Body(lambda m, x: F.log_softmax(m.drop(m.head(x)), -1), drop=d, head=h),
        "loss": lambda d, h: Body(
            lambda m, x: F.cross_entropy(m.drop(m.head(x)), torch.zeros(BATCH, dtype=torch.long)), drop=d, head=h
        ),
    }
    for (kind, end), (name, (host, x)) in itertools.product(ends.items(), HOSTS.items()):

        def ended(wrong: bool, e: Any = end, h: Any = host) -> nn.Module:
            drop, other = nn.Dropout(0.2), nn.Identity()
            return e(drop, h(other)) if wrong else e(other, h(drop))

        yield Case("TD201", f"{kind}-{name}", ended, x)


@pytest.mark.parametrize("case", list(cases()), ids=lambda case: case.name)
def test_a_planted_mistake_is_found_and_its_twin_is_not(case: Case) -> None:
    check_twins(case)


@pytest.mark.parametrize("shared", [True, False])
def test_each_place_of_a_shared_dropout_is_judged(shared: bool) -> None:
    first = nn.Dropout(0.5)
    head = first if shared else nn.Dropout(0.5)
    model = nn.Sequential(nn.Linear(FEATURES, 16), nn.ReLU(), first, nn.Linear(16, 2), head)
    assert "TD201" in thinned.audit(model, VECTOR).codes()
    right = nn.Sequential(
        nn.Linear(FEATURES, 16), nn.ReLU(), first, nn.Linear(16, 16), nn.ReLU(), head, nn.Linear(16, 2)
    )
    assert "TD201" not in thinned.audit(right, VECTOR).codes()


class WithMetric(nn.Module):
    """A classifier that returns its loss and computes an accuracy."""

    def __init__(self, on_output: bool) -> None:
        super().__init__()
        self.body, self.head, self.drop = nn.Linear(FEATURES, 16), nn.Linear(16, 2), nn.Dropout(0.2)
        self.on_output = on_output

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.body(x).relu()
        y = self.drop(self.head(x)) if self.on_output else self.head(self.drop(x))
        target = torch.zeros(len(y), dtype=torch.long)
        self.accuracy = (y.argmax(1) == target).float().mean()
        return F.cross_entropy(y, target)


@pytest.mark.parametrize("on_output", [True, False])
def test_a_metric_beside_the_loss_hides_nothing(on_output: bool) -> None:
    assert ("TD201" in thinned.audit(WithMetric(on_output), VECTOR).codes()) is on_output
