"""Dropout in plain torch integer operations: any device, traceable, bitwise the masks of the other backends.

Philox needs 32 × 32 → 64-bit products; int64 multiplication wraps modulo 2^64, so its bits are those of the unsigned
product, and every shift is masked because int64 shifts carry the sign along.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch

from thinned import philox
from thinned.kernels.address import WHOLE, Address, Region
from thinned.kernels.form import SELU_SATURATION, Form

__all__ = ["affine", "dropout", "index_of", "keep", "lanes", "lanes_at", "normals", "normals_at", "sqrt", "words"]

_LOW = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)


def _philox(c0: torch.Tensor, c1: torch.Tensor, key: torch.Tensor, call: torch.Tensor) -> list[torch.Tensor]:
    k0, k1 = key & _LOW, (key >> 32) & _LOW
    c2, c3 = call & _LOW, (call >> 32) & _LOW
    for _ in range(10):
        product0, product1 = _MULTIPLIERS[0] * c0, _MULTIPLIERS[1] * c2
        c0, c1, c2, c3 = (
            ((product1 >> 32) & _LOW) ^ c1 ^ k0,
            product1 & _LOW,
            ((product0 >> 32) & _LOW) ^ c3 ^ k1,
            product0 & _LOW,
        )
        k0, k1 = (k0 + _WEYL[0]) & _LOW, (k1 + _WEYL[1]) & _LOW
    return [c0, c1, c2, c3]


def words(blocks: torch.Tensor, key: torch.Tensor, call: torch.Tensor) -> list[torch.Tensor]:
    """The four 32-bit words of each block, in int64; ``key`` and ``call`` broadcast against ``blocks``."""
    out = _philox(blocks & _LOW, (blocks >> 32) & _LOW, key, call)
    shape = torch.broadcast_shapes(*(word.shape for word in out))  # type: ignore[no-untyped-call]
    return [word.expand(shape) for word in out]


def lanes(n: int, key: torch.Tensor, call: torch.Tensor, offset: int = 0) -> torch.Tensor:
    """The 16 random bits of indices ``offset`` to ``offset + n``: ``(*key.shape, n)``, int64."""
    groups = (offset % 128 + n + 127) // 128
    blocks = torch.arange(groups * 16, device=key.device) + 16 * (offset // 128)
    w = words(blocks, key[..., None], call)
    halves = torch.stack([half for word in w for half in (word & 0xFFFF, word >> 16)], dim=-2)  # (..., 8, 16 * groups)
    by_group = halves.reshape(*halves.shape[:-1], groups, 16).movedim(-2, -3)  # (..., groups, 8, 16)
    return by_group.flatten(-3)[..., offset % 128 : offset % 128 + n]


def _select(w: list[torch.Tensor], which: torch.Tensor) -> torch.Tensor:
    return torch.where(which < 2, torch.where(which == 0, w[0], w[1]), torch.where(which == 2, w[2], w[3]))


def lanes_at(index: torch.Tensor, key: torch.Tensor, call: torch.Tensor) -> torch.Tensor:
    """The 16 random bits of any indices: ``(*key.shape, *index.shape)``; a block is computed for each index."""
    key = key[(...,) + (None,) * index.ndim]
    within = index & 127
    w = words((index >> 7) * 16 + (within & 15), key, call)
    word = _select(w, within >> 5)
    return (word >> (16 * ((within >> 4) & 1))) & 0xFFFF


def sqrt(x: torch.Tensor) -> torch.Tensor:
    """Correctly rounded square root.

    On the CPU, torch calls MKL's vector math; on AMD machines a fifth of its roots are off by one unit in the last
    place. NumPy compiles to the processor's instruction, which IEEE 754 fixes.
    """
    return torch.as_tensor(np.sqrt(x.numpy())) if x.is_cpu else torch.sqrt(x)


def _log(x: torch.Tensor) -> torch.Tensor:
    bits = x.view(torch.int32)
    mantissa = ((bits & 0x7FFFFF) | 0x3F000000).view(torch.float32)
    small = mantissa < 0.707106781186547524
    exponent = ((bits >> 23) - 126 - small.to(torch.int32)).float()
    m = torch.where(small, mantissa + mantissa - 1.0, mantissa - 1.0)
    z = m * m
    y = torch.full_like(m, philox.LOG_POLYNOMIAL[0])
    for c in philox.LOG_POLYNOMIAL[1:]:
        y = y * m + c
    y = y * m * z
    y = y + exponent * -2.12194440e-4
    y = y - 0.5 * z
    return (m + y) + exponent * 0.693359375


def normals_at(index: torch.Tensor, key: torch.Tensor, call: torch.Tensor) -> torch.Tensor:
    """:func:`thinned.philox.normals`: ``(*key.shape, *index.shape)``, float32."""
    key = key[(...,) + (None,) * index.ndim]
    w = words((index >> 6) * 16 + (index & 15), key, call)
    word = _select(w, (index & 63) >> 4)
    v = ((word & 0x7FFFFFFF).float() + 0.5) * 2.0**-31
    tail = -_log(v * (2.0 - v))
    central = tail < 5.0
    u = torch.where(central, tail - 2.5, sqrt(tail.clamp(min=0.0)) - 3.0)
    quotient = torch.zeros_like(v)
    for inner, outer in philox.ERFINV_POLYNOMIALS:
        quotient = quotient * u + torch.where(central, inner, outer)
    z = 1.41421356237309505 * (quotient * (1.0 - v))
    return torch.where(word >> 31 != 0, -z, z)


def index_of(shape: Sequence[int], region: Region, device: torch.device) -> torch.Tensor:
    """The mask's index of each element, int64, of size 1 along shared axes."""
    strides, offset = region.strides(shape)
    index = torch.full((1,) * len(shape), offset, dtype=torch.int64, device=device)
    for axis, (size, stride) in enumerate(zip(shape, strides, strict=True)):
        step = torch.arange(1 if axis in region.shared else size, device=device) * stride
        index = index + step.reshape([-1 if other == axis else 1 for other in range(len(shape))])
    return index


