"""Dropout mistakes of each rule, planted into any model; see ``benchmarks/audit_recall.py``.

A plant takes a copy of a correct model and returns the model with the mistake, which is written as people write it; a
rule that reads source finds it in this file. A plant raises Unsuitable where it makes no sense in a model.
"""

import random
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from audit_hosts import Host
from torch import nn
from torch.utils.checkpoint import checkpoint

from thinned.audits.observation.modules import is_drop_path, rate_of

__all__ = ["PLANTS", "Plant", "Unsuitable", "behind", "pick", "planted_class"]

Plant = Callable[[nn.Module, Host, random.Random], nn.Module]
Change = Callable[[Any, torch.Tensor], Any]
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
PLANTS: dict[str, Plant] = {}


class Unsuitable(Exception):  # noqa: N818 - not an error
    """A reason why a mistake makes no sense in a model."""


def plant(code: str) -> Callable[[Plant], Plant]:
    def add(function: Plant) -> Plant:
        PLANTS[code] = function
        return function

    return add


def pick(names: Iterable[str], choice: random.Random, lacking: str) -> str:
    """One of the names; Unsuitable without any."""
    found = list(names)
    if not found:
        raise Unsuitable(f"the model has no {lacking}")
    return choice.choice(found)


def planted_class(module: nn.Module, forward: Any, **parts: Any) -> None:
    """Give a module another forward, in a class of its own that is derived from its present one."""
    for name, part in parts.items():
        setattr(module, name, part)
    base = type(module)
    module.__class__ = type(base.__name__, (base,), {"forward": forward, "plain": base.forward})


def behind(module: nn.Module, change: Change, **parts: Any) -> None:
    """Change the result of a layer."""

    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        return change(self, self.plain(*args, **kwargs))

    planted_class(module, forward, **parts)


def layers(host: Host, kinds: Any = nn.Linear, axes: Iterable[int] = (2, 3, 4, 5)) -> list[str]:
    """Layers of a kind that ran and whose result is inside the model, of at least two numbers a row."""
    return [
        name
        for name, call in host.calls.items()
        if isinstance(host.model.get_submodule(name), kinds)
        and call.result is not None
        and not call.is_output
        and len(call.result) in set(axes)
        and call.result[-1] > 1
    ]


def linear(model: nn.Module, host: Host, choice: random.Random, axes: Iterable[int] = (2, 3, 4, 5)) -> nn.Module:
    name = pick(layers(host, nn.Linear, axes), choice, "linear layer inside that is called")
    return model.get_submodule(name)


def dropouts(host: Host) -> list[str]:
    """Dropout modules that ran and dropped."""
    return [name for name in host.calls if isinstance(host.model.get_submodule(name), nn.Dropout) and rate(host, name)]


def rate(host: Host, name: str) -> float:
    return rate_of(host.model.get_submodule(name))


def dropout(model: nn.Module, host: Host, choice: random.Random) -> Any:
    return model.get_submodule(pick(dropouts(host), choice, "dropout module that drops"))


@plant("TD101")
def active_in_evaluation(model: nn.Module, host: Host, choice: random.Random) -> nn.Module:
    def switched_on(self: Any, y: torch.Tensor) -> torch.Tensor:
        self.planted.train()
        return self.planted(y)

    kind = choice.randrange(5)
    if kind == 0 and dropouts(host):
        planted_class(dropout(model, host, choice), lambda self, x: F.dropout(x, self.p))
    elif kind == 1 and dropouts(host):
        planted_class(dropout(model, host, choice), lambda self, x: F.dropout(x, self.p, True))
    elif kind == 2:
        behind(linear(model, host, choice), lambda m, y: m.outside[0](y), outside=[nn.Dropout(0.1)])
    elif kind == 3:
        behind(linear(model, host, choice), switched_on, planted=nn.Dropout(0.1))
    else:
        behind(linear(model, host, choice), lambda _, y: F.dropout(y, 0.1))
    return model


@plant("TD102")
def random_evaluation(model: nn.Module, host: Host, choice: random.Random) -> nn.Module:
    def numpy_mask(_: Any, y: torch.Tensor) -> torch.Tensor:
        mask = np.random.binomial(1, 0.9, tuple(y.shape))  # noqa: NPY002
        return y * torch.from_numpy(mask).to(y.dtype)

    changes: list[Change] = [
        lambda _, y: y * (torch.rand(y.shape) > 0.1),
        lambda _, y: y * torch.bernoulli(torch.full_like(y, 0.9)) / 0.9,
        lambda _, y: y * (torch.rand_like(y) < 0.9).to(y.dtype) / 0.9,
        lambda _, y: y.masked_fill(torch.rand_like(y) < 0.1, 0.0),
        lambda _, y: torch.where(torch.rand_like(y) < 0.1, torch.zeros_like(y), y),
        lambda _, y: y * torch.empty_like(y).bernoulli_(0.9),
        lambda m, y: y * torch.rand(y.shape, generator=m.source).ge(0.1),
        numpy_mask,
    ]
    source = torch.Generator().manual_seed(3)
    behind(linear(model, host, choice), choice.choice(changes), source=source)
    return model


