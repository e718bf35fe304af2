"""TD401: a seed set in forward."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from audit_corpus import FEATURES, VECTOR, Body, Case, check_twins, in_hosts
from torch import nn

import thinned


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


@pytest.mark.parametrize(
    ("seed", "codes"),
    [
        (lambda: 0, {"TD401"}),
        (lambda: 1234, {"TD401"}),
        (lambda: torch.seed() % 2**31, set()),  # as reversible layers do, to repeat the mask in backward
        (lambda: int(torch.randint(2**31, ())), set()),
    ],
)
def test_a_fresh_seed_in_each_forward_is_no_mistake(seed: Callable[[], int], codes: set[str]) -> None:
    body = lambda m, x: (torch.manual_seed(seed()), m.head(m.drop(m.line(x))))[1]  # noqa: E731
    model = Body(body, line=nn.Linear(FEATURES, 16), drop=nn.Dropout(0.2), head=nn.Linear(16, 2))
    state = torch.get_rng_state()
    assert thinned.audit(model, VECTOR).codes() & {"TD401"} == codes
    assert torch.equal(state, torch.get_rng_state())
