"""The registered operators ``thinned::dropout`` and ``thinned::draw_keys``: fake, autograd and vmap rules.

Calls under ``torch.compile``, ``torch.export`` or ``torch.func``, and calls on tensor subclasses, go through them. So
do calls on devices where reading an address off a tensor would wait for the device.
"""

from typing import Any, NamedTuple

import torch

from thinned.errors import sentence
from thinned.kernels.address import Address, Region, thresholds
from thinned.kernels.form import Form
from thinned.ops import torch_private
from thinned.ops.backends import MaskedCall, choice
from thinned.ops.eager import address_of, device_address, is_lean, run
from thinned.ops.torch_private import Context, Inputs, VmapInfo, VmapInterpreter

__all__ = ["SIGN_BIT", "OperatorArgs", "call_operator"]

SIGN_BIT = 1 << 63
_TENSORS = 5  # the first arguments of the operator: x, residual, p, key and call


class OperatorArgs(NamedTuple):
    """The arguments of ``thinned::dropout``, in its order.

    p, key and call are 0-dim tensors: a Python number would be burnt into a compiled graph, and under vmap each member
    needs its own. A p or key of shape ``(members,)`` gives each leading row of x its own address.
    """

    x: torch.Tensor
    residual: torch.Tensor | None
    p: torch.Tensor
    key: torch.Tensor
    call: torch.Tensor
    shared: list[int]
    full: list[int]
    start: list[int]
    form: int
    impl: str

    @property
    def region(self) -> Region:
        """The part of the mask that ``x`` is."""
        return Region(tuple(self.shared), tuple(self.full), tuple(self.start))

    def masked_call(self, address: Address, impl: str) -> MaskedCall:
        """The call of a backend that computes the operator."""
        return MaskedCall(address, self.region, Form(self.form), impl)


class OperatorGrads(NamedTuple):
    """The gradient of each argument."""

    x: torch.Tensor | None
    residual: torch.Tensor | None
    p: None = None
    key: None = None
    call: None = None
    shared: None = None
    full: None = None
    start: None = None
    form: None = None
    impl: None = None


torch.library.define(
    "thinned::dropout",
    "(Tensor x, Tensor? residual, Tensor p, Tensor key, Tensor call, int[] shared, SymInt[] full, SymInt[] start, "
    "int form, str impl) -> Tensor",
)
torch.library.define("thinned::draw_keys", "(Tensor like) -> Tensor", tags=(torch.Tag.nondeterministic_seeded,))


@torch.library.impl("thinned::dropout", "CompositeExplicitAutograd")
def _dropout(*inputs: Any) -> torch.Tensor:
    args = OperatorArgs(*inputs)
    backend = choice(args.x, args.impl).impl
    if backend == "aten":  # stays on the device
        address = Address(args.key, args.call, thresholds(args.p))
    elif backend == "triton":  # stays where it is
        address = device_address(args.x, args.p, args.key, args.call)
    else:
        address = address_of(args.x, args.p.cpu(), args.key.cpu(), args.call.cpu())
    return args.masked_call(address, backend).run(args.x, args.residual, None)


def _fake(x: torch.Tensor, *_: object) -> torch.Tensor:
    return torch.empty_like(x)


@torch.library.impl("thinned::draw_keys", "CompositeExplicitAutograd")
def _draw_keys(_: torch.Tensor) -> torch.Tensor:
    return torch.empty((), dtype=torch.int64).random_(-SIGN_BIT, None)


def _fake_keys(_: torch.Tensor) -> torch.Tensor:
    return torch.empty((), dtype=torch.int64)


torch.library.register_fake("thinned::dropout", _fake)
torch.library.register_fake("thinned::draw_keys", _fake_keys)


def _setup_context(ctx: Context, inputs: Inputs, output: torch.Tensor) -> None:  # noqa: ARG001 (passed by name)
    args = OperatorArgs(*inputs)
    ctx.save_for_backward(args.p, args.key, args.call)  # three numbers, no mask
    ctx.options = args.shared, args.full, args.start, args.form, args.impl


def _adjoint(ctx: Context, grad: torch.Tensor) -> torch.Tensor:
    """The derivative of x, which is the same forward and backward, applied to ``grad``."""
    args = OperatorArgs(grad, None, *ctx.saved_tensors, *ctx.options)
    return call_operator(args._replace(form=int(Form(args.form).backward)))


def _backward(ctx: Context, grad: torch.Tensor) -> OperatorGrads:
    *_, form, _ = ctx.options
    return OperatorGrads(_adjoint(ctx, grad), grad if Form(form) is Form.ADD else None)


