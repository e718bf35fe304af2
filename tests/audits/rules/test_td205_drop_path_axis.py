"""TD205: stochastic depth along the wrong axis."""

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from audit_corpus import (
    FEATURES,
    SEQUENCE,
    Body,
    Case,
    check_twins,
)
from torch import nn

import thinned


class DropPath(nn.Module):
    """Stochastic depth over the axes that it is told."""

    def __init__(self, p: float, axes: tuple[int, ...]) -> None:
        super().__init__()
        self.drop_prob, self.axes = p, axes

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return x
        shape = [size if axis in self.axes else 1 for axis, size in enumerate(x.shape)]
        return x * (torch.rand(shape) >= self.drop_prob) / (1 - self.drop_prob)


def cases() -> Iterator[Case]:
    for p, axes in itertools.product((0.2, 0.4), ((1,), (2,), (0, 1), (0, 1, 2))):

        def build(wrong: bool, r: float = p, along: tuple[int, ...] = axes) -> nn.Module:
            path = DropPath(r, along if wrong else (0,))
            return Body(
                lambda m, x: m.head((x + m.path(m.layer(x))).mean(1)),
                path=path,
                layer=nn.Linear(FEATURES, FEATURES),
                head=nn.Linear(FEATURES, 3),
            )

        yield Case("TD205", f"{axes}-{p}", build, SEQUENCE)
    for p in (0.1, 0.2, 0.3, 0.5):

        def moved(wrong: bool, r: float = p) -> nn.Module:
            def body(m: Any, x: torch.Tensor) -> torch.Tensor:
                y = x.transpose(0, 1) if wrong else x
                y = y + m.path(m.layer(y))
                return m.head(y.mean(0 if wrong else 1))

            return Body(body, path=DropPath(r, (0,)), layer=nn.Linear(FEATURES, FEATURES), head=nn.Linear(FEATURES, 3))

        yield Case("TD205", f"time-first-{p}", moved, SEQUENCE)


@pytest.mark.parametrize("case", list(cases()), ids=lambda case: case.name)
def test_a_planted_mistake_is_found_and_its_twin_is_not(case: Case) -> None:
    check_twins(case)


@pytest.mark.parametrize(
    ("steps", "batch", "axis", "found"),
    [
        (16, 4, "steps", True),  # a multiple of the batch, as frames within it would be
        (4, 4, "steps", True),  # two axes of one length
        (4, 4, "batch", False),
        (16, 4, "batch", False),
        (6, 4, "frames", False),  # frames within the batch, with as many features as there are rows
    ],
)
def test_the_axis_of_the_batch_is_found_where_lengths_do_not_tell(steps, batch, axis, found) -> None:
    def body(m: Any, x: torch.Tensor) -> torch.Tensor:
        if axis == "frames":
            x = x.flatten(0, 1).unsqueeze(1).expand(-1, batch, -1)
        x = x.transpose(0, 1) if axis == "steps" else x
        return m.head(x + m.path(m.layer(x)))

    layers = {"layer": nn.Linear(FEATURES, FEATURES), "head": nn.Linear(FEATURES, 3)}
    result = thinned.audit(Body(body, path=DropPath(0.2, (0,)), **layers), torch.randn(batch, steps, FEATURES))
    assert ("TD205" in result.codes()) is found
