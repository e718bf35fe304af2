"""One dropout operation: which backend runs it, its gradient, and its rule under ``vmap``.

Eager calls go straight to the kernel, through an ``autograd.Function`` where a gradient is wanted. Calls under
``torch.compile``, ``torch.export`` or ``torch.func``, and calls on tensor subclasses, go through the registered
operator ``thinned::dropout``, as do calls on devices where reading an address off a tensor would wait for the device.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import torch
from torch._functorch.pyfunctorch import retrieve_current_functorch_interpreter
from torch.autograd import forward_ad

from thinned import philox
from thinned.errors import check_p, sentence
from thinned.kernels import aten, native, reference
from thinned.kernels.address import WHOLE, Address, Form, Region, signed, thresholds

__all__ = ["IMPLEMENTATIONS", "Choice", "Decider", "apply", "choice", "draw_key"]

IMPLEMENTATIONS = ("auto", "native", "aten", "reference")
_SIGN = 1 << 63
_64_BITS = 0xFFFFFFFFFFFFFFFF
_PLAIN = (torch.Tensor, torch.nn.Parameter)


Placement = Callable[[Region, Sequence[int]], Region]
_running: ContextVar[Placement | None] = ContextVar("placement", default=None)
_traced: Placement | None = None


def placement() -> Placement | None:
    """The placement in force; None where tensors are whole."""
    return _traced if torch.compiler.is_compiling() else _running.get()


@contextmanager
def placed(value: Placement) -> Iterator[None]:
    """Within, :func:`apply` places every region by ``value``."""
    global _traced  # noqa: PLW0603
    if torch.compiler.is_compiling():
        _traced = value
        try:
            yield
        finally:
            _traced = None
        return
    token = _running.set(value)
    try:
        yield
    finally:
        _running.reset(token)


class Decider:
    """Stands in place of a key, and decides by itself what becomes of a tensor: how sub-networks are enumerated."""

    def drop(
        self, x: torch.Tensor, p: float | torch.Tensor, region: Region, residual: torch.Tensor | None, form: Form
    ) -> torch.Tensor:
        """What :func:`apply` returns for this key."""
        raise NotImplementedError


class Choice(NamedTuple):
    """The backend that runs a call, and why."""

    impl: str
    reason: str


def choice(x: torch.Tensor, impl: str = "auto") -> Choice:
    """Tell which backend runs dropout of ``x``. Only ``"auto"`` chooses; a named backend runs or fails.

    Raises:
        ValueError: ``impl`` is unknown.
        NotImplementedError: the named backend can't run on the device of ``x``.
    """
    if impl not in IMPLEMENTATIONS:
        raise ValueError(sentence(f"impl must be one of {', '.join(IMPLEMENTATIONS)}", f"got impl={impl!r}"))
    if impl == "native" and not x.is_cpu:
        raise NotImplementedError(
            sentence("the native backend needs a CPU tensor", f"got one on {x.device}", "use impl='aten' or 'auto'")
        )
    if impl == "native" and x.dtype not in native.DTYPES:
        raise NotImplementedError(
            sentence("the native backend takes f32, f64, bf16 and f16", f"got {x.dtype}", "use impl='aten' or 'auto'")
        )
    if impl != "auto":
        return Choice(impl, "named by the caller")
    if not x.is_cpu:
        return Choice("aten", f"x is on {x.device}, and the native kernels are for the CPU")
    if x.dtype not in native.DTYPES:
        return Choice("aten", f"x is {x.dtype}, and the native kernels take f32, f64, bf16 and f16")
    return Choice("native", f"x is on the CPU; instruction set {native.isa()}")


class _Call(NamedTuple):
    """What a call computes, apart from its tensors."""

    address: Address
    region: Region
    form: Form
    impl: str

    def backward(self) -> "_Call":
        """What maps a gradient of the output to one of x."""
        form = self.form.backward
        return self if form is self.form else self._replace(form=form)

    def run(self, x: torch.Tensor, residual: torch.Tensor | None, out: torch.Tensor | None) -> torch.Tensor:
        """Run the backend that ``impl`` names; only "auto" chooses one."""
        address, region, form, impl = self
        quick = impl == "auto" and x.is_cpu and x.dtype in native.DTYPES  # without the reason for the choice
        impl = "native" if quick else choice(x, impl).impl
        if impl == "native":
            return native.dropout(x, address, region, out, residual, form)
        if impl == "reference":
            return reference.dropout(x, address, region, out, residual, form)
        key, call, keep = address
        result = aten.dropout(
            x,
            key if isinstance(key, torch.Tensor) else torch.tensor(signed(key)),
            torch.tensor(signed(call)),
            torch.as_tensor(keep),
            region,
            residual,
            form,
        )
        return result if out is None else out.copy_(result)


class _Dropout(torch.autograd.Function):
    """The lean path. Dropout is linear and self-adjoint: its backward is itself, so no tensor is saved."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, residual: torch.Tensor | None, call: _Call, inplace: bool) -> torch.Tensor:
        ctx.call, ctx.inplace = call, inplace
        if inplace:
            ctx.mark_dirty(x)
        return call.run(x, residual, x if inplace else None)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (grad,) = grads
        call = ctx.call.backward()
        wanted_x, wanted_residual, *_ = ctx.needs_input_grad
        return _run(grad, None, call, False) if wanted_x else None, grad if wanted_residual else None, None, None

    @staticmethod
    def jvp(ctx: Any, tangent: torch.Tensor | None, other: torch.Tensor | None, *_: object) -> torch.Tensor | None:
        if tangent is None:
            return other
        call = ctx.call.backward()
        if ctx.inplace:  # the tangent of an in-place operation is changed in place, too
            return tangent.copy_(_run(tangent, None, call, False))
        out = _run(tangent, None, call, False)
        return out if other is None else out + other


