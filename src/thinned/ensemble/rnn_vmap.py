"""Recurrent layers of many members at once: torch has no batching rule for them, so members join the batch."""

from collections.abc import Callable
from typing import Any

import torch

from thinned.tracing.torch_functions import Recurrent

__all__ = ["RECURRENT", "over_members"]

RECURRENT = frozenset({torch.lstm, torch.gru, torch.rnn_tanh, torch.rnn_relu})


def over_members(function: Callable[..., Any], *args: Any) -> Any:
    """``function(*args)``, one of :data:`RECURRENT`, also under ``vmap``.

    Raises:
        NotImplementedError: under ``vmap``, sequences are packed or have no batch, or members differ in weights.
    """
    call = Recurrent.bind(*args)
    if call.batch_sizes is not None or call.input.ndim != 3 or not torch._C._are_functorch_transforms_active():
        return function(*args)
    several = isinstance(call.hidden, tuple | list)
    hidden = tuple(call.hidden) if several else (call.hidden,)

    def run(x: torch.Tensor, hidden: tuple[torch.Tensor, ...], weights: tuple[torch.Tensor, ...]) -> Any:
        return function(x, hidden if several else hidden[0], list(weights), *call[4:])

    return _Recurrent.apply(run, call.batch_first, len(hidden), call.input, *hidden, *call.weights)  # type: ignore[no-untyped-call]


class _Recurrent(torch.autograd.Function):
    """Without a gradient, which nobody takes of a member."""

    @staticmethod
    def forward(run: Callable[..., Any], _: bool, states: int, x: torch.Tensor, *rest: torch.Tensor) -> Any:
        return run(x, rest[:states], rest[states:])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        pass

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[Any, Any]:
        run, batch_first, states, *tensors = inputs
        dims = in_dims[3:]
        if any(dim is not None for dim in dims[1 + states :]):
            raise NotImplementedError("members with recurrent weights of their own can't be run as one batch")
        axes = [0 if batch_first else 1] + [1] * states  # of the batch: in the sequences, and in the states

        def folded(tensor: torch.Tensor, dim: int | None, axis: int) -> torch.Tensor:
            if dim is None:
                wide = tensor.unsqueeze(axis).expand(*tensor.shape[:axis], info.batch_size, *tensor.shape[axis:])
            else:
                wide = tensor.movedim(dim, axis)
            return wide.flatten(axis, axis + 1)

        x, *hidden = map(folded, tensors[: 1 + states], dims, axes)
        outputs = run(x, tuple(hidden), tuple(tensors[1 + states :]))
        pairs = zip(outputs, axes, strict=True)
        return tuple(out.unflatten(axis, (info.batch_size, -1)) for out, axis in pairs), tuple(axes)
