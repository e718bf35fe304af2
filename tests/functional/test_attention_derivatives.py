"""Derivatives of attention with dropout, of every kind and order, against the arithmetic written out."""

import math
from collections.abc import Callable

import pytest
import torch
from torch.autograd import forward_ad

from thinned import functional

# torch scripts its own decompositions when forward-mode AD is first used
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")

P, KEY = 0.25, 5  # a multiple of 1/65,536
Tensors = tuple[torch.Tensor, ...]


def operands(*batch: int) -> Tensors:
    generator = torch.Generator().manual_seed(0)
    shapes = (*batch, 5, 4), (*batch, 5, 4), (*batch, 5, 3)
    return tuple(torch.randn(s, generator=generator, dtype=torch.float64).requires_grad_() for s in shapes)


def window() -> torch.Tensor:
    """Query 2 sees no key."""
    mask = torch.ones(5, 5, dtype=torch.bool).tril()
    mask[2] = False
    return mask


def ours(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    return functional.scaled_dot_product_attention(q, k, v, mask, dropout_p=P, dropout_key=KEY)


def written_out(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    """Rows without keys are cut out by hand, so that no -inf enters a softmax whose row has nothing else."""
    scores = q @ k.mT / math.sqrt(q.shape[-1])
    if mask is not None:
        seen = mask.any(-1, keepdim=True)
        scores = scores.masked_fill(~mask & seen, -math.inf)
        return functional.dropout(scores.softmax(-1) * seen, P, key=KEY) @ v
    return functional.dropout(scores.softmax(-1), P, key=KEY) @ v


MASKS: dict[str, Callable[[], torch.Tensor | None]] = {"all": lambda: None, "row without keys": window}
masks = pytest.mark.parametrize("mask", MASKS)


def close(a: Tensors, b: Tensors) -> None:
    for x, y in zip(a, b, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-9, atol=1e-11)


@masks
def test_gradient_of_a_gradient(mask: str) -> None:
    """A gradient penalty, in all three operands."""

    def penalty(function: Callable[..., torch.Tensor]) -> Tensors:
        q, k, v = operands(2, 2)
        grads = torch.autograd.grad(function(q, k, v, MASKS[mask]()).square().sum(), (q, k, v), create_graph=True)
        return torch.autograd.grad(sum(g.square().sum() for g in grads), (q, k, v))

    close(penalty(ours), penalty(written_out))


@masks
def test_gradgradcheck(mask: str) -> None:
    assert torch.autograd.gradgradcheck(lambda *qkv: ours(*qkv, MASKS[mask]()), operands(1))


@masks
@pytest.mark.parametrize("transform", ["grad", "jvp", "jacrev", "jacfwd", "hessian"])
def test_transforms(mask: str, transform: str) -> None:
    q, k, v = (t.detach() for t in operands(2))

    def derivative(function: Callable[..., torch.Tensor]) -> torch.Tensor:
        def run(q: torch.Tensor) -> torch.Tensor:
            return function(q, k, v, MASKS[mask]())

        if transform == "jvp":
            return torch.func.jvp(run, (q,), (torch.ones_like(q),))[1]
        if transform in {"grad", "hessian"}:
            return getattr(torch.func, transform)(lambda q: run(q).square().sum())(q)
        return getattr(torch.func, transform)(run)(q)

    close((derivative(ours),), (derivative(written_out),))


@masks
def test_dual_numbers(mask: str) -> None:
    """Forward-mode AD without torch.func."""
    q, k, v = (t.detach() for t in operands(2))
    tangents = []
    for function in (ours, written_out):
        with forward_ad.dual_level():
            out = function(q, forward_ad.make_dual(k, torch.cos(k)), forward_ad.make_dual(v, v), MASKS[mask]())
            tangents.append(forward_ad.unpack_dual(out).tangent)
    close((tangents[0],), (tangents[1],))


def test_gradients_of_each_sample_and_of_each_member() -> None:
    q, k, v = (t.detach() for t in operands(3, 2))
    one = torch.func.grad(lambda q, k, v: ours(q, k, v).square().sum())
    each = torch.func.vmap(one)(q, k, v)
    close((each,), (torch.stack([one(*sample) for sample in zip(q, k, v, strict=True)]),))
    keys = torch.tensor([5, 6, 7])

    def member(key: torch.Tensor) -> torch.Tensor:
        def loss(q: torch.Tensor) -> torch.Tensor:
            out = functional.scaled_dot_product_attention(q, k[0], v[0], dropout_p=P, dropout_key=key)
            return out.square().sum()

        return torch.func.grad(loss)(q[0])

    members = torch.func.vmap(member)(keys)
    close((members,), (torch.stack([member(key) for key in keys]),))
    assert not torch.equal(members[0], members[1])


def test_a_learned_bias_with_a_hidden_row_has_derivatives_of_both_orders() -> None:
    q, k, v = operands(2)
    hidden = torch.zeros(5, 5, dtype=torch.float64)
    hidden[2] = -math.inf
    bias = torch.zeros(5, 5, dtype=torch.float64, requires_grad=True)
    grads = torch.autograd.grad(ours(q, k, v, bias + hidden).square().sum(), (q, k, v, bias), create_graph=True)
    second = torch.autograd.grad(sum(g.square().sum() for g in grads), (q, k, v, bias))
    assert all(bool(g.isfinite().all()) for g in (*grads, *second))
    assert torch.equal(grads[3][2], torch.zeros(5, dtype=torch.float64))
    assert torch.equal(grads[0][:, 2], torch.zeros(2, 4, dtype=torch.float64))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("causal", [False, True])
def test_without_any_key_the_output_and_its_gradient_are_0(dtype: torch.dtype, causal: bool) -> None:
    q, k, v = torch.randn(2, 3, 4).to(dtype), torch.randn(2, 0, 4).to(dtype), torch.randn(2, 0, 5).to(dtype)
    q.requires_grad_()
    out = functional.scaled_dot_product_attention(q, k, v, dropout_p=P, is_causal=causal)
    assert torch.equal(out, torch.zeros(2, 3, 5, dtype=dtype))
    assert torch.equal(torch.autograd.grad(out.sum(), q)[0], torch.zeros(2, 3, 4, dtype=dtype))