def _run(x: torch.Tensor, residual: torch.Tensor | None, call: _Call, inplace: bool) -> torch.Tensor:
    wants_grad = torch.is_grad_enabled() and (x.requires_grad or (residual is not None and residual.requires_grad))
    if wants_grad or forward_ad._current_level >= 0:
        if inplace and x.is_leaf and wants_grad:  # before the data is overwritten
            raise RuntimeError("a leaf Variable that requires grad is being used in an in-place operation.")
        return _Dropout.apply(x, residual, call, inplace)  # type: ignore[no-any-return, no-untyped-call]
    out = call.run(x, residual, x if inplace else None)
    if inplace:
        torch.autograd.graph.increment_version(x)
    return out


def _number(value: float | torch.Tensor) -> Any:
    """A 0-dim tensor's number; anything else unchanged."""
    return value.item() if isinstance(value, torch.Tensor) and value.ndim == 0 else value


def _lean(*tensors: object) -> bool:
    """Whether a call may go straight to the kernel: nothing watches or transforms it, and no device is waited for."""
    if torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
        return False
    if torch._C._len_torch_dispatch_stack():
        return False
    for t in tensors:  # noqa: SIM110 (a generator would take as long as the kernel does)
        if isinstance(t, torch.Tensor) and not (type(t) in _PLAIN and t.is_cpu):
            return False
    return True


def _address(x: torch.Tensor, p: float | torch.Tensor, key: int | torch.Tensor, call: int) -> Address:
    """The address of numbers, or of one number for each leading row of ``x``."""
    if type(p) is float and type(key) is int:
        return Address(key & _64_BITS, call & _64_BITS, philox.threshold(check_p(p)))
    for name, value in (("p", p), ("key", key)):
        if isinstance(value, torch.Tensor) and value.shape != x.shape[:1]:
            raise ValueError(
                sentence(
                    f"{name} must be one number or one for each x[m]",
                    f"got {name} of shape {tuple(value.shape)} for x of shape {tuple(x.shape)}",
                )
            )
    keep = native.thresholds(p.double()) if isinstance(p, torch.Tensor) else philox.threshold(check_p(p))
    return Address(key.to(torch.int64) if isinstance(key, torch.Tensor) else key & _64_BITS, call & _64_BITS, keep)


