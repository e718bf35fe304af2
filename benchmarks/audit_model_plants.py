"""Dropout mistakes that concern a whole model rather than one layer; see ``benchmarks/audit_plants.py``."""

import copy
import random
from typing import Any

import torch
import torch.nn.functional as F
from audit_hosts import Host
from audit_plants import CONVOLUTIONS, Unsuitable, behind, dropouts, pick, plant, planted_class
from torch import nn
from torch.overrides import TorchFunctionMode

from thinned.tracing.tensor_map import output_tensors

__all__ = ["Whole"]

SOFTMAX = (F.softmax, torch.softmax, torch.Tensor.softmax)


class Whole(nn.Module):
    """A model with something around it: ``change`` gets the model's first output."""

    def __init__(
        self, model: nn.Module, change: Any, mode: type[TorchFunctionMode] | None = None, **parts: Any
    ) -> None:
        super().__init__()
        self.model, self.change, self.mode = model, change, mode
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if self.mode is None:
            return self.change(self, output_tensors(self.model(*args, **kwargs))[0])
        with self.mode() as mode:
            output = output_tensors(self.model(*args, **kwargs))[0]
        return self.change(mode, output)


class WithTeacher(nn.Module):
    """A student, and a teacher in training mode that gets no gradient."""

    def __init__(self, model: nn.Module, freeze: bool) -> None:
        super().__init__()
        self.student, self.teacher = model, copy.deepcopy(model)
        self.teacher.requires_grad_(not freeze)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        with torch.no_grad():
            target = output_tensors(self.teacher(*args, **kwargs))[0]
        return F.mse_loss(output_tensors(self.student(*args, **kwargs))[0], target)


def trained_head(model: nn.Module, host: Host) -> nn.Module:
    """A model of which only the last layer is trained."""
    heads = [name for name, call in host.calls.items() if call.is_output]
    weights = [name for name in heads if isinstance(model.get_submodule(name), nn.Linear)]
    if not weights or len(dropouts(host)) < 3:  # the last dropout may stand directly before the head
        raise Unsuitable("the model has no linear head behind several dropout modules")
    model.requires_grad_(False)
    model.get_submodule(weights[0]).requires_grad_(True)
    return model


@plant("TD107")
def active_without_gradient(model: nn.Module, host: Host, choice: random.Random) -> nn.Module:
    if len(dropouts(host)) < 2:
        raise Unsuitable("the model has no dropout modules that drop")
    kind = choice.randrange(3)
    return trained_head(model, host) if kind == 0 else WithTeacher(model, freeze=kind == 1)


@plant("TD201")
def on_output(model: nn.Module, host: Host, choice: random.Random) -> nn.Module:
    def loss(m: Any, y: torch.Tensor) -> torch.Tensor:
        y = m.planted(y)
        return F.cross_entropy(y, y.detach().argmax(1)) if y.ndim == 2 else F.mse_loss(y, torch.zeros_like(y))

    kinds = (nn.Linear, *CONVOLUTIONS)
    heads = [n for n, call in host.calls.items() if call.is_output and isinstance(model.get_submodule(n), kinds)]
    head = model.get_submodule(pick(heads, choice, "layer whose plain result is its output"))
    kind = choice.randrange(4)
    if kind == 0:
        behind(head, lambda m, y: m.planted(y), planted=nn.Dropout(0.2))
        return model
    changes = [lambda m, y: F.dropout(y, 0.2, m.training), loss, lambda m, y: m.planted(y).log_softmax(1)]
    return Whole(model, changes[kind - 1], planted=nn.Dropout(0.2))


class DroppedScores(TorchFunctionMode):
    """Dropout before each softmax."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in SOFTMAX:
            args = (F.dropout(args[0], 0.1, True), *args[1:])
        return func(*args, **(kwargs or {}))


class KeptWeights(TorchFunctionMode):
    """Keep what dropout makes of the result of a softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.softmaxes: list[torch.Tensor] = []
        self.weights: list[torch.Tensor] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in SOFTMAX:
            self.softmaxes.append(result)
        elif func is F.dropout and any(args and args[0] is one for one in self.softmaxes):
            self.weights.append(result)
        return result


def has(host: Host, mode: type[TorchFunctionMode]) -> Any:
    """The mode after a pass of the model within it."""
    with mode() as active:
        host.model(*host.args, **host.kwargs)
    return active


@plant("TD208")
def before_softmax(model: nn.Module, host: Host, choice: random.Random) -> nn.Module:  # noqa: ARG001
    if not has(host, KeptWeights).softmaxes:
        raise Unsuitable("the model calls no softmax")
    return Whole(model, lambda _, y: y, DroppedScores)


