"""``thinned::bias_dropout_add``: the end of a residual branch, fused on GPUs, in parts elsewhere.

Nothing but the operands is kept for the backward pass, which computes the activation and the mask again.
"""

import importlib
from typing import NamedTuple

import torch

from thinned.kernels.activation import Activation, activated, activation_backward
from thinned.kernels.address import signed
from thinned.kernels.form import Form
from thinned.ops import dispatch, torch_private
from thinned.ops.backends import choice
from thinned.ops.eager import device_address
from thinned.ops.placement import placement
from thinned.ops.torch_private import Context, Inputs

__all__ = ["BranchArgs", "branch"]


class BranchArgs(NamedTuple):
    """The arguments of ``thinned::bias_dropout_add``, in its order."""

    x: torch.Tensor  # (..., D)
    bias: torch.Tensor | None  # (D,)
    residual: torch.Tensor | None  # like x
    p: torch.Tensor  # 0-dim float64, and the other two 0-dim int64
    key: torch.Tensor
    call: torch.Tensor
    activation: int
    impl: str


class BranchGrads(NamedTuple):
    """The gradient of each argument."""

    x: torch.Tensor
    bias: torch.Tensor | None
    residual: torch.Tensor | None
    p: None = None
    key: None = None
    call: None = None
    activation: None = None
    impl: None = None


def branch(
    x: torch.Tensor,
    bias: torch.Tensor | None,
    residual: torch.Tensor | None,
    p: float | torch.Tensor,
    key: int | torch.Tensor | dispatch.Decider | None,
    call: int | torch.Tensor,
    activation: Activation,
    impl: str,
) -> torch.Tensor:
    """``residual + dropout(activation(x + bias))``, with its gradient; without either where it is None."""
    if key is None:
        key = dispatch.draw_key(x)
    if isinstance(key, dispatch.Decider) or not _fuses(x, bias, residual, p, key, impl):
        return _in_parts(x, bias, residual, p, key, call, activation, impl)
    args = BranchArgs(
        x=x,
        bias=bias,
        residual=residual,
        p=torch.as_tensor(p, dtype=torch.float64),
        key=key if isinstance(key, torch.Tensor) else torch.tensor(signed(key)),
        call=call if isinstance(call, torch.Tensor) else torch.tensor(signed(call)),
        activation=int(activation),
        impl=impl,
    )
    return torch.ops.thinned.bias_dropout_add(*args)  # type: ignore[no-any-return]


def _in_parts(
    x: torch.Tensor,
    bias: torch.Tensor | None,
    residual: torch.Tensor | None,
    p: float | torch.Tensor,
    key: int | torch.Tensor | dispatch.Decider,
    call: int | torch.Tensor,
    activation: Activation,
    impl: str,
) -> torch.Tensor:
    active = activated(x if bias is None else x + bias, activation)
    form = Form.DROPOUT if residual is None else Form.ADD
    return dispatch.apply(active, p, key, call, impl=impl, residual=residual, form=form)


def _fuses(
    x: torch.Tensor,
    bias: torch.Tensor | None,
    residual: torch.Tensor | None,
    p: float | torch.Tensor,
    key: int | torch.Tensor,
    impl: str,
) -> bool:
    """True where one kernel can do it: on a GPU, with one address, all contiguous and whole."""
    if impl not in {"auto", "triton"} or (impl == "auto" and not x.is_cuda):
        return False
    if x.dtype not in {torch.float32, torch.bfloat16, torch.float16} or placement() is not None:
        return False
    if any(isinstance(value, torch.Tensor) and value.ndim for value in (p, key)):
        return False
    if torch_private.forward_ad_active() or (torch_private.functorch_active() and not torch.compiler.is_compiling()):
        return False
    operands = [tensor for tensor in (x, bias, residual) if tensor is not None]
    return all(tensor.is_contiguous() and tensor.dtype == x.dtype for tensor in operands)


torch.library.define(
    "thinned::bias_dropout_add",
    "(Tensor x, Tensor? bias, Tensor? residual, Tensor p, Tensor key, Tensor call, int activation, str impl) -> Tensor",
)
torch.library.define(
    "thinned::bias_dropout_add_backward",
    "(Tensor grad, Tensor x, Tensor? bias, Tensor p, Tensor key, Tensor call, int activation, str impl) "
    "-> (Tensor, Tensor)",
)


