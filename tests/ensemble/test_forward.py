"""Forward passes: models that cannot be batched, that fail, or that never stop dropping."""

import gc
import weakref

import pytest
import torch
import torch.nn.functional as F
from ensemble_models import ROWS, assert_same, everything, loop, mlp
from torch import nn

from thinned import ensemble
from thinned.tracing.model_copy import copy_modules


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


class Wilful(nn.Module):
    """Cannot be batched: its control flow depends on data."""

    def __init__(self):
        super().__init__()
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        x = self.drop(x)
        return x + 1 if x.sum().item() > 0 else x


def test_a_model_that_cannot_be_batched_is_looped_over_and_says_so():
    model = Wilful()
    drawn = ensemble.sample(model, ROWS, 6)
    assert ".item()" in drawn.loop
    assert torch.equal(drawn.outputs, loop(model, ROWS, 6))


class Failing(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.drop, self.fail = nn.BatchNorm1d(6), nn.Dropout(0.5), False

    def forward(self, x):
        x = self.drop(self.norm(x))
        if self.fail and not self.norm.training:
            raise KeyError("not today")
        return x


def test_an_error_in_a_pass_leaves_the_model_as_it_was():
    model = Failing().train()
    ensemble.sample(model, ROWS, 3)
    model.fail = True
    before = everything(model)
    with pytest.raises(KeyError, match="not today"):
        ensemble.sample(model, ROWS, 3)
    assert_same(before, everything(model))
    model.fail = False
    assert ensemble.sample(model, ROWS, 3).std.max() > 0


def test_always_active_dropout_is_off_where_it_is_not_chosen():
    class Always(nn.Module):
        def __init__(self):
            super().__init__()
            self.drop = nn.Dropout(0.5)

        def forward(self, x):
            return F.dropout(self.drop(x), 0.5)  # forgets self.training

    model = Always().eval()
    every = ensemble.enumerate(model, torch.ones(2, 3), sites=["drop"])
    assert torch.equal(every.weight_scaled, torch.ones(2, 3))
    assert every.outputs.unique().tolist() == [0, 2]
    assert ensemble.enumerate(model, torch.ones(2, 3)).count == 64


@torch.compile(backend="eager")
def compiled_dropout(x, training):
    return F.dropout(x, 0.5, training)


class CallsCompiledFunction(nn.Module):
    def __init__(self, dropout):
        super().__init__()
        self.line, self.dropout = nn.Linear(6, 3), dropout

    def forward(self, x):
        return self.line(self.dropout(x, self.training))


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_compiled_functions_in_a_forward_run_uncompiled():
    model = CallsCompiledFunction(compiled_dropout).eval()
    outputs = ensemble.sample(model, ROWS, 5).outputs
    assert outputs.std(0).max() > 0
    model.dropout = lambda x, training: F.dropout(x, 0.5, training)
    assert torch.equal(ensemble.sample(model, ROWS, 5).outputs, outputs)


def test_nothing_of_a_pass_stays_alive(monkeypatch):
    """Without the garbage collector: a copy in a cycle would keep the tensors of every request of a server."""
    copies = weakref.WeakSet()

    def copy_and_note(model):
        copied = copy_modules(model)
        copies.add(copied)
        return copied

    monkeypatch.setattr("thinned.ensemble.forward.copy_modules", copy_and_note)
    gc.disable()
    try:
        for function in (ensemble.sample, ensemble.predict, ensemble.enumerate, ensemble.gap):
            function(mlp(hidden=6), ROWS)
            assert len(copies) == 0, function
        ensemble.subnetwork(mlp(), 3, ROWS)
        assert len(copies) == 0
    finally:
        gc.enable()
