"""The NumPy specification as a backend: slow, and right by definition."""

from collections.abc import Sequence

import numpy as np
import torch

from thinned import masks, philox
from thinned.kernels._address import Address

__all__ = ["dropout"]


def dropout(
    x: torch.Tensor, address: Address, shared: Sequence[int] = (), out: torch.Tensor | None = None
) -> torch.Tensor:
    """Inverted dropout by :mod:`thinned.philox`, without autograd; ``shared`` counts a member's own axes."""
    out = torch.empty_like(x) if out is None else out
    if address.batched:
        for row, member, result in zip(x, address.split(x.shape[0]), out, strict=True):
            dropout(row, member, shared, result)
        return out
    key, call, keep = address
    assert isinstance(key, int)
    if keep >= 65536:
        return out.copy_(x)
    kept = philox.lanes(masks.mask_index(x.shape, shared).numpy(), key, call) < np.uint64(keep)
    survivors = (x.cpu() * (65536 / keep)) if keep else torch.zeros_like(x, device="cpu")
    return out.copy_(torch.where(torch.from_numpy(kept), survivors, 0))
