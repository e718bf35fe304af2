"""TD307: few training rows."""

import itertools
from collections.abc import Iterator

import pytest
from audit_corpus import (
    HOSTS,
    Case,
    check_twins,
)
from torch import nn


def cases() -> Iterator[Case]:
    for (name, (host, x)), rows in itertools.product(HOSTS.items(), (50, 200, 500)):
        yield Case(
            "TD307", f"{name}-{rows}", lambda _, h=host: h(nn.Dropout(0.4)), x,
            lambda wrong, n=rows: {"rows": n if wrong else 100 * n},
        )  # fmt: skip


@pytest.mark.parametrize("case", list(cases()), ids=lambda case: case.name)
def test_a_planted_mistake_is_found_and_its_twin_is_not(case: Case) -> None:
    check_twins(case)
