"""TD402: checkpointing that draws another mask."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from audit_corpus import Body, Case, check_twins, in_hosts
from torch import nn
from torch.utils.checkpoint import checkpoint


def cases() -> Iterator[Case]:
    def using(reentrant: bool) -> Callable[[bool, float], nn.Module]:
        def site(wrong: bool, p: float) -> nn.Module:
            def body(m: Any, x: torch.Tensor) -> torch.Tensor:
                return checkpoint(m.drop, x, use_reentrant=reentrant, preserve_rng_state=not wrong)

            return Body(body, drop=nn.Dropout(p))

        return site

    yield from in_hosts("TD402", {"reentrant": using(True), "hooks": using(False)}, rates=(0.2, 0.5))


@pytest.mark.parametrize("case", list(cases()), ids=lambda case: case.name)
def test_a_planted_mistake_is_found_and_its_twin_is_not(case: Case) -> None:
    check_twins(case)
