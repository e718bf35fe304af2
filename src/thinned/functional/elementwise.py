"""Stateless dropout: every function is complete, and takes its mask's address or draws one."""

from collections.abc import Sequence

import torch

from thinned import masks, ops
from thinned.errors import check_p, sentence
from thinned.kernels.address import WHOLE, Form, Region

__all__ = ["alpha_dropout", "dropout", "dropout_add", "gaussian_dropout"]

Within = tuple[Sequence[int], Sequence[int]]


def dropout(
    x: torch.Tensor,
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
        x: floating-point tensor of any shape (f32, f64, bf16, f16), any strides.
        p: probability of dropping, in [0, 1]; 0 returns the values bit for bit, 1 returns zeros. A tensor of shape
            ``(members,)`` gives each ``x[m]`` its own rate.
        training: False returns ``x`` itself.
        inplace: overwrite ``x``.
        shared: axes along which all elements share one decision. With members, axes of a member.
        key: 64-bit key (int or 0-dim int64 tensor); None draws one from torch's default CPU generator. A tensor of
            shape ``(members,)`` gives each ``x[m]`` its own mask.
        call: 64-bit number of the training forward pass.
        within: ``(full_shape, start)``: ``x`` is the slice of a tensor of ``full_shape`` that begins at ``start``, and
            gets that slice of its mask. With members, shape and start of a member.
        impl: ``"auto"``, ``"native"``, ``"aten"`` or ``"reference"``; a named backend never falls back to another.

    Returns:
        A tensor like ``x``.

    Raises:
        ValueError: ``p`` lies outside [0, 1], ``x`` does not lie within ``within``, or ``impl`` is unknown.
        IndexError: an axis in ``shared`` does not exist.
        RuntimeError: ``x`` is not floating-point.
        NotImplementedError: the named backend can't run on the device or dtype of ``x``.

    Example:
        >>> import torch, thinned
        >>> a = torch.tensor([0.36, 0.13, 0.42, 0.25])
        >>> thinned.functional.dropout(a, p=0.5, key=20)
        tensor([0.7200, 0.0000, 0.8400, 0.0000])
        >>> thinned.functional.dropout(a[2:], p=0.5, key=20, within=((4,), (2,)))
        tensor([0.8400, 0.0000])
    """
    if not isinstance(p, torch.Tensor):
        p = check_p(p)
    if not training:
        return x
    region = _region(x, p, key, shared, within) if shared or within is not None else WHOLE
    return ops.apply(x, p, _key(x, key), call, region=region, impl=impl, inplace=inplace)


def dropout_add(
    x: torch.Tensor,
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
    """``residual + dropout(x)`` in one pass, forward and backward; bitwise that sum.

    Args:
        x: as for :func:`dropout`.
        residual: tensor of the shape, dtype and device of ``x``.
        p: as for :func:`dropout`, and so are the other arguments.
        training: False returns ``residual + x``.
        shared: axes that share one decision; all but the batch's for stochastic depth (Huang et al. 2016).
        key: 64-bit key; None draws one.
        call: number of the training forward pass.
        within: ``(full_shape, start)`` where ``x`` is a slice.
        impl: backend.

    Returns:
        A tensor like ``x``.

    Raises:
        RuntimeError: ``residual`` differs from ``x`` in shape, dtype or device, or they are not floating-point.
        ValueError: ``p`` lies outside [0, 1].

    Example:
        >>> import torch, thinned
        >>> a = torch.tensor([0.36, 0.13, 0.42, 0.25])
        >>> thinned.functional.dropout_add(a, torch.ones(4), p=0.5, key=20)
        tensor([1.7200, 1.0000, 1.8400, 1.0000])
    """
    if not isinstance(p, torch.Tensor):
        p = check_p(p)
    if x.shape != residual.shape or x.dtype != residual.dtype or x.device != residual.device:
        raise RuntimeError(
            sentence(
                "residual must have the shape, dtype and device of x",
                f"got {tuple(residual.shape)}, {residual.dtype} on {residual.device} "
                f"for x of {tuple(x.shape)}, {x.dtype} on {x.device}",
                "expand or convert it first",
            )
        )
    if not training:
        return residual + x
    region = _region(x, p, key, shared, within) if shared or within is not None else WHOLE
    return ops.apply(x, p, _key(x, key), call, region=region, impl=impl, residual=residual, form=Form.ADD)


def alpha_dropout(
    x: torch.Tensor,
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
    b = −a p α' (Klambauer et al. 2017, "Self-normalizing neural networks").

    Args:
        x: as for :func:`dropout`.
        p: probability of dropping; 0 returns the values bit for bit, 1 returns zeros, as PyTorch's does.
        training: False, the default as in PyTorch, returns ``x`` itself.
        inplace: overwrite ``x``.
        shared: axes that share one decision; all after the channel's for feature alpha dropout.
        key: 64-bit key; None draws one.
        call: number of the training forward pass.
        within: ``(full_shape, start)`` where ``x`` is a slice.
        impl: backend.

    Returns:
        A tensor like ``x``.

    Raises:
        ValueError: ``p`` lies outside [0, 1].
        RuntimeError: ``x`` is not floating-point.
    """
    if not isinstance(p, torch.Tensor):
        p = check_p(p)
    if not training:
        return x
    region = _region(x, p, key, shared, within) if shared or within is not None else WHOLE
    return ops.apply(x, p, _key(x, key), call, region=region, impl=impl, inplace=inplace, form=Form.ALPHA)


def gaussian_dropout(
    x: torch.Tensor,
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
    (:func:`thinned.philox.normals`); they are computed again for the backward pass, not kept.

    Args:
        x: as for :func:`dropout`.
        p: in [0, 1); mean and variance are those of dropout with that rate, quantised likewise.
        training: False returns ``x`` itself.
        inplace: overwrite ``x``.
        shared: axes that share one normal.
        key: 64-bit key; None draws one.
        call: number of the training forward pass.
        within: ``(full_shape, start)`` where ``x`` is a slice.
        impl: backend.

    Returns:
        A tensor like ``x``.

    Raises:
        ValueError: ``p`` lies outside [0, 1).
        RuntimeError: ``x`` is not floating-point.
    """
    if not isinstance(p, torch.Tensor) and check_p(p) == 1.0:
        raise ValueError(
            sentence("p must lie in [0, 1) for Gaussian noise", f"got p={p!r}", "its variance is p / (1 - p)")
        )
    if not training:
        return x
    region = _region(x, p, key, shared, within) if shared or within is not None else WHOLE
    return ops.apply(x, p, _key(x, key), call, region=region, impl=impl, inplace=inplace, form=Form.GAUSSIAN)


def _key(x: torch.Tensor, key: int | torch.Tensor | None) -> int | torch.Tensor:
    return ops.draw_key(x) if key is None else key


def _region(
    x: torch.Tensor,
    p: float | torch.Tensor,
    key: int | torch.Tensor | None,
    shared: Sequence[int],
    within: Within | None,
) -> Region:
    """Check ``shared`` and ``within`` against the axes of a member."""
    members = any(isinstance(value, torch.Tensor) and value.ndim > 0 for value in (p, key))
    shape = tuple(x.shape[1:] if members else x.shape)
    axes = masks.shared_axes(shared, len(shape))
    if within is None:
        return Region(axes)
    full, start = (tuple(int(number) for number in part) for part in within)
    fits = len(full) == len(start) == len(shape) and all(
        first >= 0 and first + size <= whole for first, size, whole in zip(start, shape, full, strict=True)
    )
    if not fits:
        raise ValueError(
            sentence("x must lie within the full shape", f"got x of shape {shape}, full shape {full} and start {start}")
        )
    return Region(axes, full, start)
