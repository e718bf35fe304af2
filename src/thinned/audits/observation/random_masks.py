"""Find masks that a model draws by itself: tensors of zeros and one other value that come from no activation."""

import hashlib
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import nn

from thinned.ops.torch_private import functorch_active
from thinned.tracing.preserve import uninitialised
from thinned.tracing.tensor_map import TensorMap

__all__ = ["AppliedMask", "Location", "MaskFinder", "differing_masks", "digest_of"]

#: functions that apply a mask to a tensor, without their underscores
_APPLYING = frozenset({"mul", "rmul", "imul", "multiply", "where", "masked_fill", "masked_scatter", "setitem"})
_DROPPING_TRUE = frozenset({"masked_fill", "masked_scatter", "setitem"})
#: functions that overwrite a tensor with values that do not depend on it
_OVERWRITING = frozenset(
    {
        *("bernoulli_", "uniform_", "normal_", "exponential_", "geometric_", "cauchy_", "log_normal_", "random_"),
        *("zero_", "fill_"),
    }
)
#: functions of which only the first tensor gives values
_ONE_SOURCE = frozenset({"expand_as", "view_as", "reshape_as", "type_as", "to", "type"})


class Location(NamedTuple):
    """A line of source code."""

    file: str
    line: int


class AppliedMask(NamedTuple):
    """A mask that a pass applied to an activation or a parameter.

    Attributes:
        path: name of the innermost module around the call.
        location: line of the user's code that applies the mask.
        zero_fraction: fraction of zeros in the mask.
        digest: digest of the positions of the zeros.
    """

    path: str
    location: Location | None
    zero_fraction: float
    digest: str


def differing_masks(first: list[AppliedMask], second: list[AppliedMask]) -> list[AppliedMask]:
    """Masks of one evaluation that differ from those of another evaluation of the same input."""
    if [mask.location for mask in first] != [mask.location for mask in second]:
        return []  # the passes took different ways, so their masks have no partners
    return [mask for mask, other in zip(first, second, strict=True) if mask.digest != other.digest]


class MaskFinder:
    """Follow which tensors depend on inputs or parameters, and recognise masks among the others.

    Args:
        model: the model of the pass; its parameters and buffers count as activations, single numbers do not.
        inputs: tensors that the model is called with.
    """

    def __init__(self, model: nn.Module, inputs: Iterable[torch.Tensor]) -> None:
        self._activations: TensorMap[bool] = TensorMap()
        for tensor in (*model.parameters(), *model.buffers(), *inputs):
            if not uninitialised(tensor) and tensor.numel() > 1:
                self._activations[tensor] = True

    def add_function(self, inputs: list[torch.Tensor], outputs: list[torch.Tensor], name: str) -> None:
        """Note that the function ``name`` took the inputs and made the outputs."""
        sources = inputs[:1] if name in _ONE_SOURCE else inputs
        independent = name.endswith("_like") or name.startswith("new_") or name in _OVERWRITING
        is_activation = not independent and any(tensor in self._activations for tensor in sources)
        for tensor in outputs:
            if is_activation:
                self._activations[tensor] = True
            elif tensor in self._activations and independent:
                del self._activations[tensor]

    def masks(self, name: str, arguments: list[torch.Tensor]) -> list[torch.Tensor]:
        """The masks among the arguments of a call, each as bool that is True where it drops."""
        plain = name.strip("_")
        if plain not in _APPLYING or functorch_active():
            return []
        if not any(tensor in self._activations for tensor in arguments):
            return []
        others = [tensor for tensor in arguments if tensor not in self._activations]
        with torch._C.DisableTorchFunction():
            masks = [tensor for tensor in others if _is_mask(tensor)]
            return [mask != 0 if plain in _DROPPING_TRUE else mask == 0 for mask in masks]


def _is_mask(tensor: torch.Tensor) -> bool:
    """True for a tensor that has zeros and one other value."""
    if tensor.numel() < 2 or tensor.layout is not torch.strided or tensor.is_meta or tensor.is_quantized:
        return False
    if tensor.is_complex():
        return False
    others = tensor[tensor != 0]
    return 0 < others.numel() < tensor.numel() and bool((others == others[0]).all())


def digest_of(mask: torch.Tensor) -> str:
    """Digest of the shape and the values of a bool tensor."""
    values = mask.detach().cpu().contiguous().numpy().tobytes()
    return hashlib.blake2b(repr(tuple(mask.shape)).encode() + values, digest_size=16).hexdigest()
