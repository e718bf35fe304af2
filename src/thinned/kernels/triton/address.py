"""The address of a mask on the way into a kernel: numbers are arguments; tensors are read by the kernel itself."""

import math
from typing import NamedTuple

import torch
import triton
import triton.language as tl

from thinned.kernels import aten
from thinned.kernels.address import Address
from thinned.kernels.form import Form, affine
from thinned.kernels.triton import bits

__all__ = ["ARGUMENTS", "AddressArguments", "address_arguments", "load_address", "load_constants"]


class AddressArguments(NamedTuple):
    """The arguments ``key`` to ``dropped`` of a kernel. A pointer that is None leaves its place to the numbers.

    A step is the distance between the members' numbers in memory. The numbers of 64 bits are two of 32, with a sign:
    Triton types an integer by its size, and compiles once for each type.
    """

    key: torch.Tensor | None
    call: torch.Tensor | None
    keep: torch.Tensor | None
    constants: torch.Tensor | None
    key_step: int
    keep_step: int
    constants_step: int
    key_low: int
    key_high: int
    call_low: int
    call_high: int
    keep_number: int
    scale: float
    shift: float
    dropped: float


#: numbers that change from call to call: they must not make Triton compile again
ARGUMENTS = ("key_step", "keep_step", "constants_step", "key_low", "key_high", "call_low", "call_high", "keep_number")


def _words(number: int | torch.Tensor) -> tuple[int, int]:
    """The lower and upper word of a number, with a sign; zeros for a tensor."""
    if isinstance(number, torch.Tensor):
        return 0, 0
    low, high = number & 0xFFFFFFFF, (number >> 32) & 0xFFFFFFFF
    return low - (low >> 31 << 32), high - (high >> 31 << 32)


def _on_device(value: int | torch.Tensor, device: torch.device) -> int | torch.Tensor:
    if not isinstance(value, torch.Tensor) or value.device == device:
        return value
    return value.to(device) if value.ndim or not value.is_cpu else int(value)


def _constants(form: Form, keep: torch.Tensor) -> torch.Tensor | None:
    """Scale, shift and dropped value where float32 alone would not round as it should: ``(members, 3)``."""
    if form in {Form.DROPOUT, Form.ADD}:
        return None  # 65536 / keep is right in float32, too
    if form is Form.GAUSSIAN:
        q = keep.double().reshape(-1) / 65536
        return torch.stack([aten.sqrt((1 - q) / q)] * 3, dim=-1).float()
    return torch.stack(aten.affine(form, keep.reshape(-1)), dim=-1).float()


def _numbers(form: Form, keep: int) -> tuple[float, float, float]:
    return (math.sqrt((65536 - keep) / keep), 0.0, 0.0) if form is Form.GAUSSIAN else affine(form, keep)


def address_arguments(address: Address, form: Form, device: torch.device) -> AddressArguments:
    """The arguments for an address. What is on the CPU is read, or copied to ``device`` if it has members.

    A tensor on ``device`` is not waited for.
    """
    key, call, keep = (_on_device(value, device) for value in address)
    key_low, key_high = _words(key)
    call_low, call_high = _words(call)
    scale, shift, dropped = (0.0, 0.0, 0.0) if isinstance(keep, torch.Tensor) else _numbers(form, keep)
    return AddressArguments(
        key=key if isinstance(key, torch.Tensor) else None,
        call=call if isinstance(call, torch.Tensor) else None,
        keep=keep if isinstance(keep, torch.Tensor) else None,
        constants=_constants(form, keep) if isinstance(keep, torch.Tensor) else None,
        key_step=key.stride(0) if isinstance(key, torch.Tensor) and key.ndim else 0,
        keep_step=keep.stride(0) if isinstance(keep, torch.Tensor) and keep.ndim else 0,
        constants_step=3 if isinstance(keep, torch.Tensor) and keep.ndim else 0,
        key_low=key_low,
        key_high=key_high,
        call_low=call_low,
        call_high=call_high,
        keep_number=0 if isinstance(keep, torch.Tensor) else keep,
        scale=scale,
        shift=shift,
        dropped=dropped,
    )


@triton.jit
def load_address(key, call, keep, key_step, keep_step, key_low, key_high, call_low, call_high, keep_number, member):
    """Key and call as uint32 words, and the threshold, of a member."""
    if key is None:
        key_low, key_high = key_low.to(tl.uint32, bitcast=True), key_high.to(tl.uint32, bitcast=True)
    else:
        key_low, key_high = bits.low_high(tl.load(key + member * key_step))
    if call is None:
        call_low, call_high = call_low.to(tl.uint32, bitcast=True), call_high.to(tl.uint32, bitcast=True)
    else:
        call_low, call_high = bits.low_high(tl.load(call))
    threshold = keep_number.to(tl.int64)
    if keep is not None:
        threshold = tl.load(keep + member * keep_step)
    return key_low, key_high, call_low, call_high, threshold


@triton.jit
def load_constants(keep, constants, constants_step, scale, shift, dropped, threshold, member):
    """Scale, shift and dropped value of a member, in float32."""
    if constants is not None:
        scale = tl.load(constants + member * constants_step)
        shift = tl.load(constants + member * constants_step + 1)
        dropped = tl.load(constants + member * constants_step + 2)
    elif keep is not None:
        scale = tl.div_rn(65536.0, tl.maximum(threshold, 1).to(tl.float32))
    return scale, shift, dropped
