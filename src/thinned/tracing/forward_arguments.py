"""The arguments of a forward, as a user gives them for a recorded pass."""

from collections.abc import Mapping
from typing import TypeVar

import torch
from torch.utils._pytree import tree_map

from thinned.errors import sentence

__all__ = ["copied_arguments", "forward_arguments"]

Arguments = TypeVar("Arguments")


def forward_arguments(args: object, kwargs: object, function: str) -> tuple[tuple[object, ...], dict[str, object]]:
    """Positional and keyword arguments of the forward.

    Args:
        args: a tuple; a mapping stands for keyword arguments, and any other single object for a tuple of one.
        kwargs: a mapping or None.
        function: name of the public function that took them, for the message.

    Raises:
        TypeError: ``kwargs`` is not a mapping.
    """
    if kwargs is not None and not isinstance(kwargs, Mapping):
        requirement = "kwargs must be a mapping of keyword arguments for the forward"
        remedy = f"give positional arguments as one tuple: {function}(model, (x, y))"
        raise TypeError(sentence(requirement, f"got {type(kwargs).__name__}", remedy))
    if isinstance(args, Mapping):
        return (), {**args, **(kwargs or {})}
    return args if isinstance(args, tuple) else (args,), dict(kwargs or {})


def copied_arguments(tree: Arguments) -> Arguments:
    """Copy the inputs of a pass, which a forward may write to."""

    def leaf(value: object) -> object:
        if isinstance(value, torch.Tensor):
            return value.detach().clone().requires_grad_(value.requires_grad)
        clone = getattr(value, "clone", None)
        return clone() if callable(clone) else value

    copied: Arguments = tree_map(leaf, tree)
    return copied