torch.library.register_autograd("thinned::dropout", _backward, setup_context=_setup_context)


class _Transformed(torch.autograd.Function):
    """The operator under ``torch.func.grad`` and ``jvp``, which take no rule from ``torch.library``."""

    @staticmethod
    def forward(*inputs: Any) -> torch.Tensor:
        return torch.ops.thinned.dropout(*inputs)  # type: ignore[no-any-return]

    @staticmethod
    def setup_context(ctx: Context, inputs: Inputs, output: torch.Tensor) -> None:
        _setup_context(ctx, inputs, output)
        args = OperatorArgs(*inputs)
        ctx.save_for_forward(args.p, args.key, args.call)

    @staticmethod
    def backward(ctx: Context, *grads: torch.Tensor) -> OperatorGrads:
        return _backward(ctx, *grads)

    @staticmethod
    def jvp(ctx: Context, tangent: torch.Tensor | None, other: torch.Tensor | None, *_: object) -> torch.Tensor | None:
        if tangent is None:
            return other
        out = _adjoint(ctx, tangent)
        return out if other is None else out + other

    @staticmethod
    def vmap(info: VmapInfo, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[torch.Tensor, int]:
        return _vmap(info, in_dims, *inputs)


def call_operator(args: OperatorArgs) -> torch.Tensor:
    """Call ``thinned::dropout`` by the shortest road that the transforms in force leave open."""
    if not torch.compiler.is_compiling():
        if torch_private.functorch_active():
            vmap = torch_private.innermost_vmap()
            if vmap is None:
                return _Transformed.apply(*args)  # type: ignore[no-any-return, no-untyped-call]
            return _under_vmap(vmap, args)
        if is_lean(args.p, args.key, args.call, operands=(args.x, args.residual)):
            address = address_of(args.x, args.p, args.key, args.call)
            return run(args.x, args.residual, args.masked_call(address, args.impl), False)
    return torch.ops.thinned.dropout(*args)  # type: ignore[no-any-return]


def _under_vmap(interpreter: VmapInterpreter, args: OperatorArgs) -> torch.Tensor:
    """Do what ``torch.library`` does for a vmap rule, without its tree walks: 100 us of a cohort's step."""
    level = interpreter.level()
    tensors = args[:_TENSORS]
    in_dims = tuple([torch_private.batch_dim(value, level) for value in tensors])
    if in_dims == (None,) * _TENSORS:
        with interpreter.lower():
            return call_operator(args)
    plain = [
        value if dim is None else torch_private.without_batch_dim(value)  # type: ignore[arg-type]
        for value, dim in zip(tensors, in_dims, strict=True)
    ]
    with interpreter.lower():
        out, dim = _vmap(_Batch(interpreter.batch_size()), in_dims, *plain, *args[_TENSORS:])
    return torch_private.add_batch_dim(out, dim, level)


class _Batch(NamedTuple):
    batch_size: int


def _vmap(info: VmapInfo, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[torch.Tensor, int]:
    """Members along a new leading axis; a mask stays a function of its own key, call and index alone."""
    args = OperatorArgs(*inputs)
    x_dim, residual_dim, p_dim, key_dim, call_dim = in_dims[:_TENSORS]
    if call_dim is not None:
        raise NotImplementedError(sentence("call must be the same for all members", "it is batched by vmap"))

    def leading(value: torch.Tensor, dim: int | None) -> torch.Tensor:
        return value.movedim(dim, 0) if dim is not None else value.expand(info.batch_size, *value.shape)

    x = leading(args.x, x_dim)
    residual = None if args.residual is None else leading(args.residual, residual_dim)
    p, key = leading(args.p, p_dim), leading(args.key, key_dim)
    inner = max(p.ndim, key.ndim)
    if inner == 1:
        return call_operator(args._replace(x=x, residual=residual, p=p, key=key)), 0
    members = x.shape[:inner]  # a vmap inside a vmap: the leading axes become one axis of members
    p, key = (v.reshape(*v.shape, *(1,) * (inner - v.ndim)).expand(members).reshape(-1) for v in (p, key))
    flat = args._replace(
        x=x.reshape(-1, *x.shape[inner:]),
        residual=None if residual is None else residual.reshape(-1, *residual.shape[inner:]),
        p=p,
        key=key,
    )
    return call_operator(flat).reshape(x.shape), 0


torch.library.register_vmap("thinned::dropout", _vmap)
