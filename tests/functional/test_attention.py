"""Attention with dropout against the same arithmetic written out, and against torch's without dropout."""

import itertools
import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from layer_cases import CALL, KEY

import thinned
from thinned import philox
from thinned.ops import attention

P = 0.25


@pytest.fixture(params=[1 << 18, 200], ids=["one-block", "many-blocks"])
def block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks smaller than a head, and larger than all of them."""
    monkeypatch.setattr(attention, "_BLOCK", request.param)


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Three threads, however small the problem."""
    monkeypatch.setattr(attention, "_THREADED", 0)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("block", "threads")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("inference", [True, False])
def test_threads_change_nothing(dtype: torch.dtype, causal: bool, inference: bool) -> None:
    results = []
    for count in (3, 1):
        torch.set_num_threads(count)
        q, k, v = operands(dtype=dtype)
        with torch.inference_mode(inference):
            out = thinned.scaled_dot_product_attention(q, k, v, None, P, causal, dropout_key=KEY)
        results.append([out] if inference else [out, *torch.autograd.grad(out.sum(), (q, k, v))])
        assert torch.get_num_threads() == count
    for a, b in zip(*results, strict=True):
        assert torch.allclose(a, b, atol=1e-6)
        assert torch.equal(a == 0, b == 0)


@pytest.mark.usefixtures("threads")
def test_an_error_in_a_thread_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention._Problem, "scores", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        thinned.scaled_dot_product_attention(*operands(), dropout_p=P)
    assert torch.get_num_threads() == 3


def operands(length: int = 17, keys: int = 17, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    shapes = (2, 3, length, 8), (2, 3, keys, 8), (2, 3, keys, 5)
    return tuple(torch.randn(s, generator=generator, dtype=torch.float64).to(dtype).requires_grad_() for s in shapes)


def written_out(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None, scale: float
) -> torch.Tensor:
    """Softmax, then dropout by the NumPy specification, then the product."""
    scores = q @ k.mT * scale
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf) if mask.dtype == torch.bool else scores + mask
    weights = scores.softmax(-1)
    kept = philox.keep(np.arange(weights.numel()).reshape(weights.shape), P, KEY, CALL)
    return torch.where(torch.from_numpy(kept), weights * philox.scale(P), 0) @ v


MASKS = {
    "none": lambda n, m: None,
    "bool": lambda n, m: torch.rand(2, 1, n, m, generator=torch.Generator().manual_seed(1)) > 0.3,
    "keys": lambda n, m: torch.arange(m) < torch.tensor([m, m - 4])[:, None, None, None],
    "float": lambda n, m: torch.randn(n, m, generator=torch.Generator().manual_seed(1), dtype=torch.float64),
    "heads": lambda n, m: torch.randn(3, n, m, generator=torch.Generator().manual_seed(1), dtype=torch.float64),
}


@pytest.mark.usefixtures("block")
@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize("scale", [None, 0.7])
@pytest.mark.parametrize(("length", "keys"), [(17, 17), (9, 23), (1, 5)])
def test_output_and_gradients_are_those_written_out(kind: str, scale: float | None, length: int, keys: int) -> None:
    q, k, v = operands(length, keys)
    mask = MASKS[kind](length, keys)
    ours = thinned.scaled_dot_product_attention(q, k, v, mask, P, scale=scale, dropout_key=KEY, dropout_call=CALL)
    theirs = written_out(q, k, v, mask, 8**-0.5 if scale is None else scale)
    assert torch.allclose(ours, theirs, atol=1e-12)
    grad = torch.randn_like(ours)
    for a, b in zip(
        torch.autograd.grad(ours, (q, k, v), grad), torch.autograd.grad(theirs, (q, k, v), grad), strict=True
    ):
        assert torch.allclose(a, b, atol=1e-12)


@pytest.mark.usefixtures("block")
@pytest.mark.parametrize(("length", "keys"), [(17, 17), (9, 23), (23, 9)])
def test_causal(length: int, keys: int) -> None:
    q, k, v = operands(length, keys)
    ours = thinned.scaled_dot_product_attention(q, k, v, None, P, is_causal=True, dropout_key=KEY, dropout_call=CALL)
    theirs = written_out(q, k, v, torch.ones(length, keys, dtype=torch.bool).tril(), 8**-0.5)
    assert torch.allclose(ours, theirs, atol=1e-12)
    for a, b in zip(
        torch.autograd.grad(ours.sum(), (q, k, v)), torch.autograd.grad(theirs.sum(), (q, k, v)), strict=True
    ):
        assert torch.allclose(a, b, atol=1e-12)