@torch.library.impl("thinned::bias_dropout_add", "CompositeExplicitAutograd")
def _forward(
    x: torch.Tensor,
    bias: torch.Tensor | None,
    residual: torch.Tensor | None,
    p: torch.Tensor,
    key: torch.Tensor,
    call: torch.Tensor,
    activation: int,
    impl: str,
) -> torch.Tensor:
    kind = Activation(activation)
    if choice(x, impl).impl != "triton":
        return _in_parts(x, bias, residual, p, key, call, kind, impl)
    kernels = importlib.import_module("thinned.kernels.triton.branch_backend")
    operands = (None if tensor is None else tensor.contiguous() for tensor in (x, bias, residual))
    return kernels.forward(*operands, device_address(x, p, key, call), kind)  # type: ignore[no-any-return]


@torch.library.impl("thinned::bias_dropout_add_backward", "CompositeExplicitAutograd")
def _backward_of(
    grad: torch.Tensor,
    x: torch.Tensor,
    bias: torch.Tensor | None,
    p: torch.Tensor,
    key: torch.Tensor,
    call: torch.Tensor,
    activation: int,
    impl: str,
) -> tuple[torch.Tensor, torch.Tensor]:
    kind = Activation(activation)
    if choice(x, impl).impl == "triton":
        kernels = importlib.import_module("thinned.kernels.triton.branch_backend")
        operands = (None if tensor is None else tensor.contiguous() for tensor in (grad, x, bias))
        of_x, of_bias = kernels.backward(*operands, device_address(x, p, key, call), kind)
    else:
        of_x, of_bias = _gradients(grad, x, bias, p, key, call, kind)
    return of_x, grad.new_empty(0) if of_bias is None else of_bias


def _gradients(
    grad: torch.Tensor,
    x: torch.Tensor,
    bias: torch.Tensor | None,
    p: torch.Tensor,
    key: torch.Tensor,
    call: torch.Tensor,
    activation: Activation,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The gradients of x and bias by torch, differentiable where gradients are recorded."""
    dropped = dispatch.apply(grad, p, key, call)
    before = x if bias is None else x + bias
    if torch.is_grad_enabled():  # torch's own backward operators have no derivative
        before = before if before.requires_grad else before.detach().requires_grad_()
        (of_x,) = torch.autograd.grad(activated(before, activation), before, dropped, create_graph=True)
    else:
        of_x = activation_backward(dropped, before, activation)
    return of_x, None if bias is None else of_x.reshape(of_x.shape[:-1].numel(), bias.numel()).sum(0)


def _fake(x: torch.Tensor, *_: object) -> torch.Tensor:
    return torch.empty_like(x)


def _fake_backward(
    grad: torch.Tensor, x: torch.Tensor, bias: torch.Tensor | None, *_: object
) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.empty_like(x), grad.new_empty(0) if bias is None else torch.empty_like(bias)


torch.library.register_fake("thinned::bias_dropout_add", _fake)
torch.library.register_fake("thinned::bias_dropout_add_backward", _fake_backward)


def _setup_context(ctx: Context, inputs: Inputs, output: torch.Tensor) -> None:  # noqa: ARG001 (passed by name)
    args = BranchArgs(*inputs)
    ctx.save_for_backward(args.x, args.bias, args.p, args.key, args.call)
    ctx.activation, ctx.impl, ctx.residual = args.activation, args.impl, args.residual is not None


def _backward(ctx: Context, grad: torch.Tensor) -> BranchGrads:
    x, bias, p, key, call = ctx.saved_tensors
    if torch.is_grad_enabled() and not torch_private.dispatch_mode_depth():  # to be differentiated again
        of_x, of_bias = _gradients(grad, x, bias, p, key, call, Activation(ctx.activation))
    else:
        of_x, of_bias = torch.ops.thinned.bias_dropout_add_backward(
            grad, x, bias, p, key, call, ctx.activation, ctx.impl
        )
    return BranchGrads(of_x, None if bias is None else of_bias, grad if ctx.residual else None)


torch.library.register_autograd("thinned::bias_dropout_add", _backward, setup_context=_setup_context)
