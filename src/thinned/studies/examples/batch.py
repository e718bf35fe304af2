"""A batch of examples: the input of a network and its targets."""

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

import numpy as np
import torch

from thinned.errors import InputError, sentence

__all__ = ["Batch", "Inputs", "as_batch", "call_network", "input_tensors", "map_inputs"]

#: a network is called as ``network(x)``, ``network(*x)`` or ``network(**x)``
Inputs: TypeAlias = torch.Tensor | tuple[torch.Tensor, ...] | dict[str, torch.Tensor]


class Batch(NamedTuple):
    """Input and targets; the first axis of each tensor is that of the examples."""

    x: Inputs
    y: torch.Tensor

    def to(self, device: torch.device) -> "Batch":
        """The same on a device."""
        if self.y.device == device:
            return self
        return Batch(map_inputs(lambda t: t.to(device, non_blocking=True), self.x), self.y.to(device))


def map_inputs(function: Callable[[torch.Tensor], torch.Tensor], x: Inputs) -> Inputs:
    """Apply a function to each tensor."""
    if isinstance(x, torch.Tensor):
        return function(x)
    if isinstance(x, dict):
        return {name: function(value) for name, value in x.items()}
    return tuple(function(value) for value in x)


def input_tensors(x: Inputs) -> list[torch.Tensor]:
    """The tensors of an input."""
    if isinstance(x, torch.Tensor):
        return [x]
    return list(x.values() if isinstance(x, dict) else x)


def call_network(network: Callable[..., object], x: Inputs) -> object:
    """Call a network as the form of its input says."""
    if isinstance(x, torch.Tensor):
        return network(x)
    return network(**x) if isinstance(x, dict) else network(*x)


def as_batch(collated: object) -> Batch:
    """Check what a collate function returned; NumPy arrays become tensors, numbers of 64 bits those of 32.

    Raises:
        InputError: it is no pair of inputs and targets.
    """
    if not isinstance(collated, tuple | list) or len(collated) != 2:
        shown = f"got {type(collated).__name__}"
        shown += f" of {len(collated)}" if isinstance(collated, tuple | list) else ""
        raise InputError(sentence("an example must be a pair of input and target", shown))
    x, y = collated
    if isinstance(x, Mapping):
        return Batch({str(name): as_tensor(value, "x") for name, value in x.items()}, as_tensor(y, "y"))
    if isinstance(x, tuple | list):
        return Batch(tuple(as_tensor(value, "x") for value in x), as_tensor(y, "y"))
    return Batch(as_tensor(x, "x"), as_tensor(y, "y"))


def as_tensor(value: object, name: str) -> torch.Tensor:
    """A tensor as it is, or one of an array; float64, which NumPy and Python take by default, becomes torch's default.

    Raises:
        InputError: it is neither.
    """
    if not isinstance(value, torch.Tensor):
        try:
            value = torch.as_tensor(np.asarray(value) if hasattr(value, "__array__") else value)
        except (TypeError, ValueError, RuntimeError):
            remedy = "convert it, as with transform=ToTensor() or a collate_fn"
            requirement = f"{name} must be a tensor, a NumPy array, or a tuple or mapping of these"
            raise InputError(sentence(requirement, f"got {type(value).__name__}", remedy)) from None
    return value.to(torch.get_default_dtype()) if value.dtype == torch.float64 else value