@plant("TD103")
def built_in_forward(model: nn.Module, host: Host, choice: random.Random) -> nn.Module:
    changes: list[Change] = [
        lambda _, y: nn.Dropout(0.1)(y),
        lambda _, y: nn.Sequential(nn.ReLU(), nn.Dropout(p=0.2))(y),
        lambda _, y: nn.AlphaDropout(0.1)(y),
        lambda _, y: nn.Dropout(0.1, inplace=True)(y.relu()),
    ]
    behind(linear(model, host, choice), choice.choice(changes))
    return model


@plant("TD104")
def inactive_while_training(model: nn.Module, host: Host, choice: random.Random) -> nn.Module:
    def is_part(name: str) -> bool:
        part = model.get_submodule(name)
        return name != "" and any(True for _ in part.parameters()) and name.count(".") < 3

    around = {drop.rsplit(".", depth)[0] for drop in dropouts(host) for depth in (1, 2, 3)}
    part: Any = model.get_submodule(pick(sorted(filter(is_part, around)), choice, "part with dropout and weights"))
    if choice.random() < 0.5:
        base = type(part)
        part.__class__ = type(base.__name__, (base,), {"train": lambda self, mode=True: base.train(self, False)})
        part.train()
    else:
        part.eval()
    return model


@plant("TD202")
def before_batch_norm(model: nn.Module, host: Host, choice: random.Random) -> nn.Module:
    norm = model.get_submodule(pick(layers(host, BATCH_NORMS), choice, "batch norm that is called"))
    changes: list[Change] = [
        lambda m, x: m.plain(m.planted(x)),
        lambda m, x: m.plain(F.relu(m.planted(x))),
        lambda m, x: m.plain(F.dropout(x, 0.5, m.training)),
    ]
    planted_class(norm, choice.choice(changes), planted=nn.Dropout(0.5))
    return model


@plant("TD203")
def elementwise_on_convolution(model: nn.Module, host: Host, choice: random.Random) -> nn.Module:
    names = [
        name
        for name in layers(host, CONVOLUTIONS)
        if max(host.model.get_submodule(name).kernel_size) > 1 and max((host.calls[name].result or ())[2:]) > 1
    ]
    changes: list[Change] = [
        lambda m, y: m.planted(y),
        lambda m, y: m.planted(F.relu(y)),
        lambda m, y: F.dropout(F.silu(y), 0.2, m.training),
    ]
    convolution = model.get_submodule(pick(names, choice, "convolution of neighbours inside that is called"))
    behind(convolution, choice.choice(changes), planted=nn.Dropout(0.2))
    return model


@plant("TD204")
def wrong_dimension(model: nn.Module, host: Host, choice: random.Random) -> nn.Module:
    batch = host.calls[""].given
    vectors = [name for name in layers(host, axes=(2,)) if batch and (host.calls[name].result or (0,))[0] == batch[0]]
    images = [name for name in layers(host, CONVOLUTIONS, (4,)) if (host.calls[name].result or (0,))[0] > 1]
    spots = [(name, nn.Dropout1d(0.2)) for name in vectors]
    spots += [(name, nn.Dropout2d(0.2)) for name in layers(host, axes=(2, 3))]
    spots += [(name, nn.Dropout1d(0.2)) for name in layers(host, axes=(3,))]
    spots += [(name, nn.Dropout3d(0.2)) for name in images if batch and (host.calls[name].result or ())[0] == batch[0]]
    if not spots:
        raise Unsuitable("the model has no layer with such a result")
    name, layer = choice.choice(spots)
    behind(model.get_submodule(name), lambda m, y: m.planted(y), planted=layer)
    return model


class DropPath(nn.Module):
    """Stochastic depth whose decisions lie along axis ``axis``."""

    def __init__(self, drop_prob: float, axis: int) -> None:
        super().__init__()
        self.drop_prob, self.axis = drop_prob, axis

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return x
        shape = [1] * x.ndim
        shape[self.axis] = x.shape[self.axis]
        return x * (torch.rand(shape) >= self.drop_prob) / (1 - self.drop_prob)


def along_axis_one(self: Any, x: torch.Tensor) -> torch.Tensor:
    mask = torch.rand(1, x.shape[1], *[1] * (x.ndim - 2)) >= 0.3
    return x * mask / 0.7 if self.training else x


