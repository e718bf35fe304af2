"""TD211: dropout in place on a tensor that is needed elsewhere."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from audit_corpus import VECTOR
from torch import nn

import thinned


class Net(nn.Module):
    def __init__(self, inplace: bool) -> None:
        super().__init__()
        self.first, self.branch = nn.Linear(12, 12), nn.Sequential(nn.Dropout(0.3, inplace), nn.Linear(12, 12))
        self.drop = self.branch[0]


class Skip(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.first(x)
        return h + self.branch[1](self.drop(h))


class WithinSequential(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.first(x)
        y = self.branch(h)
        if y.shape != h.shape:
            return y
        return y + h


class Function(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.first(x)
        noisy = F.dropout(h, 0.3, self.training, self.drop.inplace)
        return self.branch[1](noisy) * h.sigmoid()


@pytest.mark.parametrize("cls", [Skip, WithinSequential, Function])
def test_the_other_use_is_found(cls: Callable[[bool], nn.Module]) -> None:
    [finding] = [finding for finding in thinned.audit(cls(True), VECTOR) if finding.code == "TD211"]
    assert finding.data["variable"] == "h"
    assert "TD211" not in thinned.audit(cls(False), VECTOR).codes()


class Assigned(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.first(x)
        h = self.drop(h)
        return h + self.branch[1](h)


class Statement(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.first(x)
        self.drop(h)
        return h + self.branch[1](h)


class OneOfTwo(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.first(x)
        h = self.drop(h) if self.training else h
        return self.branch(h) if self.training else h


class ShapeOnly(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.first(x)
        y = self.branch(h)
        return y.view(h.shape)


@pytest.mark.parametrize("cls", [Assigned, Statement, OneOfTwo, ShapeOnly])
def test_right_uses_are_not(cls: Callable[[bool], nn.Module]) -> None:
    assert "TD211" not in thinned.audit(cls(True), VECTOR).codes()
