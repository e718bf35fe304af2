"""TD206: two dropouts with no weight between."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from audit_corpus import (
    FEATURES,
    VECTOR,
    Body,
    Case,
    check_twins,
    mlp,
)
from torch import nn

import thinned


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


def test_each_place_of_a_shared_dropout_is_judged() -> None:
    drop = nn.Dropout(0.2)
    model = nn.Sequential(nn.Linear(FEATURES, 16), drop, nn.Linear(16, 16), drop, nn.ReLU(), drop, nn.Linear(16, 2))
    assert "TD206" in thinned.audit(model, VECTOR).codes()


def test_locked_dropout_is_meant_to_follow_word_dropout() -> None:
    tokens, locked = torch.randint(50, (6, 11)), thinned.LockedDropout(0.4, time_dim=1)
    for words, codes in (
        (thinned.EmbeddingDropout(50, 16, p=0.1), set()),
        (nn.Sequential(nn.Embedding(50, 16), thinned.WordDropout(0.05)), set()),
        (nn.Sequential(nn.Embedding(50, 16), nn.Dropout(0.3)), {"TD206"}),
    ):
        assert thinned.audit(nn.Sequential(words, locked, nn.Linear(16, 2)), tokens).codes() == codes
