"""A map from tensors, and the tensors within arguments and results."""

import weakref
from typing import Generic, TypeVar

import torch
from torch.utils._pytree import tree_leaves

__all__ = ["TensorMap", "output_tensors", "tensors"]

Value = TypeVar("Value")


class TensorMap(Generic[Value]):
    """A map from tensors, which it does not keep alive; torch.utils.weak has one whose keys cost ten times as much."""

    def __init__(self) -> None:
        self._entries: dict[int, tuple[weakref.ref[torch.Tensor], Value]] = {}

    def __setitem__(self, tensor: torch.Tensor, value: Value) -> None:
        number, entries = id(tensor), self._entries
        entries[number] = weakref.ref(tensor, lambda _: entries.pop(number, None)), value

    def __contains__(self, tensor: torch.Tensor) -> bool:
        return id(tensor) in self._entries

    def __delitem__(self, tensor: torch.Tensor) -> None:
        del self._entries[id(tensor)]

    def get(self, tensor: torch.Tensor) -> Value | None:
        """The value of a tensor; None for an unknown one."""
        entry = self._entries.get(id(tensor))
        return None if entry is None else entry[1]


def tensors(tree: object) -> list[torch.Tensor]:
    """The tensors in arguments or a result, in order."""
    if isinstance(tree, torch.Tensor):
        return [tree]
    if tree is None or isinstance(tree, int | float | str | torch.dtype | torch.device):
        return []
    if type(tree) in {tuple, list}:
        return [tensor for part in tree for tensor in tensors(part)]  # type: ignore[attr-defined]
    if type(tree) is dict:
        return [tensor for part in tree.values() for tensor in tensors(part)]
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def output_tensors(result: object) -> list[torch.Tensor]:
    """The tensors of an output, including those in attributes of a class that torch's tree functions do not know."""
    result_tensors = tensors(result)
    if not result_tensors and hasattr(result, "__dict__"):
        result_tensors = tensors(list(vars(result).values()))
    return result_tensors
