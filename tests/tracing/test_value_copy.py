"""Modules within containers, objects and closures are copied; what the user registers under the name of hooks, too."""

import functools
import types
import weakref
from collections import OrderedDict, UserDict, defaultdict, deque
from dataclasses import dataclass
from typing import NamedTuple

import pytest
import torch
from torch import nn

import thinned
from thinned import ensemble
from thinned.tracing.model_copy import copy_modules

X = torch.randn(8, 6, generator=torch.Generator().manual_seed(0))


class Pair(NamedTuple):
    norm: nn.Module
    number: int


class Named(dict):
    """A dict of somebody's own."""


@dataclass(frozen=True)
class Frozen:
    norm: nn.Module


@dataclass(slots=True)
class Slotted:
    norm: nn.Module


def in_closure(bn):
    return lambda x: bn(x) + 0


HOLDERS = {
    "ordered": lambda bn: (OrderedDict(bn=bn), lambda held: held["bn"]),
    "default": lambda bn: (defaultdict(list, bn=bn), lambda held: held["bn"]),
    "named dict": lambda bn: (Named(bn=bn), lambda held: held["bn"]),
    "user dict": lambda bn: (UserDict(bn=bn), lambda held: held["bn"]),
    "proxy": lambda bn: (types.MappingProxyType({"bn": bn}), lambda held: held["bn"]),
    "named tuple": lambda bn: (Pair(bn, 3), lambda held: held.norm),
    "set": lambda bn: ({bn}, lambda held: next(iter(held))),
    "frozen set": lambda bn: (frozenset([bn]), lambda held: next(iter(held))),
    "deque": lambda bn: (deque([bn], 1), lambda held: held[0]),
    "key": lambda bn: ({bn: 3}, lambda held: next(iter(held))),
    "frozen": lambda bn: (Frozen(bn), lambda held: held.norm),
    "slotted": lambda bn: (Slotted(bn), lambda held: held.norm),
    "nested": lambda bn: ([{"a": (Frozen(bn),)}], lambda held: held[0]["a"][0].norm),
    "partial": lambda bn: (functools.partial(lambda x, norm: norm(x), norm=bn), lambda held: held),
    "closure": lambda bn: (in_closure(bn), lambda held: held),
    "weak": lambda bn: (weakref.ref(bn), lambda held: held()),
}


class Holding(nn.Module):
    def __init__(self, holder):
        super().__init__()
        self.bn, self.drop = nn.BatchNorm1d(6), nn.Dropout(0.5)
        self.layers = nn.Sequential(self.bn, self.drop)
        self.held, self.get = HOLDERS[holder](self.layers)
        self.hooks = defaultdict(list)

    def forward(self, x):
        return self.get(self.held)(x)


@pytest.mark.parametrize("holder", HOLDERS)
def test_the_users_modules_stay_out_of_a_pass(holder):
    torch.manual_seed(0)
    model = Holding(holder)
    before, held = model.bn.running_mean.clone(), model.held
    assert [site.name for site in thinned.sites.find(model, X)] == ["drop"]
    assert torch.equal(model.bn.running_mean, before)
    assert model.bn.training
    assert ensemble.sample(model, X, 8).std.max() > 0
    assert model.held is held
    copied = copy_modules(model)
    assert type(copied.held) is type(held)
    assert copied.hooks is model.hooks


def test_what_holds_no_module_stays_the_same_object_and_cycles_end():
    model = nn.Linear(6, 6)
    model.config = types.SimpleNamespace(sizes=[1, 2])
    model.loop = [model]
    model.loop.append(model.loop)
    copied = copy_modules(model)
    assert copied.config is model.config
    assert copied.loop[0] is copied
    assert copied.loop[1] is copied.loop


@pytest.mark.parametrize("kind", [nn.Embedding, nn.EmbeddingBag])
def test_weights_tied_to_a_renormalised_embedding_stay_tied(kind):
    model = nn.Module()
    model.head, model.embed = nn.Linear(6, 6), kind(6, 6, max_norm=0.1)
    model.head.weight = model.embed.weight
    before = model.embed.weight.detach().clone()
    copied = copy_modules(model)
    copied.embed(torch.arange(6)[None])
    assert copied.head.weight is copied.embed.weight
    assert torch.equal(model.embed.weight, before)