def apply(
    x: torch.Tensor,
    p: float | torch.Tensor,
    key: int | torch.Tensor | Decider,
    call: int | torch.Tensor = 0,
    *,
    region: Region = WHOLE,
    impl: str = "auto",
    inplace: bool = False,
    residual: torch.Tensor | None = None,
    form: Form = Form.DROPOUT,
) -> torch.Tensor:
    """Inverted dropout of ``x`` at an address, with its gradient.

    Args:
        x: floating-point tensor of any shape.
        p: probability of dropping; a float64 tensor where it is to vary without recompiling, or by member.
        key: 64-bit key, or an int64 tensor, 0-dim or one element a member; or what decides in place of an address.
        call: number of the training forward pass, or a 0-dim int64 tensor.
        region: which part of which mask ``x`` is; counts a member's own axes.
        impl: backend.
        inplace: overwrite ``x``.
        residual: for ``Form.ADD``: a tensor like ``x``.
        form: what is computed.
    """
    if (place := placement()) is not None:
        region = place(region, x.shape)
    if not x.is_floating_point():
        raise RuntimeError(sentence("dropout needs a floating-point tensor", f"got {x.dtype}", "convert it first"))
    if isinstance(key, Decider):
        return key.drop(x, p, region, residual, form)
    if _lean(x, p, key, call, residual):
        address = _address(x, _number(p), _number(key), _number(call))
        return _run(x, residual, _Call(address, region, form, impl), inplace)
    if impl != "auto":
        choice(x, impl)  # before any tracing: the operator's fake has no backend that could refuse
    where = (
        torch.as_tensor(p, dtype=torch.float64),
        key if isinstance(key, torch.Tensor) else torch.tensor(signed(key)),
        call if isinstance(call, torch.Tensor) else torch.tensor(signed(call)),
    )
    out = _operator(x, residual, *where, *map(list, region), int(form), impl)
    return x.copy_(out) if inplace else out


# The operators. p, key and call are 0-dim tensors: a Python number would be burnt into a compiled graph, and under
# vmap each member needs its own. A p or key of shape (members,) gives each leading row of x its own address.
torch.library.define(
    "thinned::dropout",
    "(Tensor x, Tensor? residual, Tensor p, Tensor key, Tensor call, int[] shared, SymInt[] full, SymInt[] start, "
    "int form, str impl) -> Tensor",
)
torch.library.define(
    "thinned::draw_keys", "(Tensor like, SymInt[] size) -> Tensor", tags=(torch.Tag.nondeterministic_seeded,)
)


_draws: list[torch.Tensor] = []  # a scalar to draw into; popped, so that no two threads draw into the same one


@torch.inference_mode(False)
def _scalar() -> torch.Tensor:
    """A tensor made in inference mode could not be drawn into outside it."""
    return torch.empty((), dtype=torch.int64)


def draw_key(x: torch.Tensor | None = None) -> int | torch.Tensor:
    """A 64-bit key from torch's default CPU generator, which ``torch.manual_seed`` seeds.

    Args:
        x: what is to be dropped. While ``x`` is traced or under ``torch.func``, the key is a 0-dim tensor; then
            ``vmap``'s ``randomness`` says whether it is an error, the same for all members, or different.
    """
    if x is not None and not _lean(x):
        if torch._C._are_functorch_transforms_active() and not torch.compiler.is_compiling():
            # torch's own random operation, whose vmap rule holds also where x itself is not batched
            return torch.randint(-_SIGN, _SIGN - 1, ())
        return torch.ops.thinned.draw_keys(x, [])  # type: ignore[no-any-return]
    out = _draws.pop() if _draws else _scalar()
    key = int(out.random_(-_SIGN, None).item())
    _draws.append(out)
    return key


@torch.library.impl("thinned::dropout", "CompositeExplicitAutograd")
def _dropout(
    x: torch.Tensor,
    residual: torch.Tensor | None,
    p: torch.Tensor,
    key: torch.Tensor,
    call: torch.Tensor,
    shared: list[int],
    full: list[int],
    start: list[int],
    form: int,
    impl: str,
) -> torch.Tensor:
    region = Region(tuple(shared), tuple(full), tuple(start))
    backend = choice(x, impl).impl
    if backend == "aten":  # stays on the device
        return aten.dropout(x, key, call, thresholds(p), region, residual, Form(form))
    address = _address(x, *(_number(value.cpu()) for value in (p, key, call)))
    return _Call(address, region, Form(form), backend).run(x, residual, None)


def _fake(x: torch.Tensor, *_: object) -> torch.Tensor:
    return torch.empty_like(x)


@torch.library.impl("thinned::draw_keys", "CompositeExplicitAutograd")
def _draw_keys(_: torch.Tensor, size: list[int]) -> torch.Tensor:
    return torch.empty(size, dtype=torch.int64).random_(-_SIGN, None)


def _fake_keys(_: torch.Tensor, size: list[int]) -> torch.Tensor:
    return torch.empty(size, dtype=torch.int64)


torch.library.register_fake("thinned::dropout", _fake)
torch.library.register_fake("thinned::draw_keys", _fake_keys)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:  # noqa: ARG001 (passed by name)
    _, _, p, key, call, *ctx.options = inputs
    ctx.save_for_backward(p, key, call)  # three numbers, no mask


