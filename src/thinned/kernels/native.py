"""The compiled backend: CPU tensors of f32, f64, bf16 and f16.

The environment variable ``THINNED_ISA`` names the instruction set to use (``avx512``, ``avx2``, ``neon`` or
``portable``); without it, the fastest that the machine has is used.
"""

import math
import os

import torch

from thinned.errors import sentence
from thinned.kernels import aten
from thinned.kernels.address import WHOLE, Address, Region
from thinned.kernels.form import Form

try:
    from thinned import _native
except ImportError as error:
    raise ImportError(
        sentence(
            "thinned needs its compiled extension thinned._native",
            f"importing it failed with: {error}",
            "install the package with pip (a source checkout has to be built first: `make demo` does it)",
        )
    ) from error

__all__ = ["DTYPES", "dropout", "isa", "keep_mask", "normals", "thresholds", "trainer_isa", "trains", "use_isa"]

DTYPES = {
    torch.float32: _native.Dtype.f32,
    torch.float64: _native.Dtype.f64,
    torch.bfloat16: _native.Dtype.bf16,
    torch.float16: _native.Dtype.f16,
}
_FORMS = (_native.Form.dropout, _native.Form.add, _native.Form.alpha, _native.Form.alpha_backward)  # by number


def isa() -> str:
    """The instruction set in use."""
    return _native.isa()


def trains() -> bool:
    """True where the extension trains cohorts: a compiler without vector extensions (MSVC) leaves the trainer out."""
    return hasattr(_native, "TrainerF32")


def trainer_isa() -> str | None:
    """The instruction set that trains cohorts, which may be a lesser one than :func:`isa`; None if there is none."""
    return _native.trainer_isa() if trains() else None


def use_isa(name: str) -> None:
    """Use the kernels of an instruction set.

    Raises:
        ValueError: this build or machine does not have it.
    """
    if not _native.use_isa(name):
        available = ", ".join(_native.isas())
        raise ValueError(
            sentence(
                f"THINNED_ISA must be one of {available} on this machine",
                f"got {name!r}",
                "unset it to choose the fastest",
            )
        )


if "THINNED_ISA" in os.environ:
    use_isa(os.environ["THINNED_ISA"])


def thresholds(p: torch.Tensor) -> torch.Tensor:
    """:func:`thinned.philox.threshold` of each element of a float64 vector, as int64.

    Raises:
        ValueError: an element lies outside [0, 1] or is NaN.
    """
    out = torch.empty(p.shape, dtype=torch.int64)
    bad = _native.thresholds(out.data_ptr(), p.data_ptr(), p.stride(0), p.numel())
    if bad >= 0:
        raise ValueError(sentence("p must lie in [0, 1]", f"got p[{bad}]={float(p[bad])}"))
    return out


