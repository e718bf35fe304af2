"""Dropout, and noise of other forms: each element is its own decision unless axes share one."""

from collections.abc import Sequence

import torch

from thinned import masks
from thinned.errors import check_p, sentence
from thinned.kernels.address import WHOLE, Region
from thinned.kernels.form import Form
from thinned.ops import dispatch

__all__ = [
    "alpha_dropout",
    "check_residual",
    "checked_rate",
    "drop_connect",
    "dropout",
    "dropout_add",
    "gaussian_dropout",
]

Within = tuple[Sequence[int], Sequence[int]]


def dropout(
    input: torch.Tensor,
    p: float | torch.Tensor = 0.5,
    training: bool = True,
    inplace: bool = False,
    *,
    shared: Sequence[int] = (),
    key: int | torch.Tensor | None = None,
    call: int | torch.Tensor = 0,
    within: Within | None = None,
    impl: str = "auto",
) -> torch.Tensor:
    """Zero elements with probability ``p`` and scale the rest by 1 / (1 − p) (Srivastava et al. 2014).

    The mask is a pure function of ``(key, call, index)``: neither threads, nor memory layout, nor dtype change it. The
    rate is quantised to 1/65,536 and survivors are scaled by the inverse of the quantised keep probability, so that
    the expected value equals the input for every ``p``. No mask is kept for the backward pass.

    Args:
        input: floating-point tensor of any shape (f32, f64, bf16, f16), any strides.
        p: probability of dropping, in [0, 1]; 0 returns the values bit for bit, 1 returns zeros. A float64 tensor of
            shape ``(members,)`` gives each ``input[m]`` its own rate; a 0-dim one varies without a recompile.
        training: False returns ``input`` itself.
        inplace: overwrite ``input``.
        shared: axes along which all elements share one decision. With members, axes of a member.
        key: 64-bit key (int or 0-dim int64 tensor); None draws one from torch's default CPU generator. A tensor of
            shape ``(members,)`` gives each ``input[m]`` its own mask.
        call: 64-bit number of the training forward pass (int or 0-dim int64 tensor).
        within: ``(full_shape, start)``: ``input`` is the slice of a tensor of ``full_shape`` that begins at ``start``,
            and gets that slice of its mask. With members, shape and start of a member.
        impl: ``"auto"``, ``"native"``, ``"triton"``, ``"aten"`` or ``"reference"``; a named backend never falls back.

    Returns:
        A tensor like ``input``.

    Raises:
        ValueError: ``p`` lies outside [0, 1], ``input`` does not lie within ``within``, or ``impl`` is unknown.
        IndexError: an axis in ``shared`` does not exist.
        RuntimeError: ``input`` is not floating-point.
        NotImplementedError: the named backend can't run on the device or dtype of ``input``.

    Example:
        >>> import torch, thinned
        >>> a = torch.tensor([0.36, 0.13, 0.42, 0.25])
        >>> thinned.functional.dropout(a, p=0.5, key=20)
        tensor([0.7200, 0.0000, 0.8400, 0.0000])
        >>> thinned.functional.dropout(a[2:], p=0.5, key=20, within=((4,), (2,)))
        tensor([0.8400, 0.0000])
    """
    p = checked_rate(p)
    return _apply(Form.DROPOUT, input, p, key, call, shared, within, impl, inplace) if training else input


def dropout_add(
    input: torch.Tensor,
    residual: torch.Tensor,
    p: float | torch.Tensor = 0.5,
    training: bool = True,
    *,
    shared: Sequence[int] = (),
    key: int | torch.Tensor | None = None,
    call: int | torch.Tensor = 0,
    within: Within | None = None,
    impl: str = "auto",
) -> torch.Tensor:
    """``residual + dropout(input)`` in one pass, forward and backward; bitwise that sum.

    ``p``, ``key``, ``call``, ``within`` and ``impl`` are as for :func:`dropout`.

    Args:
        input: floating-point tensor of any shape.
        residual: tensor of the shape, dtype and device of ``input``.
        p: probability of dropping.
        training: False returns ``residual + input``.
        shared: axes that share one decision; all but the batch's for stochastic depth (Huang et al. 2016).
        key: 64-bit key; None draws one.
        call: number of the training forward pass.
        within: ``(full_shape, start)`` where ``input`` is a slice.
        impl: backend.

    Returns:
        A tensor like ``input``.

    Raises:
        RuntimeError: ``residual`` differs from ``input`` in shape, dtype or device, or they are not floating-point.
        ValueError: ``p`` lies outside [0, 1].

    Example:
        >>> import torch, thinned
        >>> a = torch.tensor([0.36, 0.13, 0.42, 0.25])
        >>> thinned.functional.dropout_add(a, torch.ones(4), p=0.5, key=20)
        tensor([1.7200, 1.0000, 1.8400, 1.0000])
    """
    p = checked_rate(p)
    check_residual(input, residual)
    if not training:
        return residual + input
    return _apply(Form.ADD, input, p, key, call, shared, within, impl, residual=residual)


