"""TD107: dropout that is active in a part that is not trained."""

import copy
from typing import Any

import pytest
import torch
from audit_corpus import VECTOR
from torch import nn
from torch.utils.checkpoint import checkpoint

import thinned


def encoder(inner: float = 0.3) -> nn.Module:
    return nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Dropout(inner), nn.Linear(16, 12))


class Distillation(nn.Module):
    """A student and the mean of earlier students."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.student, self.way = encoder(), way
        self.teacher = copy.deepcopy(self.student).requires_grad_(False)
        self.head = nn.Linear(12, 2)

    def train(self, mode: bool = True) -> "Distillation":
        super().train(mode)
        if self.way == "right":
            self.teacher.eval()
        return self

    def forward(self, x: torch.Tensor) -> Any:
        if self.way == "frozen":
            return self.head(self.teacher(x))
        if self.way == "itself":  # as recycling and self-conditioning do
            with torch.no_grad():
                x = self.student(x)
            return self.head(self.student(x))
        if self.way == "checkpoint":
            return self.head(checkpoint(self.student, x.requires_grad_(), use_reentrant=True))
        with torch.no_grad():
            target = self.teacher(x)
        return self.head(self.student(x)).mean() + (self.student(x) - target).square().mean()


@pytest.mark.parametrize(
    ("way", "severity"),
    [("wrong", "warning"), ("frozen", "info"), ("right", None), ("itself", None), ("checkpoint", None)],
)
def test_a_teacher_that_drops(way: str, severity: str | None) -> None:
    found = [finding for finding in thinned.audit(Distillation(way), VECTOR) if finding.code == "TD107"]
    assert [(f.severity, f.module) for f in found] == ([(severity, "teacher.2")] if severity else [])
    assert all(finding.fix.startswith("self.teacher.eval()") for finding in found)


def test_dropout_between_frozen_words_and_trained_layers_is_meant() -> None:
    words = nn.Embedding(20, 8).requires_grad_(False)
    model = nn.Sequential(words, nn.Dropout(0.3), nn.Linear(8, 2))
    assert thinned.audit(model, torch.randint(0, 20, (8, 5))).codes() == set()


def test_a_model_of_which_nothing_is_trained_has_no_such_part() -> None:
    assert "TD107" not in thinned.audit(encoder().requires_grad_(False), VECTOR).codes()