def _backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    *region, form, impl = ctx.options
    form = Form(form)
    out = _operator(grad, None, *ctx.saved_tensors, *region, int(form.backward), impl)
    return out, grad if form is Form.ADD else None, *(None,) * 8


torch.library.register_autograd("thinned::dropout", _backward, setup_context=_setup_context)


class _Transformed(torch.autograd.Function):
    """The operator under ``torch.func.grad`` and ``jvp``, which take no rule from ``torch.library``."""

    @staticmethod
    def forward(*inputs: Any) -> torch.Tensor:
        return torch.ops.thinned.dropout(*inputs)  # type: ignore[no-any-return]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
        _setup_context(ctx, inputs, output)
        ctx.save_for_forward(*inputs[2:5])

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return _backward(ctx, *grads)

    @staticmethod
    def jvp(ctx: Any, tangent: torch.Tensor | None, other: torch.Tensor | None, *_: object) -> torch.Tensor | None:
        if tangent is None:
            return other
        *region, form, impl = ctx.options
        out = _operator(tangent, None, *ctx.saved_tensors, *region, int(Form(form).backward), impl)
        return out if other is None else out + other

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[torch.Tensor, int]:
        return _vmap(info, in_dims, *inputs)


def _operator(*inputs: Any) -> torch.Tensor:
    """``thinned::dropout``, by the shortest road that the transforms in force leave open."""
    if not torch.compiler.is_compiling():
        if torch._C._are_functorch_transforms_active():
            interpreter = retrieve_current_functorch_interpreter()
            if interpreter.key() != torch._C._functorch.TransformType.Vmap:
                return _Transformed.apply(*inputs)  # type: ignore[no-any-return, no-untyped-call]
            return _under_vmap(interpreter, *inputs)
        x, residual, p, key, call, shared, full, start, form, impl = inputs
        if _lean(x, residual, p, key, call):
            region = Region(tuple(shared), tuple(full), tuple(start))
            address = _address(x, _number(p), _number(key), _number(call))
            return _run(x, residual, _Call(address, region, Form(form), impl), False)
    return torch.ops.thinned.dropout(*inputs)  # type: ignore[no-any-return]


def _under_vmap(interpreter: Any, *inputs: Any) -> torch.Tensor:
    """What ``torch.library`` does for a vmap rule, without its tree walks: 100 us of a cohort's step."""
    functorch, level = torch._C._functorch, interpreter.level()
    batched = [
        isinstance(v, torch.Tensor) and functorch.is_batchedtensor(v) and functorch.maybe_get_level(v) == level
        for v in inputs
    ]
    in_dims = tuple(functorch.maybe_get_bdim(v) if b else None for v, b in zip(inputs, batched, strict=True))
    plain = [functorch.get_unwrapped(v) if b else v for v, b in zip(inputs, batched, strict=True)]
    with interpreter.lower():
        if not any(batched):
            return _operator(*plain)
        out, dim = _vmap(_Batch(interpreter.batch_size()), in_dims, *plain)
    return functorch._add_batch_dim(out, dim, level)


class _Batch(NamedTuple):
    batch_size: int


def _vmap(
    info: Any,
    in_dims: tuple[int | None, ...],
    x: torch.Tensor,
    residual: torch.Tensor | None,
    p: torch.Tensor,
    key: torch.Tensor,
    call: torch.Tensor,
    *options: Any,
) -> tuple[torch.Tensor, int]:
    """Members along a new leading axis; a mask stays a function of its own key, call and index alone."""
    if in_dims[4] is not None:
        raise NotImplementedError(sentence("call must be the same for all members", "it is batched by vmap"))

    def leading(value: torch.Tensor, dim: int | None) -> torch.Tensor:
        return value.movedim(dim, 0) if dim is not None else value.expand(info.batch_size, *value.shape)

    rows = leading(x, in_dims[0])
    others = None if residual is None else leading(residual, in_dims[1])
    address = [leading(p, in_dims[2]), leading(key, in_dims[3])]
    inner = max(v.ndim for v in address)
    if inner > 1:  # a vmap inside a vmap: the leading axes become one axis of members
        members = rows.shape[:inner]
        flat = [v.reshape(*v.shape, *(1,) * (inner - v.ndim)).expand(members).reshape(-1) for v in address]
        rows_flat, others_flat = (None if v is None else v.reshape(-1, *v.shape[inner:]) for v in (rows, others))
        return _operator(rows_flat, others_flat, *flat, call, *options).reshape(rows.shape), 0
    return _operator(rows, others, *address, call, *options), 0


torch.library.register_vmap("thinned::dropout", _vmap)
