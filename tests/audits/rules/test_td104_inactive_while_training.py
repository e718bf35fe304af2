"""TD104: dropout in evaluation mode while the model trains."""

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from audit_corpus import (
    HOSTS,
    RATES,
    VECTOR,
    Case,
    check_twins,
    mlp,
)
from torch import nn


def cases() -> Iterator[Case]:
    for (name, (host, x)), p in itertools.product(HOSTS.items(), RATES):

        def build(wrong: bool, h: Any = host, r: float = p) -> nn.Module:
            model = h(nn.Dropout(r)).train()
            site = next(m for m in model.modules() if type(m) is nn.Dropout and m.p == r)
            return (site.train(not wrong), model)[1]

        yield Case("TD104", f"{name}-{p}", build, x)

    def frozen(wrong: bool) -> nn.Module:
        model = nn.Sequential(mlp(nn.Dropout(0.3)), nn.ReLU(), nn.Linear(3, 2)).train()
        model[0].eval().requires_grad_(wrong)
        return model

    yield Case("TD104", "frozen", frozen, VECTOR)


@pytest.mark.parametrize("case", list(cases()), ids=lambda case: case.name)
def test_a_planted_mistake_is_found_and_its_twin_is_not(case: Case) -> None:
    check_twins(case)
