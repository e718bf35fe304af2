"""Findings are selected and ignored by code, module and comment."""

import copy
import types
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from audit_corpus import Net
from torch import nn

import thinned
from thinned.errors import InputError

X = torch.randn(8, 3, 9, 9, generator=torch.Generator().manual_seed(0))


def test_selection_and_suppression():
    model = nn.ModuleDict({"one": Net(), "two": Net()})
    model.forward = types.MethodType(lambda self, x: self["one"](x) + self["two"](x), model)
    everything = thinned.audit(model, X)
    assert {f.code for f in everything} == {"TD101", "TD204", "TD301", "TD203"}
    assert {f.code for f in thinned.audit(model, X, select=["TD1", "td3"])} == {"TD101", "TD301"}
    assert "TD101" not in thinned.audit(model, X, ignore=["TD101"]).codes()
    assert "TD101" not in thinned.audit(model, X, ignore="TD101").codes()
    fixed = thinned.audit(copy.deepcopy(model), X, fix=True, select=iter(["TD101", "TD204"]))  # audited twice
    assert fixed.codes() == thinned.audit(copy.deepcopy(model), X, fix=True, select=["TD101", "TD204"]).codes()
    part = thinned.audit(model, X, ignore=["one*:TD"])
    assert {f.module.split(".")[0] for f in part} == {"two"}
    assert part.suppressed == len(everything) - len(part)
    for wrong in ("TD9", "", "one:"):
        with pytest.raises(InputError, match=r"a code must be that of a rule.*; got "):
            thinned.audit(model, X, ignore=[wrong])


class Deliberate(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.dropout(x, 0.5)  # Monte-Carlo; thinned: ignore
        x = F.dropout(x @ x.T, 0.5)  # thinned: ignore[TD101, TD206]
        return F.dropout(x @ x.T, 0.5) @ x  # thinned: ignore[TD202]


def test_inline_suppression():
    [finding] = thinned.audit(Deliberate(), torch.ones(4, 4))
    assert "ignore[TD202]" in Path(__file__).read_text().splitlines()[finding.line - 1]
