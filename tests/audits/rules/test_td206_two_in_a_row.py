"""TD206: two dropouts with no weight between."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch.nn.functional as F
from audit_corpus import (
    VECTOR,
    Body,
    Case,
    check_twins,
    mlp,
)
from torch import nn


def cases() -> Iterator[Case]:
    betweens: dict[str, Callable[[int], nn.Module]] = {
        "nothing": lambda _: nn.Identity(), "relu": lambda _: nn.ReLU(), "gelu": lambda _: nn.GELU(),
        "view": lambda _: Body(lambda m, x: x.unsqueeze(1).squeeze(1)), "tanh": lambda _: nn.Tanh(),
    }  # fmt: skip
    for (kind, between), p in itertools.product(betweens.items(), (0.2, 0.4)):

        def pair(wrong: bool, b: Any = between, r: float = p) -> nn.Module:
            weight = [] if wrong else [nn.Linear(16, 16)]
            return mlp(nn.Sequential(nn.Dropout(r), b(16), *weight, nn.Dropout(r)))

        yield Case("TD206", f"{kind}-{p}", pair, VECTOR)
    for p in (0.1, 0.2, 0.3):

        def two(wrong: bool, r: float = p) -> nn.Module:
            return mlp(Body(lambda m, x: m.drop(F.dropout(x, r if wrong else 0.0, m.training)), drop=nn.Dropout(r)))

        yield Case("TD206", f"functional-{p}", two, VECTOR)


@pytest.mark.parametrize("case", list(cases()), ids=lambda case: case.name)
def test_a_planted_mistake_is_found_and_its_twin_is_not(case: Case) -> None:
    check_twins(case)
