"""TD302: dropout in a recurrent module of one layer."""

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from audit_corpus import (
    FEATURES,
    SEQUENCE,
    Body,
    Case,
    check_twins,
)
from torch import nn


def cases() -> Iterator[Case]:
    for cls, p, bidirectional in itertools.product((nn.LSTM, nn.GRU, nn.RNN), (0.2, 0.5), (False, True)):

        def build(wrong: bool, c: Any = cls, r: float = p, both: bool = bidirectional) -> nn.Module:
            layers = c(FEATURES, 8, 1 if wrong else 2, dropout=r, batch_first=True, bidirectional=both)
            return Body(lambda m, x: m.head(m.layers(x)[0].mean(1)), layers=layers, head=nn.Linear(8 * (1 + both), 3))

        yield Case("TD302", f"{cls.__name__}-{p}-{bidirectional}", build, SEQUENCE)


@pytest.mark.parametrize("case", list(cases()), ids=lambda case: case.name)
def test_a_planted_mistake_is_found_and_its_twin_is_not(case: Case) -> None:
    check_twins(case)