def keep(shape: torch.Size, key: torch.Tensor, call: torch.Tensor, kept: torch.Tensor, region: Region) -> torch.Tensor:
    """Keep decisions for one member's ``shape``, broadcastable to it: ``(*key.shape, *sizes)``, 1 where shared."""
    small = region.mask_shape(shape)
    batch = torch.broadcast_shapes(key.shape, kept.shape)  # type: ignore[no-untyped-call]
    key, kept = key.expand(batch), kept.expand(batch)
    if region.full:
        bits = lanes_at(index_of(shape, region, key.device), key, call)
    else:
        bits = lanes(math.prod(small), key, call).reshape((*key.shape, *small))
    return bits < kept[(...,) + (None,) * len(small)]


def affine(form: Form, kept: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Scale, shift and dropped value of :func:`thinned.kernels.form.affine` at each threshold, in float64."""
    zero = torch.zeros_like(kept, dtype=torch.float64)
    if form in {Form.DROPOUT, Form.ADD}:
        return 65536.0 / kept.double(), zero, zero
    q = kept.double() / 65536.0
    p = 1.0 - q
    a = 1.0 / sqrt(q * (1.0 + p * (SELU_SATURATION * SELU_SATURATION)))
    b = -(a * SELU_SATURATION) * p
    if form is Form.ALPHA_BACKWARD:
        return a, zero, zero
    none = kept == 0
    return a, torch.where(none, zero, b), torch.where(none, zero, a * SELU_SATURATION + b)


def dropout(
    x: torch.Tensor,
    address: Address,
    region: Region = WHOLE,
    out: torch.Tensor | None = None,
    residual: torch.Tensor | None = None,
    form: Form = Form.DROPOUT,
) -> torch.Tensor:
    """Dropout by torch's integer operations; see :class:`thinned.kernels.backend.Backend`."""
    key, call, kept = address.tensors()
    members = max(key.ndim, kept.ndim)
    wide = x if x.dtype.itemsize > 2 else x.float()  # half precision: computed in float, rounded once
    column = (...,) + (None,) * (x.ndim - members if kept.ndim else 0)
    scale, shift, dropped = (v.to(wide.dtype).to(x.device)[column] for v in affine(form, kept))
    decisions = keep(x.shape[members:], key.to(x.device), call.to(x.device), kept.to(x.device), region)
    survivors = wide * scale
    if form is Form.ALPHA:
        survivors = survivors + shift
    # selected, never multiplied by the mask: a dropped NaN or infinity becomes 0
    result = torch.where(decisions, survivors, dropped).to(x.dtype)
    if residual is not None:
        result = residual + result
    elif form is not Form.ADD:
        every = (kept == 65536).to(x.device)[column]
        if x.dtype.itemsize == 1:  # torch.where of torch 2.6 knows no float8
            result = torch.where(every, x.view(torch.uint8), result.view(torch.uint8)).view(x.dtype)
        else:
            result = torch.where(every, x, result)  # bit for bit
    return result if out is None else out.copy_(result)


def normals(x: torch.Tensor, address: Address, region: Region = WHOLE) -> torch.Tensor:
    """Normals by torch's operations; see :class:`thinned.kernels.backend.Backend`."""
    key, call, _ = address.tensors()
    index = index_of(x.shape[int(address.batched) :], region, x.device)
    if address.batched:
        key = key.expand(x.shape[0])
    return normals_at(index, key.to(x.device), call.to(x.device))
