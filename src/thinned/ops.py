"""One dropout operation: which backend runs it, its gradient, and its rule under ``vmap``.

Eager calls with plain numbers go straight to the kernel through an ``autograd.Function``. Calls whose address is a
tensor, and calls under ``torch.compile`` or ``torch.func``, go through the registered operator ``thinned::dropout``.
"""

from collections.abc import Sequence
from typing import Any

import torch

from thinned._checks import sentence
from thinned.kernels import native, reference
from thinned.kernels._address import Address

__all__ = ["IMPLEMENTATIONS", "apply", "draw_key"]

IMPLEMENTATIONS = ("auto", "native", "reference")
_SIGN = 1 << 63


def draw_key() -> int:
    """A 64-bit key from torch's default CPU generator, which ``torch.manual_seed`` seeds."""
    return int(torch.empty((), dtype=torch.int64).random_(-_SIGN, None).item())  # type: ignore[call-overload]


def _run(x: torch.Tensor, address: Address, shared: Sequence[int], impl: str, out: torch.Tensor | None) -> torch.Tensor:
    """Run the backend that ``impl`` names; only "auto" chooses one."""
    if impl == "reference":
        return reference.dropout(x, address, shared, out)
    if impl not in IMPLEMENTATIONS:
        raise ValueError(sentence(f"impl must be one of {', '.join(IMPLEMENTATIONS)}", f"got impl={impl!r}"))
    if x.device.type != "cpu":
        raise NotImplementedError(sentence("dropout needs a CPU tensor", f"got one on {x.device}", "move it to the CPU"))
    return native.dropout(x, address, shared, out)


class _Dropout(torch.autograd.Function):
    """The lean path. Dropout is linear and self-adjoint: its backward is itself, so no tensor is saved."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, address: Address, shared: Sequence[int], impl: str, inplace: bool
    ) -> torch.Tensor:
        ctx.where = (address, shared, impl)
        if inplace:
            ctx.mark_dirty(x)
        return _run(x, address, shared, impl, x if inplace else None)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return _Dropout.apply(grads[0], *ctx.where, False), None, None, None, None  # type: ignore[no-untyped-call]


def apply(
    x: torch.Tensor,
    p: float | torch.Tensor,
    key: int | torch.Tensor,
    call: int | torch.Tensor = 0,
    *,
    shared: Sequence[int] = (),
    impl: str = "auto",
    inplace: bool = False,
) -> torch.Tensor:
    """Inverted dropout of ``x`` at an address, with its gradient.

    Args:
        x: floating-point tensor of any shape.
        p: probability of dropping; a 0-dim float64 tensor where it is to vary without recompiling or by member.
        key: 64-bit key, or a 0-dim int64 tensor.
        call: number of the training forward pass, or a 0-dim int64 tensor.
        shared: non-negative axes that share one decision.
        impl: backend.
        inplace: overwrite ``x``.
    """
    if not x.is_floating_point():
        raise RuntimeError(sentence("dropout needs a floating-point tensor", f"got {x.dtype}", "convert it first"))
    numbers = not any(isinstance(v, torch.Tensor) for v in (p, key, call))
    if numbers and not torch.compiler.is_compiling() and not torch._C._are_functorch_transforms_active():
        address = Address.of(p, key, call)  # type: ignore[arg-type]
        return _Dropout.apply(x, address, shared, impl, inplace)  # type: ignore[no-any-return, no-untyped-call]
    where = (
        torch.as_tensor(p, dtype=torch.float64),
        key if isinstance(key, torch.Tensor) else torch.tensor((key + _SIGN) % (2 * _SIGN) - _SIGN),
        torch.as_tensor(call),
    )
    out = torch.ops.thinned.dropout(x, *where, list(shared), impl)
    return x.copy_(out) if inplace else out


# The operator. p, key and call are 0-dim tensors: a Python number would be burnt into a compiled graph, and under
# vmap each member needs its own. A p or key of shape (members,) gives each leading row of x its own address.
torch.library.define("thinned::dropout", "(Tensor x, Tensor p, Tensor key, Tensor call, int[] shared, str impl) -> Tensor")


@torch.library.impl("thinned::dropout", "CPU")
def _dropout(
    x: torch.Tensor, p: torch.Tensor, key: torch.Tensor, call: torch.Tensor, shared: list[int], impl: str
) -> torch.Tensor:
    address = Address.of(
        p if p.ndim else float(p.item()), key if key.ndim else int(key.item()), int(call.item())
    )
    return _run(x, address, shared, impl, None)


@torch.library.register_fake("thinned::dropout")
def _fake(x: torch.Tensor, *_: object) -> torch.Tensor:
    return torch.empty_like(x)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
    _, p, key, call, *ctx.options = inputs
    ctx.save_for_backward(p, key, call)  # three numbers, no mask


def _backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    return torch.ops.thinned.dropout(grad, *ctx.saved_tensors, *ctx.options), *(None,) * 5


torch.library.register_autograd("thinned::dropout", _backward, setup_context=_setup_context)


@torch.library.register_vmap("thinned::dropout")
def _vmap(
    info: Any,
    in_dims: tuple[int | None, ...],
    x: torch.Tensor,
    p: torch.Tensor,
    key: torch.Tensor,
    call: torch.Tensor,
    shared: list[int],
    impl: str,
) -> tuple[torch.Tensor, int]:
    """Members along a new leading axis; a mask stays a function of its own key, call and index alone."""
    if in_dims[3] is not None:
        raise NotImplementedError(sentence("call must be the same for all members", "it is batched by vmap"))
    size = info.batch_size
    rows = x.movedim(in_dims[0], 0) if in_dims[0] is not None else x.expand(size, *x.shape)
    address = [
        v.movedim(dim, 0) if dim is not None else v.expand(size, *v.shape)
        for v, dim in ((p, in_dims[1]), (key, in_dims[2]))
    ]
    inner = max(v.ndim for v in address)
    if inner > 1:  # a vmap inside a vmap: the leading axes become one axis of members
        members = rows.shape[:inner]
        flat = [v.reshape(*v.shape, *(1,) * (inner - v.ndim)).expand(members).reshape(-1) for v in address]
        out = torch.ops.thinned.dropout(rows.reshape(-1, *rows.shape[inner:]), *flat, call, shared, impl)
        return out.reshape(rows.shape), 0
    return torch.ops.thinned.dropout(rows, *address, call, shared, impl), 0
