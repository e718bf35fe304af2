"""TD207: dropout whose result is thrown away."""

import pytest
import torch
import torch.nn.functional as F
from audit_corpus import VECTOR
from torch import nn

import thinned
from thinned.audits.source import audit_text


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(12, 16), nn.Linear(16, 2)
        self.drop, self.in_place = nn.Dropout(0.3), nn.Dropout(0.3, inplace=True)
        self.kept = []


class Function(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.one(x).relu()
        F.dropout(x, 0.3, self.training)
        return self.two(x)


class Layer(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.one(x).relu()
        self.drop(x)
        return self.two(x)


class Assigned(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.one(x).relu()
        x = self.drop(x)
        return self.two(x)


class Kept(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.one(x).relu()
        parts = []
        parts.append(self.drop(x))
        return self.two(parts[0])


class Returned(Net):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        h = self.one(x).relu()
        return self.two(h), self.drop(h)


@pytest.mark.parametrize("cls", [Function, Layer])
def test_a_call_that_is_a_statement_is_found(cls: type[nn.Module]) -> None:
    [finding] = [finding for finding in thinned.audit(cls(), VECTOR) if finding.code == "TD207"]
    assert (finding.severity, finding.line) == ("error", cls.forward.__code__.co_firstlineno + 2)
    assert cls is Function or finding.module == "drop"


@pytest.mark.parametrize("cls", [Assigned, Kept, Returned])
def test_results_that_are_used_are_not(cls: type[nn.Module]) -> None:
    assert "TD207" not in thinned.audit(cls(), VECTOR).codes()


def test_dropout_in_place_needs_no_assignment() -> None:
    class Right(Net):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.one(x) + 0
            self.in_place(x)
            return self.two(x)

    assert "TD207" not in thinned.audit(Right(), VECTOR).codes()


@pytest.mark.parametrize(
    ("line", "codes"),
    [
        ("self.drop(x)", ["TD207"]),
        ("F.dropout(x, 0.3, self.training)", ["TD207"]),
        ("x = self.drop(x)", []),
        ("self.in_place(x)", []),
        ("F.dropout(x, 0.3, self.training, True)", []),
        ("parts.append(self.drop(x))", []),
    ],
)
def test_reading(line: str, codes: list[str]) -> None:
    text = f"""
import torch.nn.functional as F
from torch import nn
class M:
    def __init__(self):
        self.drop, self.other = nn.Dropout(0.3), None
        self.drop = nn.Dropout(0.3)
        self.in_place = nn.Dropout(0.3, inplace=True)
    def forward(self, x, parts):
        {line}
        return x, self.drop, self.in_place
"""
    assert [finding.code for finding in audit_text(text)] == codes
