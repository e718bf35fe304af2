"""Facts about a module that need no pass: its kind and its rate."""

import re

from torch import nn

from thinned.tracing.modules import OPAQUE, TORCH_DROPOUTS, is_thinned

__all__ = ["can_drop", "is_drop_path", "is_dropout_module", "rate_of"]

_DROP_PATH = re.compile(r"drop_?path|stochastic_?depth", re.IGNORECASE)


def is_drop_path(module: nn.Module | type) -> bool:
    """True for stochastic depth, a module or a class, recognised by the name of the class."""
    cls = module if isinstance(module, type) else type(module)
    return bool(_DROP_PATH.search(cls.__name__))


def is_dropout_module(module: nn.Module) -> bool:
    """True for a dropout layer of torch or of thinned."""
    return isinstance(module, TORCH_DROPOUTS) or is_thinned(module)


def rate_of(module: nn.Module) -> float:
    """The rate that a module is configured with; 0 if it has none."""
    for name in ("p", "drop_prob", "dropout", "drop_rate"):
        value = getattr(module, name, None)
        if isinstance(value, float | int) and not isinstance(value, bool) and 0 <= value <= 1:
            return float(value)
    return 0.0


def can_drop(module: nn.Module) -> bool:
    """True for a module that drops by itself at a rate above 0."""
    return (isinstance(module, OPAQUE) or is_dropout_module(module) or is_drop_path(module)) and (rate_of(module) > 0)
