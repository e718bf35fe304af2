"""One dropout operation: eager calls go straight to a backend, all others through the registered operator."""

import torch

from thinned.errors import sentence
from thinned.kernels.address import WHOLE, Region, signed
from thinned.kernels.form import Form
from thinned.ops import torch_private
from thinned.ops.backends import MaskedCall, choice
from thinned.ops.eager import address_of, is_lean, run
from thinned.ops.library import SIGN_BIT, OperatorArgs, call_operator
from thinned.ops.placement import placement

__all__ = ["Decider", "apply", "draw_key"]


class Decider:
    """A stand-in for a key that decides by itself what becomes of a tensor; sub-networks are enumerated so."""

    def drop(
        self, x: torch.Tensor, p: float | torch.Tensor, region: Region, residual: torch.Tensor | None, form: Form
    ) -> torch.Tensor:
        """Return what :func:`apply` returns for this key."""
        raise NotImplementedError


def apply(
    x: torch.Tensor,
    p: float | torch.Tensor,
    key: int | torch.Tensor | Decider | None,
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
        key: 64-bit key, or an int64 tensor, 0-dim or one element a member; None draws one; a :class:`Decider` decides
            in place of an address.
        call: number of the training forward pass, or a 0-dim int64 tensor.
        region: the part of the mask that ``x`` is; counts a member's own axes.
        impl: backend.
        inplace: overwrite ``x``.
        residual: tensor like ``x``, for ``Form.ADD`` only.
        form: the arithmetic on decisions.
    """
    if (place := placement()) is not None:
        region = place(region, x.shape)
    if not x.is_floating_point():
        raise RuntimeError(sentence("dropout needs a floating-point tensor", f"got {x.dtype}", "convert it first"))
    if isinstance(key, Decider):
        return key.drop(x, p, region, residual, form)
    if x.is_nested:
        return _apply_to_values(x, p, key, call, region, impl, inplace or residual is not None, form)
    if inplace:
        _check_places(x)
    if key is None:
        key = draw_key(x)
    if is_lean(p, key, call, operands=(x, residual)):
        return run(x, residual, MaskedCall(address_of(x, p, key, call), region, form, impl), inplace)
    if impl != "auto":
        choice(x, impl)  # before any tracing: the operator's fake has no backend that could refuse
    args = OperatorArgs(
        x=x,
        residual=residual,
        p=torch.as_tensor(p, dtype=torch.float64),
        key=key if isinstance(key, torch.Tensor) else torch.tensor(signed(key)),
        call=call if isinstance(call, torch.Tensor) else torch.tensor(signed(call)),
        shared=list(region.shared),
        full=list(region.full),
        start=list(region.start),
        form=int(form),
        impl=impl,
    )
    out = call_operator(args)
    return x.copy_(out) if inplace else out


def _check_places(x: torch.Tensor) -> None:
    """Refuse to overwrite elements that share a place in memory."""
    if any(n > 1 and step == 0 for n, step in zip(x.shape, x.stride(), strict=True)):
        value = f"got one of shape {tuple(x.shape)} and strides {x.stride()}"
        raise RuntimeError(sentence("inplace=True needs a tensor whose elements have a place each", value, "clone it"))


def _apply_to_values(
    x: torch.Tensor,
    p: float | torch.Tensor,
    key: int | torch.Tensor | None,
    call: int | torch.Tensor,
    region: Region,
    impl: str,
    with_other: bool,
    form: Form,
) -> torch.Tensor:
    """Dropout of a jagged tensor: an element's index in its mask is that in ``x.values()``."""
    if x.layout is not torch.jagged or getattr(x, "_ragged_idx", 1) != 1 or region != WHOLE or with_other:
        raise NotImplementedError(
            sentence(
                "dropout of a nested tensor needs layout=torch.jagged, and takes a decision for each element",
                "got another layout, shared decisions, parts, a residual or inplace=True",
                "pad it first",
            )
        )
    values = apply(x.values(), p, key, call, impl=impl, form=form)
    return torch.nested.nested_tensor_from_jagged(values, x.offsets(), x.lengths())  # type: ignore[attr-defined]


_scalars: list[torch.Tensor] = []  # to draw into; popped, so that no two threads draw into the same one


@torch.inference_mode(False)
def _scalar() -> torch.Tensor:
    """A tensor made in inference mode could not be drawn into outside it."""
    return torch.empty((), dtype=torch.int64)


def draw_key(x: torch.Tensor | None = None) -> int | torch.Tensor:
    """Draw a 64-bit key from torch's default CPU generator, which ``torch.manual_seed`` seeds.

    Args:
        x: the tensor that is dropped. While ``x`` is traced or under ``torch.func``, the key is a 0-dim tensor; then
            ``vmap``'s ``randomness`` says whether it is an error, the same for all members, or different.
    """
    if x is not None and not is_lean(operands=(x,)):
        if torch_private.functorch_active() and not torch.compiler.is_compiling():
            # torch's own random operation, whose vmap rule holds also where x itself is not batched
            return torch.randint(-SIGN_BIT, SIGN_BIT - 1, ())
        return torch.ops.thinned.draw_keys(x)  # type: ignore[no-any-return]
    scalar = _scalars.pop() if _scalars else _scalar()
    key = int(scalar.random_(-SIGN_BIT, None).item())
    _scalars.append(scalar)
    return key
