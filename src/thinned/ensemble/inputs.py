"""The arguments of a model's forward."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch.utils._pytree import tree_leaves, tree_map

__all__ = ["ModelInputs"]


class ModelInputs(NamedTuple):
    """Positional and keyword arguments of a forward pass."""

    args: tuple[object, ...]
    kwargs: dict[str, object]

    @classmethod
    def from_user(cls, x: object) -> "ModelInputs":
        """A mapping gives keyword arguments, a tuple or list positional ones, anything else the one argument."""
        if isinstance(x, Mapping):
            return cls((), {str(name): value for name, value in x.items()})
        return cls(tuple(x), {}) if isinstance(x, tuple | list) else cls((x,), {})

    @property
    def tensors(self) -> list[torch.Tensor]:
        """All tensors among the arguments."""
        return [leaf for leaf in tree_leaves((self.args, self.kwargs)) if isinstance(leaf, torch.Tensor)]

    def map(self, function: Callable[[torch.Tensor], torch.Tensor]) -> "ModelInputs":
        """The same arguments with ``function`` applied to every tensor."""
        return ModelInputs(
            *tree_map(lambda leaf: function(leaf) if isinstance(leaf, torch.Tensor) else leaf, (self.args, self.kwargs))
        )

    def rows(self, axis: int) -> int:
        """Number of examples: the size of the first tensor along ``axis``; 0 where no tensor has that axis."""
        return next((tensor.shape[axis] for tensor in self.tensors if tensor.ndim > axis), 0)
