"""TD204: Dropout1d, 2d or 3d on other axes."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from audit_corpus import CHANNELS, FEATURES, IMAGE, SEQUENCE, STEPS, VECTOR, Body, Case, check_twins, cnn, mlp
from torch import nn

import thinned


def cases() -> Iterator[Case]:
    def linear(cls: Callable[[float], nn.Module], right: Callable[[float], nn.Module], p: float) -> Any:
        return lambda wrong: mlp((cls if wrong else right)(p))

    def sequence(cls: Callable[[float], nn.Module], p: float, first: nn.Module) -> Any:
        def build(wrong: bool) -> nn.Module:
            body = lambda m, x: m.head(m.drop(m.first(x)).mean(1))  # noqa: E731
            return Body(body, first=first, drop=(cls if wrong else nn.Dropout)(p), head=nn.Linear(16, 3))

        return build

    def image(cls: Callable[[float], nn.Module], p: float) -> Any:
        return lambda wrong: cnn((cls if wrong else nn.Dropout2d)(p))

    def signal(cls: Callable[[float], nn.Module], p: float) -> Any:
        return lambda wrong: nn.Sequential(
            nn.Conv1d(STEPS, CHANNELS, 3),
            nn.ReLU(),
            (cls if wrong else nn.Dropout1d)(p),
            nn.AdaptiveAvgPool1d(1),
            nn.Flatten(),
            nn.Linear(CHANNELS, 3),
        )

    def last(wrong: bool) -> nn.Module:
        body = lambda m, x: m.head(m.drop(m.first(x.permute(0, 2, 3, 1))).mean((1, 2)))  # noqa: E731
        drop = (nn.Dropout2d if wrong else nn.Dropout)(0.2)
        return Body(
            body, first=nn.Sequential(nn.Linear(3, CHANNELS), nn.ReLU()), drop=drop, head=nn.Linear(CHANNELS, 2)
        )

    for p in (0.2, 0.4):
        yield Case("TD204", f"1d-on-vectors-{p}", linear(nn.Dropout1d, nn.Dropout, p), VECTOR)
        yield Case("TD204", f"2d-on-vectors-{p}", linear(nn.Dropout2d, nn.Dropout, p), VECTOR)
        yield Case("TD204", f"3d-on-images-{p}", image(nn.Dropout3d, p), IMAGE)
        yield Case("TD204", f"2d-on-signals-{p}", signal(nn.Dropout2d, p), SEQUENCE)
        yield Case("TD204", f"1d-on-words-{p}", sequence(nn.Dropout1d, p, nn.Linear(FEATURES, 16)), SEQUENCE)
        yield Case("TD204", f"2d-on-words-{p}", sequence(nn.Dropout2d, p, nn.Linear(FEATURES, 16)), SEQUENCE)
    yield Case("TD204", "2d-channels-last", last, IMAGE)


@pytest.mark.parametrize("case", list(cases()), ids=lambda case: case.name)
def test_a_planted_mistake_is_found_and_its_twin_is_not(case: Case) -> None:
    check_twins(case)


def test_features_in_the_last_axis_are_not_repaired_by_guess() -> None:
    model = nn.Sequential(nn.Linear(4, 6), nn.Dropout1d(0.2), nn.Linear(6, 2))
    result = thinned.audit(model, torch.randn(8, 5, 4), fix=True)
    assert (result.codes(), result.fixed, type(model[1])) == ({"TD204"}, (), nn.Dropout1d)


def test_each_place_of_a_shared_dropout_is_judged() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.drop, self.line = nn.Conv1d(STEPS, CHANNELS, 3), nn.Dropout1d(0.2), nn.Linear(CHANNELS, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.line(self.drop(self.drop(self.conv(x)).mean(2) @ torch.eye(CHANNELS)))

    result = thinned.audit(Shared(), SEQUENCE)
    assert {(finding.code, finding.severity) for finding in result} == {("TD204", "error"), ("TD306", "info")}