@plant("TD205")
def drop_path_axis(model: nn.Module, host: Host, choice: random.Random) -> nn.Module:
    def is_batch_first(name: str) -> bool:
        result, given = host.calls[name].result, host.calls[""].given
        return bool(result and given and result[0] == given[0] and result[1] > 1)

    def along_time(m: Any, y: torch.Tensor) -> torch.Tensor:
        return m.planted(y.transpose(0, 1)).transpose(0, 1)

    paths = [name for name in host.calls if is_drop_path(host.model.get_submodule(name)) and rate(host, name)]
    if paths and choice.random() < 0.5:
        planted_class(model.get_submodule(choice.choice(paths)), along_axis_one)
        return model
    names = list(filter(is_batch_first, layers(host, axes=(3,))))
    layer = model.get_submodule(pick(names, choice, "linear layer on a batch of sequences"))
    if choice.random() < 0.5:
        behind(layer, lambda m, y: m.planted(y), planted=DropPath(0.3, 1))
    else:
        behind(layer, along_time, planted=DropPath(0.3, 0))
    return model


@plant("TD206")
def two_in_a_row(model: nn.Module, host: Host, choice: random.Random) -> nn.Module:
    changes: list[Change] = [
        lambda m, x: m.plain(m.again(x)),
        lambda m, x: F.relu(m.again(m.plain(x))),
        lambda m, x: m.again(F.gelu(m.plain(x))),
        lambda m, x: F.dropout(m.plain(x), 0.2, m.training),
    ]
    planted_class(dropout(model, host, choice), choice.choice(changes), again=nn.Dropout(0.2))
    return model


def thrown_away(self: Any, y: torch.Tensor) -> torch.Tensor:
    self.planted(y)
    return y


def thrown_away_function(self: Any, y: torch.Tensor) -> torch.Tensor:
    F.dropout(y, p=0.2, training=self.training)
    return y


@plant("TD207")
def result_thrown_away(model: nn.Module, host: Host, choice: random.Random) -> nn.Module:
    change = choice.choice([thrown_away, thrown_away_function])
    behind(linear(model, host, choice), change, planted=nn.Dropout(0.2))
    return model


def overwritten(self: Any, x: torch.Tensor) -> torch.Tensor:
    y = self.planted(x)
    return x + self.plain(y)


def overwritten_by_function(self: Any, x: torch.Tensor) -> torch.Tensor:
    residual = x
    x = F.dropout(x, 0.2, self.training, inplace=True)
    return residual + self.plain(x)


def overwritten_in_one_line(self: Any, x: torch.Tensor) -> torch.Tensor:
    return x + self.plain(self.planted(x))


@plant("TD211")
def needed_input(model: nn.Module, host: Host, choice: random.Random) -> nn.Module:
    square = [name for name in layers(host) if host.calls[name].given == host.calls[name].result]
    forward = choice.choice([overwritten, overwritten_by_function, overwritten_in_one_line])
    layer = model.get_submodule(pick(square, choice, "linear layer as wide as its input"))
    planted_class(layer, forward, planted=nn.Dropout(0.2, inplace=True))
    return model


@plant("TD302")
def one_layer_recurrent(model: nn.Module, host: Host, choice: random.Random) -> nn.Module:
    layer: Any = linear(model, host, choice, (3,))
    kind = choice.choice([nn.LSTM, nn.GRU, nn.RNN])
    width = layer.out_features
    behind(layer, lambda m, y: m.planted(y)[0], planted=kind(width, width, 1, dropout=0.3, batch_first=True))
    return model


@plant("TD303")
def high_rate(model: nn.Module, host: Host, choice: random.Random) -> nn.Module:
    dropout(model, host, choice).p = choice.uniform(0.71, 0.84)
    return model


@plant("TD304")
def keep_rate(model: nn.Module, host: Host, choice: random.Random) -> nn.Module:
    dropout(model, host, choice).p = choice.choice([0.85, 0.9, 0.95])
    return model


@plant("TD308")
def drops_everything(model: nn.Module, host: Host, choice: random.Random) -> nn.Module:
    if choice.random() < 0.5 and dropouts(host):
        dropout(model, host, choice).p = 1.0
    else:
        behind(linear(model, host, choice), lambda m, y: F.dropout(y, m.training))
    return model


@plant("TD401")
def seed_in_forward(model: nn.Module, host: Host, choice: random.Random) -> nn.Module:
    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        torch.manual_seed(0)
        return self.plain(*args, **kwargs)

    around = {drop.rsplit(".", depth)[0] for drop in dropouts(host) for depth in (0, 1, 2)} & set(host.calls)
    around |= {""} if dropouts(host) else set()
    planted_class(model.get_submodule(pick(sorted(around), choice, "dropout module that drops")), forward)
    return model


@plant("TD402")
def checkpoint_redraws(model: nn.Module, host: Host, choice: random.Random) -> nn.Module:
    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        return checkpoint(self.plain, *args, use_reentrant=False, preserve_rng_state=False, **kwargs)

    around = {drop.rsplit(".", depth)[0] for drop in dropouts(host) for depth in (0, 1, 2)} & set(host.calls) - {""}
    block = model.get_submodule(pick(sorted(around), choice, "block with a dropout module that drops"))
    planted_class(block, forward)
    return model
