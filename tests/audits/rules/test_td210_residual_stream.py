"""TD210: dropout on the residual stream instead of the branch."""

from typing import Any

import pytest
import torch
from audit_corpus import FEATURES, IMAGE, SEQUENCE
from torch import nn

import thinned

KINDS = ("before norm", "behind norm", "pre-norm", "in place")


class Block(nn.Module):
    def __init__(self, kind: str, wrong: bool) -> None:
        super().__init__()
        self.norm, self.branch = nn.LayerNorm(FEATURES), nn.Sequential(nn.Linear(FEATURES, FEATURES), nn.ReLU())
        self.drop, self.kind, self.wrong = nn.Dropout(0.1), kind, wrong

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.kind == "pre-norm":
            branch = self.branch(self.norm(x))
            return self.drop(x + branch) if self.wrong else x + self.drop(branch)
        branch = self.branch(x)
        if not self.wrong:
            return self.norm(x + self.drop(branch))
        if self.kind == "behind norm":
            return self.drop(self.norm(x + branch))
        if self.kind == "in place":
            branch += x
            return self.norm(self.drop(branch))
        return self.norm(self.drop(x + branch))


@pytest.mark.parametrize("kind", KINDS)
def test_planted_mistakes_are_found_and_their_twins_are_not(kind: str) -> None:
    def model(wrong: bool) -> nn.Module:
        first = (nn.Linear(FEATURES, FEATURES), nn.Dropout(0.1))  # the stream's beginning is no sum
        return nn.Sequential(*first, *(Block(kind, wrong) for _ in range(3)), nn.Linear(FEATURES, 2))

    found = [finding for finding in thinned.audit(model(True), SEQUENCE) if finding.code == "TD210"]
    assert [(finding.severity, finding.module) for finding in found] == [("warning", "2.drop"), ("warning", "3.drop")]
    assert "TD210" not in thinned.audit(model(False), SEQUENCE).codes()


class Images(nn.Module):
    """Embeddings are summed, and features are dropped between stages: neither is a sum of a block's input."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.place = nn.Conv2d(3, 6, 1), nn.Parameter(torch.zeros(1, 6, 1, 1))
        self.drop, self.first, self.second = nn.Dropout2d(0.2), nn.Conv2d(6, 6, 1), nn.Conv2d(6, 6, 1)
        self.places = nn.Conv2d(6, 6, 3, padding=1)

    def forward(self, x: torch.Tensor) -> Any:
        x = self.drop(self.patches(x) + self.place)
        x = self.drop(x + self.places(x))  # as HuBERT's encoder begins
        x = x + self.first(x).relu()
        return self.second(x) + self.first(x)


def test_a_sum_of_embeddings_is_no_residual_stream() -> None:
    assert "TD210" not in thinned.audit(Images(), IMAGE).codes()
