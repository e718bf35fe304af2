"""TD103: dropout modules built in forward."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from audit_corpus import Body, Case, check_twins, in_hosts
from torch import nn


def cases() -> Iterator[Case]:
    def site(wrong: bool, p: float) -> nn.Module:
        return Body(lambda m, x: nn.Dropout(p)(x)) if wrong else Body(lambda m, x: m.drop(x), drop=nn.Dropout(p))

    def assigned(wrong: bool, p: float) -> nn.Module:
        def body(m: Any, x: torch.Tensor) -> torch.Tensor:
            if wrong:
                m.drop = nn.Dropout(p)
            return m.drop(x)

        return Body(body, drop=nn.Dropout(p)) if not wrong else Body(body)

    yield from in_hosts("TD103", {"called": site, "assigned": assigned}, rates=(0.2, 0.5))


@pytest.mark.parametrize("case", list(cases()), ids=lambda case: case.name)
def test_a_planted_mistake_is_found_and_its_twin_is_not(case: Case) -> None:
    check_twins(case)
