"""TD304: rates that look like keep rates."""

from collections.abc import Iterator

import pytest
from audit_corpus import Case, check_twins, in_hosts
from torch import nn


def cases() -> Iterator[Case]:
    return in_hosts("TD304", {"rate": lambda wrong, p: nn.Dropout(p if wrong else 1 - p)}, rates=(0.85, 0.9, 0.95))


@pytest.mark.parametrize("case", list(cases()), ids=lambda case: case.name)
def test_a_planted_mistake_is_found_and_its_twin_is_not(case: Case) -> None:
    check_twins(case)