def alpha_dropout(
    input: torch.Tensor,
    p: float | torch.Tensor = 0.5,
    training: bool = False,
    inplace: bool = False,
    *,
    shared: Sequence[int] = (),
    key: int | torch.Tensor | None = None,
    call: int | torch.Tensor = 0,
    within: Within | None = None,
    impl: str = "auto",
) -> torch.Tensor:
    """Set elements to SELU's negative saturation α' with probability ``p``, and restore mean 0 and variance 1.

    Kept elements become a·x + b and dropped ones a·α' + b, with q = 1 − p as quantised, a = (q (1 + p α'²))^(−1/2) and
    b = −a p α' (Klambauer et al. 2017, "Self-normalizing neural networks"). Arguments, results and errors are those of
    :func:`dropout`, but for these:

    Args:
        input: floating-point tensor of any shape.
        p: probability of dropping; 0 returns the values bit for bit, 1 returns zeros, as PyTorch's does.
        training: False, the default as in PyTorch, returns ``input`` itself.
        inplace: overwrite ``input``.
        shared: axes that share one decision; all after the channel's for feature alpha dropout.
        key: 64-bit key; None draws one.
        call: number of the training forward pass.
        within: ``(full_shape, start)`` where ``input`` is a slice.
        impl: backend.
    """
    p = checked_rate(p)
    return _apply(Form.ALPHA, input, p, key, call, shared, within, impl, inplace) if training else input


def gaussian_dropout(
    input: torch.Tensor,
    p: float | torch.Tensor = 0.5,
    training: bool = True,
    inplace: bool = False,
    *,
    shared: Sequence[int] = (),
    key: int | torch.Tensor | None = None,
    call: int | torch.Tensor = 0,
    within: Within | None = None,
    impl: str = "auto",
) -> torch.Tensor:
    """Multiply by normals of mean 1 and variance p / (1 − p) (Srivastava et al. 2014, §10).

    The normals are a pure function of ``(key, call, index)``, bitwise equal on every machine
    (:func:`thinned.philox.normals`); they are computed again for the backward pass, not kept. Arguments, results and
    errors are those of :func:`dropout`, but for these:

    Args:
        input: floating-point tensor of any shape.
        p: rate in [0, 1); mean and variance are those of dropout with that rate, quantised likewise.
        training: False returns ``input`` itself.
        inplace: overwrite ``input``.
        shared: axes that share one normal.
        key: 64-bit key; None draws one.
        call: number of the training forward pass.
        within: ``(full_shape, start)`` where ``input`` is a slice.
        impl: backend.

    Raises:
        ValueError: ``p`` lies outside [0, 1).
    """
    p = checked_rate(p)
    if not isinstance(p, torch.Tensor) and p == 1.0:
        raise ValueError(
            sentence("p must lie in [0, 1) for Gaussian noise", f"got p={p!r}", "its variance is p / (1 - p)")
        )
    return _apply(Form.GAUSSIAN, input, p, key, call, shared, within, impl, inplace) if training else input


def drop_connect(
    input: torch.Tensor,
    p: float | torch.Tensor = 0.5,
    training: bool = True,
    *,
    key: int | torch.Tensor | None = None,
    call: int | torch.Tensor = 0,
) -> torch.Tensor:
    """Drop connections, the elements of a weight (Wan et al. 2013): :func:`dropout` of the weight.

    Args:
        input: weight of any shape.
        p: probability of dropping a connection, in [0, 1].
        training: False returns the weight itself.
        key: 64-bit key; None draws one.
        call: number of the training forward pass.
    """
    return dropout(input, p, training, key=key, call=call)


def checked_rate(p: float | torch.Tensor) -> float | torch.Tensor:
    """Check a rate that is a number; a tensor's is checked where it is read."""
    return p if isinstance(p, torch.Tensor) else check_p(p)


def _apply(
    form: Form,
    input: torch.Tensor,
    p: float | torch.Tensor,
    key: int | torch.Tensor | None,
    call: int | torch.Tensor,
    shared: Sequence[int],
    within: Within | None,
    impl: str,
    inplace: bool = False,
    residual: torch.Tensor | None = None,
) -> torch.Tensor:
    region = _region(input, p, key, shared, within) if shared or within is not None else WHOLE
    return dispatch.apply(input, p, key, call, region=region, impl=impl, inplace=inplace, residual=residual, form=form)


def check_residual(input: torch.Tensor, residual: torch.Tensor) -> None:
    """Refuse a residual that is not like ``input``."""
    if input.shape != residual.shape or input.dtype != residual.dtype or input.device != residual.device:
        raise RuntimeError(
            sentence(
                "residual must have the shape, dtype and device of input",
                f"got {tuple(residual.shape)}, {residual.dtype} on {residual.device} "
                f"for input of {tuple(input.shape)}, {input.dtype} on {input.device}",
                "expand or convert it first",
            )
        )


def _region(
    input: torch.Tensor,
    p: float | torch.Tensor,
    key: int | torch.Tensor | None,
    shared: Sequence[int],
    within: Within | None,
) -> Region:
    """Check ``shared`` and ``within`` against the axes of a member."""
    members = any(isinstance(value, torch.Tensor) and value.ndim > 0 for value in (p, key))
    shape = tuple(input.shape[1:] if members else input.shape)
    axes = masks.shared_axes(shared, len(shape))
    if within is None:
        return Region(axes)
    full, start = (tuple(int(number) for number in part) for part in within)
    fits = len(full) == len(start) == len(shape) and all(
        first >= 0 and first + size <= whole for first, size, whole in zip(start, shape, full, strict=True)
    )
    if not fits:
        shapes = f"got input of shape {shape}, full shape {full} and start {start}"
        raise ValueError(sentence("input must lie within the full shape", shapes))
    return Region(axes, full, start)