def dropout(
    x: torch.Tensor,
    address: Address,
    region: Region = WHOLE,
    out: torch.Tensor | None = None,
    residual: torch.Tensor | None = None,
    form: Form = Form.DROPOUT,
) -> torch.Tensor:
    """Dropout by the kernels; see :class:`thinned.kernels.backend.Backend`."""
    dtype = DTYPES.get(x.dtype)
    if dtype is None:
        raise TypeError(sentence("the native kernels take f32, f64, bf16 and f16", f"got {x.dtype}"))
    if out is None:
        out = torch.empty_like(x)
    key, call, keep = address
    threads = torch.get_num_threads()
    pointers = out.data_ptr(), x.data_ptr(), 0 if residual is None else residual.data_ptr()
    dense = x.is_contiguous() and out.is_contiguous() and (residual is None or residual.is_contiguous())
    dense = dense and (region is WHOLE or region == WHOLE)
    batched = isinstance(key, torch.Tensor) or isinstance(keep, torch.Tensor)
    kind = _FORMS[form]
    if dense and not batched:
        _native.dropout(kind, dtype, *pointers, x.numel(), _native.Address(key, call, keep), threads)  # type: ignore[arg-type]
        return out
    addresses = _member_addresses(address)
    if dense:
        members = x.shape[0]
        _native.dropout_members(kind, dtype, *pointers, members, x.numel() // max(members, 1), addresses, threads)
        return out
    if batched:
        other = 0 if residual is None else residual.stride(0)
        member_axis = _native.MemberAxis(x.shape[0], out.stride(0), x.stride(0), other)
    else:
        member_axis = _native.MemberAxis(1, 0, 0, 0)
    axes, offset = _axes(x, out, residual, region, int(batched))
    _native.dropout_strided(kind, dtype, *pointers, member_axis, axes, offset, addresses, threads)
    return out


def normals(x: torch.Tensor, address: Address, region: Region = WHOLE) -> torch.Tensor:
    """Normals by the kernels; see :class:`thinned.kernels.backend.Backend`."""
    if region.full:
        return aten.normals(x, address, region)
    members = x.shape[:1] if address.batched else ()
    small = region.mask_shape(x.shape[len(members) :])
    out, threads = torch.empty((*members, *small)), torch.get_num_threads()
    rows, addresses = (out, address.split(members[0])) if members else ([out], [address])
    for row, (key, call, _) in zip(rows, addresses, strict=True):
        _native.normals(row.data_ptr(), 0, math.prod(small), int(key), int(call), threads)
    return out


def _member_addresses(address: Address) -> _native.MemberAddresses:
    """One number for all members, or an array of one for each."""
    key, call, keep = address
    one_key, keys, key_stride = (0, key.data_ptr(), key.stride(0)) if isinstance(key, torch.Tensor) else (key, 0, 0)
    one_keep, keeps, keep_stride = (
        (0, keep.data_ptr(), keep.stride(0)) if isinstance(keep, torch.Tensor) else (keep, 0, 0)
    )
    return _native.MemberAddresses(one_key, int(call), one_keep, keys, keeps, key_stride, keep_stride)


def _axes(
    x: torch.Tensor, out: torch.Tensor, residual: torch.Tensor | None, region: Region, members: int
) -> tuple[list[_native.Axis], int]:
    """The axes after the members', and the mask's offset."""
    shape = x.shape[members:]
    mask, offset = region.strides(shape)
    other = out if residual is None else residual
    strides = (out.stride()[members:], x.stride()[members:], other.stride()[members:], mask)
    return [_native.Axis(*row) for row in zip(shape, *strides, strict=True)], offset


def keep_mask(n: int, key: int, call: int, keep: int, *, offset: int = 0, packed: bool = False) -> torch.Tensor:
    """Keep decisions of ``n`` successive indices as bool, or packed (little-endian bits) as uint8."""
    out = torch.empty((n + 7) // 8 if packed else n, dtype=torch.uint8 if packed else torch.bool)
    _native.keep_mask(out.data_ptr(), packed, offset, n, _native.Address(key, call, keep), torch.get_num_threads())
    return out


def attention_forward(scores: torch.Tensor, lse: torch.Tensor, address: Address, first: int, step: int) -> None:
    """Softmax and dropout of attention scores in place, one pass; see csrc/attention.h.

    Args:
        scores: float32 ``(..., columns)``, contiguous.
        lse: float32 ``(...)``, contiguous; filled with the logarithms of the rows' sums of exponentials.
        address: address of the mask, for one member.
        first: index of the first score in the mask.
        step: index from one row to the next.
    """
    _native.attention_forward(
        scores.data_ptr(),
        lse.data_ptr(),
        _native.ScoreRows(lse.numel(), scores.shape[-1], first, step),
        _native.Address(*address),  # type: ignore[arg-type]
        torch.get_num_threads(),
    )


def attention_backward(
    scores: torch.Tensor,
    grads: torch.Tensor,
    lse: torch.Tensor,
    delta: torch.Tensor,
    address: Address,
    first: int,
    step: int,
) -> None:
    """The dropped softmax of ``scores``, and the scores' gradient, in place of ``scores`` and ``grads``; one pass."""
    _native.attention_backward(
        scores.data_ptr(),
        grads.data_ptr(),
        lse.data_ptr(),
        delta.data_ptr(),
        _native.ScoreRows(lse.numel(), scores.shape[-1], first, step),
        _native.Address(*address),  # type: ignore[arg-type]
        torch.get_num_threads(),
    )
