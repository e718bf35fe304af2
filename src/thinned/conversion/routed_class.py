"""The class of a module whose forward is wrapped: a subclass of its own class, which has its name.

A function in place of ``module.forward`` would belong to one module: a shallow copy or a replica of ``DataParallel``
would run the forward of the original, with the original's weights.
"""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, SupportsIndex, cast

import torch
from torch import nn

from thinned.conversion.clock import CLOCK
from thinned.tracing.modules import ORIGINAL_CLASS, WRAPPER

if TYPE_CHECKING:
    from thinned.conversion.forward_wrapper import ForwardWrapper

__all__ = ["route", "wrapper_of"]


def wrapper_of(module: nn.Module) -> "ForwardWrapper | None":
    """The wrapper around a module's forward."""
    return module.__dict__.get(WRAPPER)


def route(module: nn.Module, wrapper: "ForwardWrapper") -> None:
    """Make the forward of ``module`` run through ``wrapper``."""
    module.__dict__[WRAPPER] = wrapper
    cls: Any = type(module)  # mypy takes no class of modules for hashable
    module.__class__ = _routed_class(cls)


def _rebuild(construct: Callable[..., nn.Module], args: tuple[object, ...]) -> nn.Module:
    """Unpickle a module of a routed class, whose class no module holds."""
    module = construct(*args)
    cls: Any = type(module)
    module.__class__ = _routed_class(cls)
    return module


class _Unnoticed(nn.Module):  # of a module's layout, so that the class of an object can be changed
    """First among the bases: the making of a routed class does not run the ``__init_subclass__`` of the user."""

    def __init_subclass__(cls) -> None:
        pass


@functools.cache
def _routed_class(original: Any) -> Any:
    """One class for all modules of a class, so that torch.compile can share their code."""
    own_forward = original.forward

    @functools.wraps(own_forward)
    def forward(self: nn.Module, *args: object, **kwargs: object) -> object:
        wrapper: ForwardWrapper | None = getattr(self, WRAPPER, None)
        return own_forward(self, *args, **kwargs) if wrapper is None else wrapper.run(self, own_forward, args, kwargs)

    def reduce(self: nn.Module, protocol: SupportsIndex) -> tuple[object, ...]:
        construct, args, *rest = cast("tuple[Any, ...]", original.__reduce_ex__(self, protocol))
        return _rebuild, (construct, tuple(original if arg is routed else arg for arg in args)), *rest

    def load(self: nn.Module, state_dict: dict[str, torch.Tensor], prefix: str, *args: object) -> None:
        if CLOCK in self._buffers:  # a state dict from before the model was addressed leaves the clock as it is
            number = state_dict.setdefault(prefix + CLOCK, self.get_buffer(CLOCK))
            if (least := getattr(self, WRAPPER).model.least) is not None:
                least.copy_(number)
        original._load_from_state_dict(self, state_dict, prefix, *args)

    def save(self: nn.Module, destination: dict[str, torch.Tensor], prefix: str, keep_vars: bool) -> None:
        original._save_to_state_dict(self, destination, prefix, keep_vars)
        if CLOCK in self._buffers and (least := getattr(self, WRAPPER).model.least) is not None:
            clock = self.get_buffer(CLOCK)  # which averaging may have set back
            destination[prefix + CLOCK] = torch.maximum(clock, least.to(clock.device))

    members = {"_save_to_state_dict": save, "forward": forward, "__reduce_ex__": reduce, "_load_from_state_dict": load}
    members[ORIGINAL_CLASS] = original
    names = {name: getattr(original, name) for name in ("__module__", "__qualname__", "__doc__")}
    routed: type[nn.Module] = type(original)(original.__name__, (_Unnoticed, original), members | names)
    return routed
