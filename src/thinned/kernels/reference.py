"""The NumPy specification as a backend: slow, and right by definition."""

import numpy as np
import torch

from thinned import philox
from thinned.kernels.address import WHOLE, Address, Form, Region
from thinned.kernels.aten import affine, gaussian

__all__ = ["dropout", "mask_index"]


def mask_index(shape: tuple[int, ...], region: Region = WHOLE) -> np.ndarray[tuple[int, ...], np.dtype[np.uint64]]:
    """The mask's index of each element of a tensor; elements that share a decision have the same one."""
    strides, offset = region.strides(shape)
    index = np.full(shape, offset, dtype=np.uint64)
    for axis, (size, stride) in enumerate(zip(shape, strides, strict=True)):
        index += (np.arange(size, dtype=np.uint64) * np.uint64(stride)).reshape(-1, *(1,) * (len(shape) - axis - 1))
    return index


def dropout(
    x: torch.Tensor,
    address: Address,
    region: Region = WHOLE,
    out: torch.Tensor | None = None,
    residual: torch.Tensor | None = None,
    form: Form = Form.DROPOUT,
) -> torch.Tensor:
    """Dropout by :mod:`thinned.philox`, without autograd; ``out`` may be ``x``; ``region`` is a member's."""
    out = torch.empty_like(x) if out is None else out
    if address.batched:
        rows = [None] * x.shape[0] if residual is None else residual
        for row, member, result, other in zip(x, address.split(x.shape[0]), out, rows, strict=True):
            dropout(row, member, region, result, other, form)
        return out
    key, call, keep = int(address.key), address.call, int(address.keep)
    if form is Form.GAUSSIAN:
        z = torch.as_tensor(philox.normals(mask_index(tuple(x.shape), region), key, call))
        return out.copy_(gaussian(x.cpu(), z, torch.tensor(keep)))
    if keep >= 65536 and residual is None:
        return out.copy_(x)
    kept = philox.lanes(mask_index(tuple(x.shape), region), key, call) < np.uint64(keep)
    scale, shift, dropped = (float(v) for v in affine(form, torch.tensor(keep)))
    wide = x.cpu() if x.dtype.itemsize > 2 else x.cpu().float()
    survivors = wide * scale + shift if form is Form.ALPHA else wide * scale
    result = torch.where(torch.as_tensor(kept), survivors, dropped).to(x.dtype)
    return out.copy_(result if residual is None else residual.cpu() + result)
