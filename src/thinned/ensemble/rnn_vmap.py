"""Recurrent layers of many members at once: torch has no batching rule for them, so members join the batch."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast

import torch

from thinned.tracing.torch_functions import Recurrent

__all__ = ["RECURRENT", "over_members"]

RECURRENT = frozenset({torch.lstm, torch.gru, torch.rnn_tanh, torch.rnn_relu})

Outputs = tuple[torch.Tensor, ...]
Layer = Callable[[torch.Tensor, Outputs, Outputs], Outputs]  # of sequences, states and weights


def over_members(function: Callable[..., object], *args: object) -> object:
    """``function(*args)``, one of :data:`RECURRENT`, also under ``vmap``.

    Raises:
        NotImplementedError: under ``vmap``, sequences are packed or have no batch, or members differ in weights.
    """
    call = Recurrent.bind(*args)
    if call.batch_sizes is not None or call.input.ndim != 3 or not torch._C._are_functorch_transforms_active():
        return function(*args)
    several = isinstance(call.hidden, tuple | list)
    states = tuple(call.hidden) if several else (call.hidden,)

    def run(x: torch.Tensor, states: Outputs, weights: Outputs) -> Outputs:
        return cast("Outputs", function(x, states if several else states[0], list(weights), *call[4:]))

    return _Recurrent.apply(run, call.batch_first, len(states), call.input, *states, *call.weights)  # type: ignore[no-untyped-call]


class _VmapInfo(Protocol):
    batch_size: int


class _Recurrent(torch.autograd.Function):
    """Has no gradient, which nobody takes of a member."""

    @staticmethod
    def forward(run: Layer, _: bool, states: int, x: torch.Tensor, *rest: torch.Tensor) -> Outputs:
        return run(x, rest[:states], rest[states:])

    @staticmethod
    def setup_context(ctx: object, inputs: tuple[object, ...], output: object) -> None:
        pass

    @staticmethod
    def vmap(
        info: _VmapInfo, in_dims: Sequence[int | None], run: Layer, batch_first: bool, states: int, *tensors: Any
    ) -> tuple[Outputs, tuple[int, ...]]:
        dims = in_dims[3:]
        if any(dim is not None for dim in dims[1 + states :]):
            raise NotImplementedError("members with recurrent weights of their own cannot be run as one batch")
        batch_axes = [0 if batch_first else 1] + [1] * states  # in the sequences, and in the states

        def fold_members(tensor: torch.Tensor, dim: int | None, axis: int) -> torch.Tensor:
            if dim is None:
                wide = tensor.unsqueeze(axis).expand(*tensor.shape[:axis], info.batch_size, *tensor.shape[axis:])
            else:
                wide = tensor.movedim(dim, axis)
            return wide.flatten(axis, axis + 1)

        x, *folded = map(fold_members, tensors[: 1 + states], dims, batch_axes)
        outputs = run(x, tuple(folded), tuple(tensors[1 + states :]))
        pairs = zip(outputs, batch_axes, strict=True)
        unfolded = (torch.unflatten(out, axis, (info.batch_size, -1)) for out, axis in pairs)
        return tuple(unfolded), tuple(batch_axes)
