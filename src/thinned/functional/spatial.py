"""Dropout of whole channels of a feature map."""

import warnings

import torch

from thinned.errors import sentence
from thinned.functional.elementwise import alpha_dropout, checked_rate, dropout

__all__ = ["dropout1d", "dropout2d", "dropout3d", "feature_alpha_dropout"]

_RANKS = {1: "1 spatial dimension", 2: "2 spatial dimensions", 3: "3 spatial dimensions"}


def dropout1d(
    input: torch.Tensor,
    p: float | torch.Tensor = 0.5,
    training: bool = True,
    inplace: bool = False,
    *,
    key: int | torch.Tensor | None = None,
    call: int | torch.Tensor = 0,
) -> torch.Tensor:
    """Drop whole channels of sequences (Tompson et al. 2015).

    Args:
        input: ``(N, C, L)`` or ``(C, L)``.
        p: probability of dropping a channel, in [0, 1].
        training: False returns ``input`` itself.
        inplace: overwrite ``input``.
        key: 64-bit key; None draws one.
        call: number of the training forward pass.

    Raises:
        RuntimeError: ``input`` has another number of dimensions, or is not floating-point.
    """
    return _drop_channels(1, input, p, training, inplace, key, call)


def dropout2d(
    input: torch.Tensor,
    p: float | torch.Tensor = 0.5,
    training: bool = True,
    inplace: bool = False,
    *,
    key: int | torch.Tensor | None = None,
    call: int | torch.Tensor = 0,
) -> torch.Tensor:
    """Drop whole channels of images (Tompson et al. 2015).

    Inputs of unusual rank are warned about as torch's ``dropout2d`` does.

    Args:
        input: ``(N, C, H, W)``, or ``(N, C, L)`` with a warning.
        p: probability of dropping a channel, in [0, 1].
        training: False returns ``input`` itself.
        inplace: overwrite ``input``.
        key: 64-bit key; None draws one.
        call: number of the training forward pass.

    Raises:
        RuntimeError: ``input`` has fewer than 2 dimensions, or is not floating-point.
    """
    return _drop_channels(2, input, p, training, inplace, key, call)


def dropout3d(
    input: torch.Tensor,
    p: float | torch.Tensor = 0.5,
    training: bool = True,
    inplace: bool = False,
    *,
    key: int | torch.Tensor | None = None,
    call: int | torch.Tensor = 0,
) -> torch.Tensor:
    """Drop whole channels of volumes (Tompson et al. 2015).

    Inputs of unusual rank are warned about as torch's ``dropout3d`` does.

    Args:
        input: ``(N, C, D, H, W)`` or ``(C, D, H, W)``.
        p: probability of dropping a channel, in [0, 1].
        training: False returns ``input`` itself.
        inplace: overwrite ``input``.
        key: 64-bit key; None draws one.
        call: number of the training forward pass.

    Raises:
        RuntimeError: ``input`` has no dimension, or is not floating-point.
    """
    return _drop_channels(3, input, p, training, inplace, key, call)


def feature_alpha_dropout(
    input: torch.Tensor,
    p: float | torch.Tensor = 0.5,
    training: bool = False,
    inplace: bool = False,
    *,
    key: int | torch.Tensor | None = None,
    call: int | torch.Tensor = 0,
) -> torch.Tensor:
    """Apply :func:`alpha_dropout` to whole channels.

    Args:
        input: ``(N, C, ...)``.
        p: probability of dropping a channel, in [0, 1].
        training: False, the default as in PyTorch, returns ``input`` itself.
        inplace: overwrite ``input``.
        key: 64-bit key; None draws one.
        call: number of the training forward pass.

    Raises:
        RuntimeError: in training, ``input`` has fewer than 2 dimensions.
    """
    p = checked_rate(p)
    if training and input.ndim < 2:
        raise RuntimeError(sentence("Feature dropout requires at least 2 dimensions in the input", f"got {input.ndim}"))
    return alpha_dropout(input, p, training, inplace, shared=range(2, input.ndim), key=key, call=call)


def _check_rank(input: torch.Tensor, dims: int) -> None:
    """Raise and warn as torch's ``dropout1d``, ``2d`` and ``3d`` do, in evaluation too."""
    name, rank = f"dropout{dims}d", input.ndim
    purpose = (
        f"{name} exists for channel-wise dropout on inputs with {_RANKS[dims]}, a channel dimension and an optional "
        f"batch dimension ({dims + 1}D or {dims + 2}D)"
    )
    if rank in (dims + 1, dims + 2):
        if dims == 2 and rank == 3:
            warnings.warn(
                "dropout2d: Received a 3D input to dropout2d, interpreted as (N, C, L) with channel-wise 1D dropout, "
                "as torch.nn.functional.dropout2d does; use dropout1d to keep that, dropout3d for unbatched (C, H, W)",
                stacklevel=4,  # who called dropout2d
            )
    elif dims == 1:
        raise RuntimeError(sentence("dropout1d: Expected 2D or 3D input", f"but received a {rank}D input", purpose))
    else:
        warnings.warn(
            f"{name}: Received a {rank}-D input to {name}, which is deprecated in torch; use dropout: {purpose}",
            stacklevel=4,
        )


def _drop_channels(
    dims: int,
    input: torch.Tensor,
    p: float | torch.Tensor,
    training: bool,
    inplace: bool,
    key: int | torch.Tensor | None,
    call: int | torch.Tensor,
) -> torch.Tensor:
    """Drop channels of a feature map with ``dims`` spatial dimensions."""
    p = checked_rate(p)
    _check_rank(input, dims)
    if not training:
        return input
    batched = input.ndim == dims + 2 or dims == 2  # torch's dropout2d takes no unbatched input
    if input.ndim < 1 + batched:
        raise RuntimeError(sentence(f"dropout{dims}d needs at least {1 + batched} dimensions", f"got {input.ndim}"))
    return dropout(input, p, True, inplace, shared=range(1 + batched, input.ndim), key=key, call=call)
