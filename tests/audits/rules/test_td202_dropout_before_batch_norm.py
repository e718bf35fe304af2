"""TD202: dropout before batch norm."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from audit_corpus import CHANNELS, FEATURES, IMAGE, VECTOR, Body, Case, check_twins
from torch import nn

import thinned


def cases() -> Iterator[Case]:
    for p in (0.3, 0.5):

        def conv(*parts: nn.Module) -> nn.Module:
            return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(CHANNELS, 3))

        def order(wrong: bool, *between: nn.Module, r: float = p) -> nn.Module:
            drop, norm = nn.Dropout2d(r), nn.BatchNorm2d(CHANNELS)
            return conv(nn.Conv2d(3, CHANNELS, 3), *((drop, *between, norm) if wrong else (norm, *between, drop)))

        def residual(wrong: bool, r: float = p) -> nn.Module:
            body = lambda m, x: m.norm(x + m.drop(x)) if wrong else x + m.drop(m.norm(x))  # noqa: E731
            return conv(nn.Conv2d(3, CHANNELS, 3), Body(body, drop=nn.Dropout2d(r), norm=nn.BatchNorm2d(CHANNELS)))

        def joined(wrong: bool, r: float = p) -> nn.Module:
            def body(m: Any, x: torch.Tensor) -> torch.Tensor:
                return m.norm(torch.cat([m.drop(x), x], 1)) if wrong else m.drop(m.norm(torch.cat([x, x], 1)))

            parts = (
                Body(body, drop=nn.Dropout2d(r), norm=nn.BatchNorm2d(2 * CHANNELS)),
                nn.Conv2d(2 * CHANNELS, CHANNELS, 1),
            )
            return conv(nn.Conv2d(3, CHANNELS, 3), *parts)

        def dense(wrong: bool, r: float = p) -> nn.Module:
            drop, norm = nn.Dropout(r), nn.BatchNorm1d(16)
            return nn.Sequential(
                nn.Linear(FEATURES, 16), *((drop, norm) if wrong else (norm, drop)), nn.ReLU(), nn.Linear(16, 3)
            )

        yield Case("TD202", f"direct-{p}", order, IMAGE)
        yield Case("TD202", f"relu-{p}", lambda wrong, f=order: f(wrong, nn.ReLU()), IMAGE)
        yield Case("TD202", f"pool-{p}", lambda wrong, f=order: f(wrong, nn.MaxPool2d(2)), IMAGE)
        yield Case("TD202", f"gelu-pool-{p}", lambda wrong, f=order: f(wrong, nn.GELU(), nn.MaxPool2d(2)), IMAGE)
        yield Case("TD202", f"residual-{p}", residual, IMAGE)
        yield Case("TD202", f"concatenated-{p}", joined, IMAGE)
        yield Case("TD202", f"dense-{p}", dense, VECTOR)


@pytest.mark.parametrize("case", list(cases()), ids=lambda case: case.name)
def test_a_planted_mistake_is_found_and_its_twin_is_not(case: Case) -> None:
    check_twins(case)


def test_the_measured_shift_is_that_of_theory() -> None:
    # on activations of mean 0, dropout raises the variance to 1 / (1 - p); 8·81·32 values, so 0.05 is 5 standard errors
    model = nn.Sequential(nn.Conv2d(3, 32, 1, bias=False), nn.Dropout(0.5), nn.BatchNorm2d(32))
    torch.manual_seed(0)
    [finding] = [f for f in thinned.audit(model, torch.randn(64, 3, 9, 9)) if f.code == "TD202"]
    assert finding.data["variance_ratio"] == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize("dead", [0, 12, 24])
def test_dead_channels_do_not_dilute_the_shift(dead: int) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(8, 40)
    with torch.no_grad():
        layer.bias[:dead] = -50
    model = nn.Sequential(layer, nn.ReLU(), nn.Dropout(0.3), nn.BatchNorm1d(40), nn.Linear(40, 2))
    [finding] = thinned.audit(model, torch.randn(512, 8))
    assert (finding.code, finding.severity) == ("TD202", "warning")
    assert finding.data["variance_ratio"] == pytest.approx(1.67, abs=0.1)  # the same channels, other masks


class Sum(nn.Module):
    """Dropout on a small part of a sum."""

    def __init__(self) -> None:
        super().__init__()
        self.part, self.drop, self.norm = nn.Linear(8, 8), nn.Dropout(0.3), nn.BatchNorm1d(8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(x + self.drop(0.1 * self.part(x)))


def test_what_is_not_measured_is_no_warning() -> None:
    assert thinned.audit(Sum(), torch.randn(512, 8)).codes() == set()
    assert thinned.audit(Sum(), torch.randn(16, 8)).codes() == set()  # by several passes
    [finding] = thinned.audit(Sum().to("meta"), torch.randn(512, 8, device="meta"))
    assert (finding.code, finding.severity) == ("TD202", "info")
    assert "was not measured" in finding.message
    assert ".." not in finding.message
