"""The NumPy specification as a backend: slow, and right by definition."""

import numpy as np
import numpy.typing as npt
import torch

from thinned import philox
from thinned.kernels.address import WHOLE, Address, Region
from thinned.kernels.form import Form, affine

__all__ = ["dropout", "mask_index", "normals"]


def mask_index(shape: tuple[int, ...], region: Region = WHOLE) -> npt.NDArray[np.uint64]:
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
    """Dropout by :mod:`thinned.philox`; see :class:`thinned.kernels.backend.Backend`."""
    out = torch.empty_like(x) if out is None else out
    if address.batched:
        rows = [None] * x.shape[0] if residual is None else residual
        for row, member, result, other in zip(x, address.split(x.shape[0]), out, rows, strict=True):
            dropout(row, member, region, result, other, form)
        return out
    key, call, keep = (int(value) for value in address)
    if keep >= 65536 and residual is None:
        return out.copy_(x)
    kept = philox.lanes(mask_index(tuple(x.shape), region), key, call) < np.uint64(keep)
    scale, shift, dropped = affine(form, keep)
    wide = x.cpu() if x.dtype.itemsize > 2 else x.cpu().float()
    survivors = wide * scale + shift if form is Form.ALPHA else wide * scale
    result = torch.where(torch.as_tensor(np.asarray(kept)), survivors, dropped).to(x.dtype)
    return out.copy_(result if residual is None else residual.cpu() + result)


def normals(x: torch.Tensor, address: Address, region: Region = WHOLE) -> torch.Tensor:
    """Normals by :mod:`thinned.philox`; see :class:`thinned.kernels.backend.Backend`."""
    if address.batched:
        return torch.stack([normals(row, m, region) for row, m in zip(x, address.split(x.shape[0]), strict=True)])
    index = mask_index(tuple(x.shape), region)
    index = index[tuple(slice(1) if axis in region.shared else slice(None) for axis in range(x.ndim))]
    return torch.as_tensor(philox.normals(index, int(address.key), int(address.call))).to(x.device)