@plant("TD209")
def dropped_probabilities(model: nn.Module, host: Host, choice: random.Random) -> nn.Module:
    changes = [
        lambda m, y: m.planted(y.softmax(-1)),
        lambda m, y: torch.log(m.planted(y.softmax(-1)) + 1e-6),
        lambda m, y: -torch.log(m.planted(F.softmax(y, dim=-1)).clamp_min(1e-6)).mean(),
        lambda m, y: F.nll_loss(F.dropout(y.softmax(1), 0.1, m.training), y.detach().argmax(1)),
    ]
    if choice.random() < 0.4 and has(host, KeptWeights).weights:
        returned = [lambda m, y: (y, m.weights[-1]), lambda m, y: (y, torch.stack([w.mean(1) for w in m.weights]))]
        return Whole(model, choice.choice(returned), KeptWeights)
    return Whole(model, choice.choice(changes), planted=nn.Dropout(0.1))


@plant("TD210")
def residual_stream(model: nn.Module, host: Host, choice: random.Random) -> nn.Module:
    found = blocks(host)
    if len(found) < 2:
        raise Unsuitable("the model has no list of residual blocks that are called")
    functional = choice.random() < 0.3

    def dropped(m: Any, output: Any) -> Any:
        first = output[0] if isinstance(output, tuple) else output
        first = F.dropout(first, 0.1, m.training) if functional else m.planted(first)
        return (first, *output[1:]) if isinstance(output, tuple) else first

    for name in found:
        behind(model.get_submodule(name), dropped, planted=nn.Dropout(0.1))
    return model


def blocks(host: Host) -> list[str]:
    """The blocks of the longest list of equal blocks, each of which adds to its input."""
    lists: list[list[str]] = []
    for name, module in host.model.named_modules():
        if isinstance(module, nn.ModuleList | nn.Sequential):
            parts = [f"{name}.{part}".strip(".") for part, _ in module.named_children()]
            lists.append([part for part in parts if part in host.calls and is_residual(host, part)])
    return max(lists, key=len, default=[])


def is_residual(host: Host, name: str) -> bool:
    """True if the result of a block follows its input though all its weights are 0."""
    block = copy.deepcopy(host.model.get_submodule(name)).eval()
    args, kwargs = host.calls[name].arguments
    x = next(iter(args), None)
    weights = [parameter for parameter in block.parameters() if parameter.ndim > 1]
    if not isinstance(x, torch.Tensor) or not x.is_floating_point() or not weights:
        return False
    with torch.no_grad():
        for weight in weights:
            weight.zero_()
        results = []
        for value in (x, torch.randn_like(x)):
            others, options = copy.deepcopy((args[1:], kwargs))
            results.append(block(value, *others, **options))
    firsts = [result[0] if isinstance(result, tuple) else result for result in results]
    if not all(isinstance(first, torch.Tensor) and first.shape == x.shape for first in firsts):
        return False
    return bool((firsts[0] - firsts[1]).abs().mean() > 0.1)


@plant("TD301")
def never_applied(model: nn.Module, host: Host, choice: random.Random) -> nn.Module:
    kind = choice.randrange(3)
    if kind == 0 and dropouts(host):
        name = pick(dropouts(host), choice, "")
        planted_class(model.get_submodule(name), lambda self, x: F.dropout(x, self.p, training=False))
        return model
    parts = [
        name
        for name in host.calls
        if any(True for _ in model.get_submodule(name).children())
        and not isinstance(model.get_submodule(name), nn.Sequential)
    ]
    part = model.get_submodule(pick(parts, choice, "part that is called"))
    part.planted = nn.Dropout(0.37)
    return model


@plant("TD305")
def all_rates_zero(model: nn.Module, host: Host, choice: random.Random) -> nn.Module:  # noqa: ARG001
    if not dropouts(host):
        raise Unsuitable("the model has no dropout modules that drop")
    for module in model.modules():
        for name in ("p", "dropout", "drop_prob", "attention_dropout", "dropout_prob", "activation_dropout"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
    return model


@plant("TD306")
def shared_instance(model: nn.Module, host: Host, choice: random.Random) -> nn.Module:
    groups: dict[str, list[str]] = {}
    for name in dropouts(host):
        if name.count("."):
            groups.setdefault(name.rsplit(".", choice.choice([1, 2]))[0], []).append(name)
    around = pick([name for name, parts in groups.items() if len(parts) > 1], choice, "part with two dropout modules")
    shared = nn.Dropout(0.1)
    for name in groups[around]:
        parent, _, attribute = name.rpartition(".")
        setattr(model.get_submodule(parent), attribute, shared)
    return model


@plant("TD307")
def few_rows(model: nn.Module, host: Host, choice: random.Random) -> nn.Module:  # noqa: ARG001
    if not any(host.model.get_submodule(name).p >= 0.1 for name in dropouts(host)):
        raise Unsuitable("the model has no dropout module of at least 0.1")
    return model  # the mistake is a number of rows, which the audit is given
