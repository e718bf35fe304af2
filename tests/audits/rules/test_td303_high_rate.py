"""TD303: rates above 0.7."""

from collections.abc import Iterator

import pytest
from audit_corpus import Case, check_twins, in_hosts
from torch import nn


def cases() -> Iterator[Case]:
    return in_hosts("TD303", {"rate": lambda wrong, p: nn.Dropout(p if wrong else 1 - p)}, rates=(0.75, 0.8, 0.84))


@pytest.mark.parametrize("case", list(cases()), ids=lambda case: case.name)
def test_a_planted_mistake_is_found_and_its_twin_is_not(case: Case) -> None:
    check_twins(case)
