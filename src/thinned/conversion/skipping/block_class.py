"""The class of a block that skips what is dropped: a subclass of its own class, which has its name."""

import functools
import inspect
import types
from collections.abc import Callable, Iterator, Mapping
from typing import SupportsIndex, cast

import torch
from torch import nn

from thinned.conversion.skipping.adapters import Adapter, Branch, adapter_of, run_steps
from thinned.functional.selection import can_select
from thinned.functional.stochastic_depth import add_kept
from thinned.layers import DropPath

__all__ = ["drops", "skip"]

Forward = Callable[..., object]


def skip(block: nn.Module) -> None:
    """Make the training forward of a block run its branches on the kept samples only."""
    adapter = adapter_of(block)
    if adapter is not None:
        block.__class__ = _skipping_class(type(block), adapter)  # type: ignore[arg-type] # a class is hashable


@functools.cache
def _skipping_class(original: type[nn.Module], adapter: Adapter) -> type[nn.Module]:
    """One class for all blocks of a class, so that torch.compile can share their code."""
    masked: Forward = original.forward
    signature = inspect.signature(masked)

    @functools.wraps(masked)
    def forward(self: nn.Module, *args: object, **kwargs: object) -> object:
        arguments = signature.bind(self, *args, **kwargs).arguments
        if not self.training or _matter(arguments, adapter) or not _can_skip(self, adapter):
            return masked(self, *args, **kwargs)
        x = cast("torch.Tensor", list(arguments.values())[1])
        for branch in adapter.branches:
            x = _residual(self, branch, x)
        return x

    def reduce(self: nn.Module, protocol: SupportsIndex) -> tuple[object, ...]:
        construct, arguments, *rest = cast(
            "tuple[object, tuple[object, ...], object]", original.__reduce_ex__(self, protocol)
        )
        return _rebuild, (construct, tuple(original if arg is skipping else arg for arg in arguments)), *rest

    names = {name: getattr(original, name) for name in ("__module__", "__qualname__", "__doc__")}
    members = {"forward": forward, "__reduce_ex__": reduce}
    skipping = types.new_class(original.__name__, (original,), exec_body=lambda space: space.update(members | names))
    return skipping


def _rebuild(construct: Callable[..., nn.Module], args: tuple[object, ...]) -> nn.Module:
    """Unpickle a block of a skipping class, whose class no module holds."""
    block = construct(*args)
    skip(block)
    return block


def _matter(arguments: Mapping[str, object], adapter: Adapter) -> bool:
    """Tell that the forward got more than its input: a mask of attention, say, which has a row for each sample."""
    extra = [(name, value) for name, value in list(arguments.items())[2:] if name not in adapter.ignored]
    return any(value is not None and value is not False and value != {} for _, value in extra)


def _can_skip(block: nn.Module, adapter: Adapter) -> bool:
    numbers = (number for drop in drops(block, adapter) for number in (drop.rate, drop.key))
    return can_select(*numbers)


def drops(block: nn.Module, adapter: Adapter) -> Iterator[DropPath]:
    """Yield the layers that drop the branches of a block."""
    for branch in adapter.branches:
        if isinstance(drop := getattr(block, branch.drop), DropPath):
            yield drop


def _residual(block: nn.Module, branch: Branch, x: torch.Tensor) -> torch.Tensor:
    """The input and a branch of its kept samples."""
    drop = getattr(block, branch.drop)
    if not isinstance(drop, DropPath) or not drop.training:
        return x + run_steps(block, branch, x)
    dtype = torch.float64 if x.dtype is torch.float64 else torch.float32
    with torch.no_grad():
        factors: torch.Tensor = drop(torch.ones((x.shape[0], *(1,) * (x.ndim - 1)), dtype=dtype))
    parts = [getattr(block, part) for part in branch.parts]
    return add_kept(x, functools.partial(run_steps, block, branch), factors.flatten(), parts)
