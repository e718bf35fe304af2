"""TD401: a seed set in forward."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from audit_corpus import Body, Case, check_twins, in_hosts
from torch import nn


def cases() -> Iterator[Case]:
    def site(wrong: bool, p: float) -> nn.Module:
        def body(m: Any, x: torch.Tensor) -> torch.Tensor:
            if wrong:
                torch.manual_seed(0)
            else:
                with torch.random.fork_rng():
                    torch.manual_seed(0)
            return m.drop(x)

        return Body(body, drop=nn.Dropout(p))

    yield from in_hosts("TD401", {"seed": site})


@pytest.mark.parametrize("case", list(cases()), ids=lambda case: case.name)
def test_a_planted_mistake_is_found_and_its_twin_is_not(case: Case) -> None:
    check_twins(case)