@pytest.mark.usefixtures("block")
def test_gradcheck() -> None:
    q, k, v = (t.detach()[:1, :2, :5, :3].requires_grad_() for t in operands())
    for options in ({}, {"is_causal": True}, {"attn_mask": torch.rand(5, 5) > 0.2}):
        run = lambda *qkv, options=options: thinned.scaled_dot_product_attention(  # noqa: E731
            *qkv, dropout_p=P, dropout_key=KEY, **options
        )
        assert torch.autograd.gradcheck(run, (q, k, v))
    bias = torch.randn(5, 5, dtype=torch.float64, requires_grad=True)
    run = lambda *qkvm: thinned.scaled_dot_product_attention(*qkvm, dropout_p=P, dropout_key=KEY)  # noqa: E731
    assert torch.autograd.gradcheck(run, (q, k, v, bias))


def test_size_of_blocks_changes_no_decision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Values of one in as many columns as there are keys show the mask itself."""
    q, k, _ = operands(16, 12)
    v = torch.eye(12, dtype=torch.float64).expand(2, 3, 12, 12)
    masks = []
    for size, causal in itertools.product((1, 50, 200, 1 << 18), (False, True)):
        monkeypatch.setattr(attention, "_BLOCK", size)
        out = thinned.scaled_dot_product_attention(q, k, v, None, P, causal, dropout_key=KEY, dropout_call=CALL)
        future = torch.ones(16, 12, dtype=torch.bool).triu(1) & causal
        masks.append((out != 0) | future)
    kept = torch.from_numpy(philox.keep(np.arange(2 * 3 * 16 * 12).reshape(2, 3, 16, 12), P, KEY, CALL))
    future = torch.ones(16, 12, dtype=torch.bool).triu(1)
    assert all(torch.equal(mask, kept) for mask in masks[::2])
    assert all(torch.equal(mask, kept | future) for mask in masks[1::2])


@pytest.mark.usefixtures("block")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_dtypes(dtype: torch.dtype) -> None:
    """Within the rounding of the inputs and outputs of the same in float64."""
    q, k, v = operands(dtype=dtype)
    ours = thinned.scaled_dot_product_attention(q, k, v, dropout_p=P, dropout_key=KEY, dropout_call=CALL)
    theirs = written_out(q.double(), k.double(), v.double(), None, 8**-0.5)
    assert ours.dtype == dtype
    assert (ours - theirs).abs().max() <= 4 * torch.finfo(dtype).eps * theirs.abs().max()
    (grad,) = torch.autograd.grad(ours.sum(), q)
    assert grad.dtype == dtype


def test_grouped_heads_and_broadcast_batches() -> None:
    q = torch.randn(2, 6, 7, 4)
    k, v = torch.randn(2, 2, 7, 4), torch.randn(2, 2, 7, 4)
    where = {"dropout_p": P, "dropout_key": KEY}
    ours = thinned.scaled_dot_product_attention(q, k, v, **where, enable_gqa=True)
    repeated = (t.repeat_interleave(3, 1) for t in (k, v))
    assert torch.equal(ours, thinned.scaled_dot_product_attention(q, *repeated, **where))
    one = thinned.scaled_dot_product_attention(q, k[:1, :1], v[:1, :1], **where)
    assert torch.equal(
        one, thinned.scaled_dot_product_attention(q, *(t[:1, :1].expand(2, 6, 7, 4) for t in (k, v)), **where)
    )
    flat = thinned.scaled_dot_product_attention(q[0, 0], k[0, 0], v[0, 0], **where)
    assert torch.allclose(flat, thinned.scaled_dot_product_attention(q[:1, :1], k[:1, :1], v[:1, :1], **where)[0, 0])


@pytest.mark.usefixtures("block")
def test_rows_that_see_no_key_are_as_in_torch() -> None:
    q, k, v = (t.detach() for t in operands(dtype=torch.float32))
    mask = torch.ones(17, 17, dtype=torch.bool)
    mask[3] = False
    plain = F.scaled_dot_product_attention(q, k, v, mask)
    tiny = thinned.scaled_dot_product_attention(q, k, v, mask, 1e-9, dropout_key=KEY)  # nothing is dropped
    assert torch.allclose(plain, tiny, atol=1e-6)
    assert (tiny[:, :, 3] == 0).all()


def test_without_dropout_it_is_torchs() -> None:
    q, k, v = (t.detach() for t in operands(dtype=torch.float32))
    state = torch.get_rng_state()
    assert torch.equal(thinned.scaled_dot_product_attention(q, k, v), F.scaled_dot_product_attention(q, k, v))
    assert torch.equal(torch.get_rng_state(), state)


def test_everything_dropped() -> None:
    q, k, v = operands()
    out = thinned.scaled_dot_product_attention(q, k, v, dropout_p=1.0)
    assert (out == 0).all()
    assert all((grad == 0).all() for grad in torch.autograd.grad(out.sum(), (q, k, v)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attn_mask": torch.ones(17, 17), "is_causal": True}, "attn_mask must be None where is_causal is True"),
        ({"key": torch.ones(2, 3, 17, 9, dtype=torch.float64)}, "shapes must be"),
        ({"key": torch.ones(2, 3, 17, 8)}, "must have one dtype"),
        ({"query": torch.ones(8, dtype=torch.float64)}, "at least 2 dimensions"),
        ({"attn_mask": torch.ones(17, 17, dtype=torch.int64)}, "attn_mask must be bool or"),
    ],
)
def test_what_does_not_fit_is_refused_with_torchs_error(change: dict[str, object], message: str) -> None:
    q, k, v = operands()
    arguments = {"query": q, "key": k, "value": v} | change
    with pytest.raises(RuntimeError, match=message):
        thinned.scaled_dot_product_attention(**arguments, dropout_p=P)
    with pytest.raises(RuntimeError):
        F.scaled_dot_product_attention(**arguments, dropout_p=P)
    with pytest.raises(ValueError, match=r"p must lie in \[0, 1\]"):
        thinned.scaled_dot_product_attention(q, k, v, dropout_p=1.5)


@pytest.mark.parametrize("shape", [(17, 16), (4, 17), (2, 1, 17, 17), (5, 1, 3, 17, 17), (2, 17)])
@pytest.mark.parametrize("learned", [False, True])
def test_masks_of_the_wrong_size_are_refused_as_in_torch(shape: tuple[int, ...], learned: bool) -> None:
    q, k, v = (t.detach()[0] for t in operands())
    mask = torch.zeros(shape, dtype=torch.float64, requires_grad=learned)
    with pytest.raises(RuntimeError, match="attn_mask must be broadcastable"):
        thinned.scaled_dot_product_attention(q, k, v, mask, P)
    with pytest.raises(RuntimeError):
        F.scaled_dot_product_attention(q, k, v, mask, P)


def test_mixed_dtypes_are_cast_under_autocast_only() -> None:
    """Rotary embeddings leave queries and keys in float32 beside values in bfloat16."""
    q, k, v = operands(dtype=torch.float32)
    arguments = q, k, v.to(torch.bfloat16)
    with pytest.raises(RuntimeError, match="must have one dtype"):
        thinned.scaled_dot_product_attention(*arguments, dropout_p=P)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours = thinned.scaled_dot_product_attention(*arguments, dropout_p=1e-9)
        theirs = F.scaled_dot_product_attention(*arguments)
        learned = thinned.scaled_dot_product_attention(*arguments, torch.zeros(17, 17, requires_grad=True), 1e-9)
    assert ours.dtype == theirs.dtype == learned.dtype == torch.bfloat16
    torch.testing.assert_close(ours, theirs, rtol=2e-2, atol=2e-2)
    torch.testing.assert_close(learned, theirs, rtol=2e-2, atol=2e-2)
    assert all(grad.isfinite().all() for grad in torch.autograd.grad(ours.float().sum(), (q, k, v)))
    half = tuple(t.detach().to(torch.bfloat16) for t in (q, k, v))
    bias = torch.zeros(17, 17, requires_grad=True)  # a learned bias in float32 beside a model in bfloat16
    out = thinned.scaled_dot_product_attention(*half, bias, P)
    assert out.dtype == torch.bfloat16
    assert torch.autograd.grad(out.float().sum(), bias)[0].dtype == torch.float32


@pytest.mark.parametrize("hidden", [-1e4, -1e9, float(torch.finfo(torch.float32).min)])
def test_a_row_that_large_numbers_hide_has_the_gradients_of_its_scores(hidden: float) -> None:
    """Softmax does not see what is added to a whole row; the logarithm of its sum would be lost beside it."""
    operands_of = [t.detach().requires_grad_() for t in operands(dtype=torch.float32)]
    q, k, _ = operands_of
    mask = torch.zeros(q.shape[-2], k.shape[-2])
    plain = thinned.scaled_dot_product_attention(*operands_of, mask, P, dropout_key=KEY)
    mask[1] = hidden
    shifted = thinned.scaled_dot_product_attention(*operands_of, mask, P, dropout_key=KEY)
    assert torch.equal(plain, shifted)
    for one, other in zip(
        *(torch.autograd.grad(out.square().sum(), operands_of) for out in (plain, shifted)), strict=True
    ):
        assert torch.equal(one, other)
