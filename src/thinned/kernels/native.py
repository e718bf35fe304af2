"""The compiled backend: CPU tensors of f32, f64, bf16 and f16."""

from collections.abc import Sequence

import torch

from thinned._checks import sentence
from thinned.kernels._address import Address

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

__all__ = ["DTYPES", "dropout"]

DTYPES = {torch.float32: 0, torch.float64: 1, torch.bfloat16: 2, torch.float16: 3}


def dropout(
    x: torch.Tensor, address: Address, shared: Sequence[int] = (), out: torch.Tensor | None = None
) -> torch.Tensor:
    """Inverted dropout without autograd; ``out`` may be ``x``; ``shared`` counts a member's own axes."""
    out = torch.empty_like(x) if out is None else out
    if shared:
        return _shared(x, address, shared, out)
    if not (x.is_contiguous() and out.is_contiguous()):
        # the decision follows the logical index, so the kernel sees a row-major copy
        return out.copy_(dropout(x.contiguous(), address))
    if address.batched:
        members = x.shape[0]
        keys, keeps = address.tensors(members)
        _native.dropout_members(
            out.data_ptr(),
            x.data_ptr(),
            DTYPES[x.dtype],
            members,
            x.numel() // max(members, 1),
            keys.data_ptr(),
            address.call,
            keeps.data_ptr(),
        )
    else:
        key, call, keep = address
        _native.dropout(out.data_ptr(), x.data_ptr(), DTYPES[x.dtype], x.numel(), key, call, keep)
    return out


def _shared(x: torch.Tensor, address: Address, shared: Sequence[int], out: torch.Tensor) -> torch.Tensor:
    """One decision for all elements along the shared axes: the scale or 0, broadcast."""
    axes = [axis + address.batched for axis in shared]
    factor = dropout(
        torch.ones([1 if axis in axes else size for axis, size in enumerate(x.shape)], dtype=torch.float64), address
    )
    return out.copy_(torch.where(factor != 0, x * factor.to(x.dtype if x.dtype.itemsize > 2 else torch.float32), 0))
