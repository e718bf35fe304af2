"""The rates that a model is configured with, and the dropouts that use them: shared by TD301 and TD306."""

from torch import nn

from thinned.audits.observation.class_source import reads_attribute
from thinned.audits.observation.modules import is_dropout_module, rate_of
from thinned.audits.observation.observation import Observation

__all__ = ["enclosing_module", "has_run", "same_rate"]

_CONTAINERS = (nn.ModuleList, nn.ModuleDict, nn.Sequential)


def has_run(path: str, observation: Observation) -> bool:
    """True if a dropout module ran, if a function may have used its rate, or if its part of the model did not run."""
    module = observation.modules[path]
    if any(observation.module_calls.get(name) for name, other in observation.modules.items() if other is module):
        return True
    enclosing = enclosing_module(path, observation)
    if enclosing is None or not observation.module_calls.get(enclosing):
        return True
    if _is_in_idle_part(path, enclosing, observation) or _has_active_alternative(path, observation):
        return True
    if not reads_attribute(observation.modules[enclosing], _attribute_below(enclosing, path), overridden=True):
        return False  # no method is written for it, so that no function stands for it either
    functions = [
        dropout
        for dropout in observation.training
        if dropout.site.kind != "module"
        and dropout.outside_module is None
        and same_rate(dropout.site.p, rate_of(module))
    ]
    return any(_owner_of_rate(dropout.path, dropout.site.p, observation) == enclosing for dropout in functions)


def _attribute_below(enclosing: str, path: str) -> str:
    """Name of the attribute of the enclosing module that leads to a path."""
    return path.removeprefix(enclosing).strip(".").partition(".")[0]


def _is_in_idle_part(path: str, enclosing: str, observation: Observation) -> bool:
    """True within an ``nn.Sequential`` of which nothing ran: another branch, or a layer that was skipped."""
    part = path.rpartition(".")[0]
    while part != enclosing:
        ran = any(calls for name, calls in observation.module_calls.items() if f"{name}.".startswith(f"{part}."))
        if isinstance(observation.modules.get(part), nn.Sequential) and not ran:
            return True
        part = part.rpartition(".")[0]
    return False


def _has_active_alternative(path: str, observation: Observation) -> bool:
    """True if another dropout of the same list ran, as that of the task at hand."""
    parent = path.rpartition(".")[0]
    siblings = observation.modules.get(parent)
    if not isinstance(siblings, nn.ModuleList | nn.ModuleDict):
        return False
    names = [f"{parent}.{name}" for name, module in siblings.named_children() if is_dropout_module(module)]
    return any(observation.module_calls.get(name) for name in names)


def same_rate(p: float, other: float) -> bool:
    """True for the same number, rounding aside."""
    return abs(p - other) < 1e-9


def _owner_of_rate(path: str, p: float, observation: Observation) -> str:
    """The nearest module around a dropout function that has a part or an attribute with its rate."""
    while path:
        module = observation.modules[path]
        rates = [rate_of(part) for part in module.children() if is_dropout_module(part)]
        rates += [value for name, value in vars(module).items() if isinstance(value, float) and "drop" in name]
        if any(same_rate(p, rate) for rate in rates):
            return path
        path = path.rpartition(".")[0]
    return path


def enclosing_module(path: str, observation: Observation) -> str | None:
    """The nearest module around one that is not a mere container."""
    while path:
        path = path.rpartition(".")[0]
        if path in observation.modules and type(observation.modules[path]) not in _CONTAINERS:
            return path
    return None
