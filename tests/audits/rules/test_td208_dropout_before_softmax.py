"""TD208: dropout on scores, before their softmax."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from audit_corpus import FEATURES, SEQUENCE, Body, Case, check_twins
from torch import nn

import thinned


def cases() -> Iterator[Case]:
    def attention(m: Any, x: torch.Tensor, wrong: bool, kind: str) -> torch.Tensor:
        q, k = m.query(x), m.key(x)
        scores = torch.einsum("bqd,bkd->bqk", q, k) if kind == "einsum" else q @ k.mT / 4
        if kind == "masked":
            scores = scores.masked_fill(torch.ones(5, 5).triu(1).bool(), -1e9)
        scores = m.drop(scores) if wrong else scores
        if kind == "late mask":
            scores = scores.masked_fill(torch.ones(5, 5).triu(1).bool(), -1e9)
        weights = torch.softmax(scores, -1) if kind == "function" else scores.softmax(-1)
        return m.head((weights if wrong else m.drop(weights)) @ x)

    for kind in ("plain", "einsum", "masked", "late mask", "function"):
        for p in (0.1, 0.3):

            def build(wrong: bool, kind: str = kind, p: float = p) -> nn.Module:
                layers = {name: nn.Linear(FEATURES, FEATURES) for name in ("query", "key", "head")}
                return Body(lambda m, x: attention(m, x, wrong, kind), drop=nn.Dropout(p), **layers)

            yield Case("TD208", f"{kind}-{p}", build, SEQUENCE)


@pytest.mark.parametrize("case", list(cases()), ids=lambda case: case.name)
def test_a_planted_mistake_is_found_and_its_twin_is_not(case: Case) -> None:
    check_twins(case)


def gate(m: Any, x: torch.Tensor) -> torch.Tensor:
    return m.head(m.drop(m.score(x)).softmax(1) * x)


def test_scores_of_a_layer_are_information_and_no_output() -> None:
    model = Body(gate, drop=nn.Dropout(0.3), score=nn.Linear(FEATURES, 1), head=nn.Linear(FEATURES, 2))
    assert [(finding.code, finding.severity) for finding in thinned.audit(model, SEQUENCE)] == [("TD208", "info")]


def test_predictions_have_a_rule_of_their_own() -> None:
    model = nn.Sequential(nn.Linear(FEATURES, 3), nn.Dropout(0.3), nn.Softmax(-1))
    assert thinned.audit(model, SEQUENCE).codes() == {"TD201"}
