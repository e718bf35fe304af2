"""The compiled backend: CPU tensors of f32, f64, bf16 and f16.

The environment variable ``THINNED_ISA`` names the instruction set to use (``avx512``, ``avx2``, ``neon`` or
``portable``); without it, the fastest that the machine has is used.
"""

import os

import torch

from thinned._checks import sentence
from thinned.kernels._address import WHOLE, Address, Form, Region

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

__all__ = ["DTYPES", "dropout", "isa", "keep_mask", "thresholds", "use_isa"]

DTYPES = {torch.float32: 0, torch.float64: 1, torch.bfloat16: 2, torch.float16: 3}


def isa() -> str:
    """The instruction set in use."""
    return str(_native.isa())


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
    """Dropout without autograd; ``out`` may be ``x``; ``region`` counts a member's own axes."""
    dtype = DTYPES.get(x.dtype)
    if dtype is None:
        raise TypeError(sentence("the native kernels take f32, f64, bf16 and f16", f"got {x.dtype}"))
    if out is None:
        out = torch.empty_like(x)
    if region is not WHOLE and region != WHOLE or not x.is_contiguous() or not out.is_contiguous():
        return _slow(x, address, region, out, residual, form)
    if residual is not None and not residual.is_contiguous():
        residual = residual.contiguous()
    key, call, keep = address
    threads = torch.get_num_threads()
    pointers = out.data_ptr(), x.data_ptr(), 0 if residual is None else residual.data_ptr()
    if isinstance(key, int) and isinstance(keep, int):
        _native.dropout(form, dtype, *pointers, x.numel(), 0, key, call, keep, threads)
    else:
        members = x.shape[0]
        keys, keeps = address.tensors(members)
        strides = keys.stride(0), keeps.stride(0)
        n = x.numel() // max(members, 1)
        _native.dropout_members(
            form, dtype, *pointers, members, n, keys.data_ptr(), strides[0], call, keeps.data_ptr(), strides[1], threads
        )
    return out


def keep_mask(n: int, key: int, call: int, keep: int, *, offset: int = 0, packed: bool = False) -> torch.Tensor:
    """Keep decisions of ``n`` successive indices as bool, or packed (little-endian bits) as uint8."""
    out = torch.empty((n + 7) // 8 if packed else n, dtype=torch.uint8 if packed else torch.bool)
    _native.keep_mask(out.data_ptr(), packed, offset, n, key, call, keep, torch.get_num_threads())
    return out


def _slow(
    x: torch.Tensor, address: Address, region: Region, out: torch.Tensor, residual: torch.Tensor | None, form: Form
) -> torch.Tensor:
    from thinned.kernels import aten
    from thinned.kernels._address import signed

    key = address.key if isinstance(address.key, torch.Tensor) else torch.tensor(signed(address.key))
    return out.copy_(
        aten.dropout(x, key, torch.tensor(signed(address.call)), torch.as_tensor(address.keep), region, residual, form)
    )
