"""Attention with dropout against the same arithmetic written out, and against torch's without dropout."""

import itertools
import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from layer_cases import CALL, KEY, address
from torch import nn

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


# --- the layer ----------------------------------------------------------------------------------------------------

OPTIONS = [
    {},
    {"batch_first": True},
    {"bias": False},
    {"add_bias_kv": True, "add_zero_attn": True},
    {"kdim": 6, "vdim": 10},
]


def pair(**options: object) -> tuple[thinned.MultiheadAttention, nn.MultiheadAttention]:
    theirs = nn.MultiheadAttention(8, 2, **options)
    ours = thinned.MultiheadAttention(8, 2, **options)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    return ours, theirs


def inputs(options: dict[str, object]) -> list[torch.Tensor]:
    sizes = [(5, 3, 8), (6, 3, options.get("kdim", 8)), (6, 3, options.get("vdim", 8))]
    made = [torch.randn(*size) for size in sizes]
    return [x.transpose(0, 1) for x in made] if options.get("batch_first") else made


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("masked", ["no", "padding", "both", "float", "per-head"])
def test_with_nothing_dropped_the_layer_is_torchs(options: dict[str, object], need_weights: bool, masked: str) -> None:
    """In training with a rate that rounds to nothing, so that our own code runs."""
    ours, theirs = pair(**options)
    ours.rate = torch.tensor(1e-9, dtype=torch.float64)
    padding, mask = torch.zeros(3, 6, dtype=torch.bool), torch.ones(5, 6, dtype=torch.bool).triu(2)
    padding[0, -2:] = True
    masks = {
        "no": {},
        "padding": {"key_padding_mask": padding},
        "both": {"key_padding_mask": padding, "attn_mask": mask},
        "float": {"attn_mask": torch.randn(5, 6)},
        "per-head": {"attn_mask": mask.expand(6, 5, 6)},
    }[masked]
    x = inputs(options)
    a, b = (layer(*x, need_weights=need_weights, **masks) for layer in (ours, theirs))
    assert torch.allclose(a[0], b[0], atol=1e-5)
    assert (a[1] is None) == (b[1] is None)
    if need_weights:
        assert torch.allclose(a[1], b[1], atol=1e-6)
    ours.eval(), theirs.eval()
    a, b = (layer(*x, need_weights=need_weights, **masks)[0] for layer in (ours, theirs))
    assert torch.equal(a, b)


@pytest.mark.parametrize("average", [True, False])
def test_unbatched_self_attention(average: bool) -> None:
    ours, theirs = pair(dropout=0.0)
    ours.rate = torch.tensor(1e-9, dtype=torch.float64)
    x = torch.randn(5, 8)
    causal = nn.Transformer.generate_square_subsequent_mask(5)
    for options in (
        {},
        {"attn_mask": causal, "is_causal": True},
        {"attn_mask": causal, "is_causal": True, "need_weights": False},
    ):
        a, b = (layer(x, x, x, average_attn_weights=average, **options) for layer in (ours, theirs))
        assert torch.allclose(a[0], b[0], atol=1e-6)
        assert (a[1] is None) == (b[1] is None)
        assert a[1] is None or torch.allclose(a[1], b[1], atol=1e-6)


@pytest.mark.parametrize("batch_first", [True, False])
def test_masks_are_at_the_weights_address_with_and_without_weights(batch_first: bool) -> None:
    layer = address(thinned.MultiheadAttention(8, 2, P, batch_first=batch_first))
    x = torch.randn(3, 5, 8) if batch_first else torch.randn(5, 3, 8)
    output, weights = layer(x, x, x, average_attn_weights=False)
    kept = torch.from_numpy(philox.keep(np.arange(3 * 2 * 5 * 5).reshape(3, 2, 5, 5), P, KEY, CALL))
    assert torch.equal(weights != 0, kept)
    assert torch.allclose(output, layer(x, x, x, need_weights=False)[0], atol=1e-6)


def test_it_serves_in_torchs_transformer() -> None:
    encoder = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    x = torch.randn(3, 5, 8)
    expected = encoder.eval()(x)
    attention_layer = thinned.MultiheadAttention(8, 2, P, batch_first=True)
    attention_layer.load_state_dict(encoder.self_attn.state_dict())
    encoder.self_attn = address(attention_layer)
    assert torch.allclose(encoder.eval()(x), expected, atol=1e-5)
    assert not torch.allclose(encoder.train()(x), expected, atol=1e-3)


def test_layer_errors() -> None:
    layer = thinned.MultiheadAttention(8, 2, P)
    x = torch.randn(5, 3, 8)
    with pytest.raises(RuntimeError, match="is_causal needs attn_mask"):
        layer(x, x, x, is_causal=True)
    with pytest.raises(AssertionError, match="must be bool or floating-point"):
        layer(x, x, x, key_padding_mask=torch.zeros(3, 5, dtype=torch.int64))
