"""A map from tensors, and the tensors within arguments and results."""

import weakref
from typing import Generic, TypeVar

import torch
from torch.utils._pytree import tree_leaves

__all__ = ["TensorMap", "output_tensors", "tensors"]

Value = TypeVar("Value")
#: types of most arguments that are no tensors: torch's tree functions take ten times as long to say so
_NO_TENSORS = frozenset(
    [
        *(int, float, bool, str, complex, type(None), slice, type(...), torch.Size),
        *(torch.dtype, torch.device, torch.layout, torch.memory_format),
    ]
)


class TensorMap(Generic[Value]):
    """A map from tensors, which it does not keep alive; torch.utils.weak has one whose keys cost ten times as much."""

    def __init__(self) -> None:
        self._entries: dict[int, tuple[weakref.ref[torch.Tensor], Value]] = {}

    def __setitem__(self, tensor: torch.Tensor, value: Value) -> None:
        number, entries = id(tensor), self._entries
        entries[number] = weakref.ref(tensor, lambda _: entries.pop(number, None)), value

    def __bool__(self) -> bool:
        """True if it has a value for any tensor that exists."""
        return bool(self._entries)

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
    tensor_list: list[torch.Tensor] = []
    _add_tensors(tree, tensor_list)
    return tensor_list


def _add_tensors(tree: object, tensor_list: list[torch.Tensor]) -> None:
    kind = type(tree)
    if kind in _NO_TENSORS:
        return
    if isinstance(tree, torch.Tensor):
        tensor_list.append(tree)
    elif kind is tuple or kind is list:
        for part in tree:  # type: ignore[attr-defined]
            _add_tensors(part, tensor_list)
    elif kind is dict:
        for part in tree.values():  # type: ignore[attr-defined]
            _add_tensors(part, tensor_list)
    else:
        tensor_list += [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def output_tensors(result: object) -> list[torch.Tensor]:
    """The tensors of an output, including those in attributes of a class that torch's tree functions do not know."""
    result_tensors = tensors(result)
    if not result_tensors and hasattr(result, "__dict__"):
        result_tensors = tensors(list(vars(result).values()))
    return result_tensors
