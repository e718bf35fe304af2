"""A structural copy computes what the model computes, shares its parameters, and shares nothing that a pass changes."""

import functools
import types

import pytest
import torch
from torch import nn

import thinned
from thinned import ensemble
from thinned.tracing.model_copy import copy_modules

X = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))


class Tied(nn.Module):
    """One layer under two names, a buffer in two modules."""

    def __init__(self):
        super().__init__()
        self.first = self.second = nn.Linear(6, 6)
        self.one, self.two = nn.BatchNorm1d(6), nn.BatchNorm1d(6)
        self.two.running_mean = self.one.running_mean

    def forward(self, x):
        return self.two(self.second(self.one(self.first(x))))


class InContainers(nn.Module):
    """Modules in a list, a tuple, a dict, a partial and a bound method, some of them registered nowhere else."""

    def __init__(self):
        super().__init__()
        self.line, self.drop = nn.Linear(6, 6), nn.Dropout(0.5)
        self.layers, self.pair, self.table = [self.line], (self.drop, 3), {"a": self.line}
        self.step, self.partial = self._step, functools.partial(self._step, scale=2.0)
        object.__setattr__(self, "hidden", nn.Linear(6, 6))

    def _step(self, x, scale=1.0):
        return self.hidden(self.pair[0](self.layers[0](x))) * scale

    def forward(self, x):
        return self.step(x) + self.partial(x) + self.table["a"](x)


class Renormalising(nn.Module):
    """An embedding that changes its weight in the forward."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(6, 6, max_norm=0.1)

    def forward(self, x):
        return self.embed(x.argsort(1)).sum(1)


class Counting(nn.Module):
    """Changes a buffer in place, and an attribute."""

    def __init__(self):
        super().__init__()
        self.register_buffer("count", torch.zeros(()))
        self.calls = 0
        self.line = nn.Linear(6, 6)

    def forward(self, x):
        self.count += 1
        self.calls += 1
        return self.line(x) + self.count


def own_forward():
    model = nn.Linear(6, 6)
    plain = model.forward
    model.forward = types.MethodType(lambda self, x: plain(x) * 2, model)
    return model


def old_norm():
    return nn.utils.spectral_norm(nn.Linear(6, 6))


def new_norm():
    return nn.utils.parametrizations.weight_norm(nn.Linear(6, 6))


def traced():
    return torch.fx.symbolic_trace(nn.Sequential(nn.Linear(6, 6), nn.ReLU()))


def scripted():
    return nn.Sequential(torch.jit.script(nn.Linear(6, 6)), nn.ReLU())


def converted():
    model = nn.Sequential(nn.Linear(6, 6), nn.Dropout(0.5), nn.TransformerEncoderLayer(6, 2, 8, batch_first=True))
    thinned.address(model, seed=3)
    return model


BUILDERS = [
    *(Tied, InContainers, Renormalising, Counting, own_forward, old_norm, new_norm, traced, converted),
    pytest.param(scripted, marks=pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")),
]


def state(model):
    tensors = {name: value.clone() for name, value in model.state_dict().items()}
    attributes = {name: dict(module.__dict__) for name, module in model.named_modules()}
    hooks = [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()]
    return tensors, attributes, hooks


def assert_unchanged(before, model):
    tensors, attributes, hooks = state(model)
    assert all(torch.equal(value, before[0][name]) for name, value in tensors.items())
    for name, values in attributes.items():
        assert values.keys() == before[1][name].keys()
        assert all(values[key] is before[1][name][key] for key in values if not key.startswith("_calls"))
    assert hooks == before[2]


@pytest.mark.parametrize("build", BUILDERS)
def test_the_copy_computes_the_same_and_the_model_stays(build):
    torch.manual_seed(0)
    model = build()
    expected = model.eval()(X).clone()
    model.train()
    if build is Counting:
        model.count -= 1
    if build is Renormalising:
        nn.init.normal_(model.embed.weight)
        expected = None
    before = state(model)
    copied = copy_modules(model)
    assert not any(module.training for module in copied.modules())
    for module in copied.modules():
        if not isinstance(module, torch.jit.ScriptModule):
            module.register_forward_hook(lambda *_: None)
    first = copied(X)
    assert expected is None or torch.equal(first, expected)
    copied.train()
    copied(X)
    assert_unchanged(before, model)


def test_parameters_are_shared_and_buffers_are_not():
    model = Tied()
    copied = copy_modules(model)
    assert copied.first is copied.second
    assert copied.first.weight is model.first.weight
    assert copied.one.running_mean is copied.two.running_mean
    assert copied.one.running_mean is not model.one.running_mean
    ids = {id(module) for module in model.modules()}
    assert not any(id(module) in ids for module in copied.modules())


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_compiled_modules_run_uncompiled():
    model = nn.Sequential(nn.Linear(6, 6), torch.compile(nn.ReLU(), backend="eager"))
    model[0].compile(backend="eager")
    copied = copy_modules(torch.compile(model, backend="eager"))
    assert type(copied) is nn.Sequential
    assert type(copied[1]) is nn.ReLU
    assert copied[0]._compiled_call_impl is None
    with torch.no_grad():
        assert torch.equal(copied(X), model(X))


def test_members_of_a_model_that_holds_its_modules_in_containers():
    model = InContainers().eval()
    before = state(model)
    drawn = ensemble.sample(model, X, 6)
    assert_unchanged(before, model)
    assert drawn.std.max() > 0
