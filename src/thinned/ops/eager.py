"""The lean path: eager calls go straight to a backend, through an ``autograd.Function`` where a gradient is wanted."""

from typing import Any

import torch

from thinned import philox
from thinned.errors import check_p, sentence
from thinned.kernels import native
from thinned.kernels.address import Address, thresholds
from thinned.ops import torch_private
from thinned.ops.backends import MaskedCall
from thinned.ops.torch_private import Context

__all__ = ["address_of", "device_address", "is_lean", "run"]

_64_BITS = 0xFFFFFFFFFFFFFFFF
_PLAIN = (torch.Tensor, torch.nn.Parameter)


class _Dropout(torch.autograd.Function):
    """Dropout is linear and self-adjoint: its backward is itself, so no tensor is saved."""

    @staticmethod
    def forward(
        ctx: Context, x: torch.Tensor, residual: torch.Tensor | None, call: MaskedCall, inplace: bool
    ) -> torch.Tensor:
        ctx.call, ctx.inplace = call, inplace
        if inplace:
            ctx.mark_dirty(x)
        return call.run(x, residual, x if inplace else None)

    @staticmethod
    def backward(ctx: Context, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (grad,) = grads
        call = ctx.call.backward()
        wanted_x, wanted_residual, *_ = ctx.needs_input_grad
        return run(grad, None, call, False) if wanted_x else None, grad if wanted_residual else None, None, None

    @staticmethod
    def jvp(ctx: Context, tangent: torch.Tensor | None, other: torch.Tensor | None, *_: object) -> torch.Tensor | None:
        if tangent is None:
            return other
        out = run(tangent, None, ctx.call.backward(), False)
        if ctx.inplace:  # the tangent of an in-place operation is changed in place, too
            return tangent.copy_(out)
        return out if other is None else out + other


def run(x: torch.Tensor, residual: torch.Tensor | None, call: MaskedCall, inplace: bool) -> torch.Tensor:
    """Run a call, with its gradient where one is wanted.

    Raises:
        RuntimeError: ``x`` is a leaf that requires a gradient, and would be overwritten.
    """
    wants_grad = torch.is_grad_enabled() and (x.requires_grad or (residual is not None and residual.requires_grad))
    if wants_grad or torch_private.forward_ad_active():
        if inplace and x.is_leaf and wants_grad:  # before the data is overwritten
            raise RuntimeError("a leaf Variable that requires grad is being used in an in-place operation.")
        return _Dropout.apply(x, residual, call, inplace)  # type: ignore[no-any-return, no-untyped-call]
    out = call.run(x, residual, x if inplace else None)
    if inplace:
        torch.autograd.graph.increment_version(x)
    return out


def is_lean(*values: object, operands: tuple[torch.Tensor | None, ...]) -> bool:
    """True where a call may go straight to a backend: nothing watches or transforms it, and no device is waited for.

    Args:
        values: rate, key and call, which are read: tensors must be on the CPU.
        operands: the tensors computed with.
    """
    if torch.compiler.is_compiling() or torch_private.functorch_active() or torch_private.dispatch_mode_depth():
        return False
    for value in values:  # a generator would take as long as the kernel does
        if isinstance(value, torch.Tensor) and not (type(value) in _PLAIN and value.is_cpu):
            return False
    for operand in operands:
        if operand is not None and not (type(operand) in _PLAIN and (operand.is_cpu or operand.is_cuda)):
            return False
    return True


def _number(value: float | torch.Tensor) -> Any:
    """A 0-dim tensor's number; anything else unchanged."""
    return value.item() if isinstance(value, torch.Tensor) and value.ndim == 0 else value


def address_of(x: torch.Tensor, p: float | torch.Tensor, key: int | torch.Tensor, call: int | torch.Tensor) -> Address:
    """The address of numbers, or of one number for each leading row of ``x``.

    Raises:
        ValueError: ``p`` lies outside [0, 1], or ``p`` or ``key`` has neither one number nor one for each row.
    """
    if type(p) is float and type(key) is int and type(call) is int:
        return Address(key & _64_BITS, call & _64_BITS, philox.threshold(check_p(p)))
    p, key, call = _number(p), _number(key), _number(call)
    _check_members(x, p, key)
    keep = native.thresholds(p.double()) if isinstance(p, torch.Tensor) else philox.threshold(check_p(p))
    return Address(key.to(torch.int64) if isinstance(key, torch.Tensor) else key & _64_BITS, call & _64_BITS, keep)


def device_address(x: torch.Tensor, p: torch.Tensor, key: torch.Tensor, call: torch.Tensor) -> Address:
    """:func:`address_of` of which what lies on a device stays there, unread; a rate there is not checked.

    Raises:
        ValueError: ``p`` on the CPU lies outside [0, 1], or ``p`` or ``key`` has neither one number nor one a row.
    """
    _check_members(x, p, key)
    number_key, number_call, number_p = (value.is_cpu and not value.ndim for value in (key, call, p))
    return Address(
        int(key) & _64_BITS if number_key else key,
        int(call) & _64_BITS if number_call else call,
        philox.threshold(check_p(float(p))) if number_p else thresholds(p),
    )


def _check_members(x: torch.Tensor, p: float | torch.Tensor, key: int | torch.Tensor) -> None:
    for name, value in (("p", p), ("key", key)):
        if isinstance(value, torch.Tensor) and value.ndim and value.shape != x.shape[:1]:
            raise ValueError(
                sentence(
                    f"{name} must be one number or one for each x[m]",
                    f"got {name} of shape {tuple(value.shape)} for x of shape {tuple(x.shape)}",
                )
            )
