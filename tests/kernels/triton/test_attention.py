"""Attention in Triton: the specification's mask bit for bit, and float64's numbers within the rounding of its steps."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from layer_cases import CALL, KEY

import thinned
from thinned import philox
from thinned.kernels.address import Address
from thinned.kernels.attention import AttentionProblem
from thinned.ops import attention as operator
from thinned.ops.backends import Choice

triton = pytest.importorskip("triton")
import triton.language as tl  # noqa: E402

from thinned.kernels.triton.attention import attention_backward, attention_forward, supports  # noqa: E402
from thinned.kernels.triton.attention.blocks import Blocks, Tile  # noqa: E402
from thinned.kernels.triton.attention.tiles import keep_tile, tile_keys  # noqa: E402

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
P = 0.3
Tensors = tuple[torch.Tensor, ...]


@pytest.fixture
def on_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    """The operator takes Triton for tensors on the CPU, too."""
    monkeypatch.setattr(operator, "choice", lambda *_: Choice("triton", "the test says so"))


def decisions(shape: tuple[int, ...], p: float = P, key: int = KEY, call: int = CALL) -> torch.Tensor:
    return torch.from_numpy(philox.keep(np.arange(math.prod(shape)).reshape(shape), p, key, call))


@triton.jit
def write_tile(out, first, limit, number, ROWS: tl.constexpr, KEYS: tl.constexpr, ALIGNED: tl.constexpr):
    """Decisions of a tile at key 5 and call 7, in the order of its keys."""
    rows = tl.arange(0, ROWS)
    five, seven, nothing = tl.full((), 5, tl.uint32), tl.full((), 7, tl.uint32), tl.full((), 0, tl.uint32)
    keep = keep_tile(tl.load(first + rows), number, five, nothing, seven, nothing, tl.load(limit), KEYS, ALIGNED)
    tl.store(out + rows[:, None] * 256 + tile_keys(number, KEYS)[None, :], keep.to(tl.int8))


@pytest.mark.parametrize("keys", [32, 64, 128])
@pytest.mark.parametrize("start", [0, 2**35 - 256, 2**44])
def test_decisions_of_tiles(keys: int, start: int) -> None:
    """Also where a block's number passes 2^32, and at offsets of every kind from a group's start."""
    keep = {0: 1, 2**44: 65_536}.get(start, 30_000)
    for aligned, offsets in ((True, [0, 128, 256, 1024]), (False, [0, 1, 127, 200])):
        first = torch.tensor(offsets, device=DEVICE) + start
        out = torch.full((4, 256), 9, dtype=torch.int8, device=DEVICE)
        limit = torch.tensor([(keep << 16) - 1], device=DEVICE).to(torch.uint32)
        for number in range(256 // keys):
            write_tile[(1,)](out, first, limit, number, ROWS=4, KEYS=keys, ALIGNED=aligned)
        index = first.cpu().numpy()[:, None] + np.arange(256)
        assert np.array_equal(out.cpu().numpy(), philox.keep(index, 1 - keep / 65536, 5, 7))


@pytest.mark.parametrize("tile", [Tile(16, 32, 1, 1), Tile(64, 128, 4, 1)])
@pytest.mark.parametrize(("length", "keys", "causal"), [(3, 128, False), (20, 40, False), (20, 140, True)])
def test_the_mask_is_the_specification_s(tile: Tile, length: int, keys: int, causal: bool) -> None:
    """Equal weights, and values that are the identity, show the mask itself."""
    q, k = torch.zeros(1, 2, length, 16, device=DEVICE), torch.zeros(1, 2, keys, 16, device=DEVICE)
    v = torch.eye(keys, device=DEVICE).expand(1, 2, keys, keys)
    problem = AttentionProblem(q, k, v, None, Address(KEY, CALL, philox.threshold(P)), 1.0, causal)
    out, lse = attention_forward(problem, Blocks(tile, tile, tile))
    seen = torch.ones(length, keys, dtype=torch.bool).tril() if causal else torch.ones(length, keys, dtype=torch.bool)
    assert torch.equal(out.cpu() != 0, decisions((1, 2, length, keys)) & seen)
    count = seen.sum(-1)
    torch.testing.assert_close(lse.cpu(), count.log().float().expand(1, 2, -1))
    # dV of a gradient that is the identity is the mask, transposed
    grad = torch.eye(length, device=DEVICE).expand(1, 2, length, length)
    ones = problem._replace(value=torch.ones(1, 2, keys, length, device=DEVICE))
    d_value = attention_backward(grad, *attention_forward(ones), ones, Blocks(tile, tile, tile))[2]
    assert torch.equal(d_value.mT.cpu() != 0, decisions((1, 2, length, keys)) & seen)


MASKS: dict[str, Callable[[int, int], torch.Tensor | None]] = {
    "none": lambda n, m: None,
    "causal": lambda n, m: torch.ones(n, m, dtype=torch.bool).tril(),
    "lengths": lambda n, m: torch.arange(m) < torch.tensor([m - 9, m])[:, None, None, None],
    "bool": lambda n, m: (torch.rand(2, 1, n, m) > 0.3) & (torch.arange(n) != 3)[:, None],  # query 3 sees no key
    "float": lambda n, m: torch.randn(2, n, m),
}


def operands(dtype: torch.dtype, length: int, keys: int, sizes: tuple[int, int], heads: int) -> Tensors:
    generator = torch.Generator().manual_seed(0)
    shapes = (2, length, 2, sizes[0]), (2, keys, heads, sizes[0]), (2, keys, heads, sizes[1])
    made = [torch.randn(s, generator=generator).to(dtype).to(DEVICE).transpose(1, 2) for s in shapes]
    return tuple(t.requires_grad_() for t in made)


class Bounds:
    """Float64's output and gradients, and bounds of the errors that rounding makes.

    Weights, their gradients and results are rounded to the dtype (which Triton's interpreter does by truncation: an
    epsilon), all else to float32: ``n`` steps of a sum err by ``n`` 2^-24 of the sum of magnitudes.
    """

    def __init__(self, operands: Tensors, mask: torch.Tensor | None, scale: float, grad: torch.Tensor) -> None:
        u = torch.finfo(operands[0].dtype).eps
        q, k, v, g = (t.detach().cpu().double() for t in (*operands, grad))
        groups = q.shape[1] // k.shape[1]
        k, v = (t.repeat_interleave(groups, 1) for t in (k, v))
        steps = (q.shape[-1] + v.shape[-1] + k.shape[-2] + q.shape[-2] + 16) * 2.0**-24
        scores = q @ k.mT * scale
        noise = 2 * (steps * (q.abs() @ k.abs().mT * scale).max() + steps)  # relative, of a weight
        if mask is not None:
            scores = scores.masked_fill(~mask, -math.inf) if mask.dtype == torch.bool else scores + mask.double()
        hidden = (scores == -math.inf).all(-1, keepdim=True)
        weights = scores.masked_fill(hidden, 0).softmax(-1).masked_fill(hidden, 0)
        factor = decisions(tuple(weights.shape)) * philox.scale(P)
        dropped, d_weights = weights * factor, (g @ v.mT) * factor
        out = dropped @ v
        delta = (g * out).sum(-1, keepdim=True)
        d_scores = weights * (d_weights - delta)
        error = 2 * u + noise + steps
        out_bound = error * (dropped @ v.abs())
        d_bound = weights * (error * ((g.abs() @ v.abs().mT) * factor + delta.abs()))
        d_bound += weights * (g.abs() * (out_bound + u * out.abs())).sum(-1, keepdim=True) + u * d_scores.abs()
        results = out, d_scores @ k * scale, d_scores.mT @ q * scale, dropped.mT @ g
        bounds = (
            out_bound,
            d_bound @ k.abs() * scale,
            d_bound.mT @ q.abs() * scale,
            error * (dropped.mT @ g.abs()),
        )
        shared = operands[1].shape[1]
        self.results = [*results[:2], *(_sum_groups(t, shared) for t in results[2:])]
        own = [*bounds[:2], *(_sum_groups(t, shared) for t in bounds[2:])]
        self.bounds = [b + u * r.abs() for b, r in zip(own, self.results, strict=True)]

    def check(self, results: list[torch.Tensor]) -> None:
        for mine, right, bound in zip(results, self.results, self.bounds, strict=True):
            assert mine.shape == right.shape
            assert bool(((mine.cpu().double() - right).abs() <= bound + 1e-12).all())


def _sum_groups(tensor: torch.Tensor, heads: int) -> torch.Tensor:
    return tensor.unflatten(1, (heads, -1)).sum(2)


@pytest.mark.usefixtures("on_triton")
@pytest.mark.parametrize(
    ("dtype", "mask", "length", "keys", "sizes", "heads"),
    [
        (torch.float32, "none", 128, 128, (16, 16), 2),
        (torch.float16, "none", 40, 50, (20, 33), 1),
        (torch.float32, "causal", 140, 128, (8, 16), 2),
        (torch.float16, "causal", 20, 140, (16, 16), 1),
        (torch.bfloat16, "causal", 40, 30, (16, 16), 2),
        (torch.bfloat16, "lengths", 33, 50, (32, 16), 2),
        (torch.float32, "bool", 40, 30, (16, 16), 1),
        (torch.float16, "bool", 20, 128, (16, 16), 2),
        (torch.float32, "float", 40, 30, (16, 16), 2),
        (torch.bfloat16, "float", 20, 128, (16, 16), 1),
    ],
)
def test_numbers_are_float64s(
    dtype: torch.dtype, mask: str, length: int, keys: int, sizes: tuple[int, int], heads: int
) -> None:
    torch.manual_seed(1)
    q, k, v = operands(dtype, length, keys, sizes, heads)
    given = MASKS[mask](length, keys)
    causal = mask == "causal"
    attn_mask = None if given is None or causal else given.to(DEVICE)
    out = thinned.scaled_dot_product_attention(
        q, k, v, attn_mask, P, causal, 0.3, enable_gqa=heads < 2, dropout_key=KEY, dropout_call=CALL
    )
    assert out.dtype == dtype
    grad = torch.randn(out.shape).to(dtype).to(DEVICE)
    grads = torch.autograd.grad(out, (q, k, v), grad)
    assert all(g.dtype == dtype for g in grads)
    Bounds((q, k, v), given, 0.3, grad).check([out.detach(), *grads])


@pytest.mark.usefixtures("on_triton")
def test_fewer_axes_give_the_same() -> None:
    q, k, v = (t[0, 0] for t in operands(torch.float32, 20, 24, (16, 16), 2))
    run = lambda *qkv: thinned.scaled_dot_product_attention(*qkv, dropout_p=P, dropout_key=KEY)  # noqa: E731
    assert torch.equal(run(q, k, v), run(q[None], k[None], v[None])[0])
    assert torch.equal(run(q, k, v), run(q[None, None, None], k[None, None, None], v[None, None, None])[0, 0, 0])


@pytest.mark.usefixtures("on_triton")
@pytest.mark.parametrize("p", [1.0, 1e-9])
def test_ends_of_the_rate(p: float) -> None:
    """All weights are dropped, or none."""
    q, k, v = operands(torch.float32, 20, 24, (16, 16), 2)
    out = thinned.scaled_dot_product_attention(q, k, v, dropout_p=p)
    grads = torch.autograd.grad(out.sum(), (q, k, v))
    plain = torch.nn.functional.scaled_dot_product_attention(q, k, v) * (p < 1)
    wanted = torch.autograd.grad(plain.sum(), (q, k, v))
    for mine, right in zip((out, *grads), (plain, *wanted), strict=True):
        torch.testing.assert_close(mine, right, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("on_triton")
def test_compiled_calls_follow_the_clock() -> None:
    """Key and call are tensors that the kernel reads: no graph is compiled anew, and the masks are those of eager."""
    q, k, v = (t.detach() for t in operands(torch.float32, 20, 24, (16, 16), 2))

    def run(call: torch.Tensor) -> torch.Tensor:
        return thinned.scaled_dot_product_attention(q, k, v, dropout_p=P, dropout_key=KEY, dropout_call=call)

    compiled = torch.compile(run, backend="aot_eager", fullgraph=True)
    for call in (torch.tensor(1, device=DEVICE), torch.tensor(2**40, device=DEVICE)):
        assert torch.equal(compiled(call), run(call))
    assert not torch.equal(compiled(call), run(call + 1))


def test_what_the_kernels_leave_to_torch() -> None:
    half = torch.zeros(2, 3, 64, dtype=torch.float16)
    assert supports(half, half, 1.0)
    assert not supports(half, half, -1.0)
    assert not supports(half.double(), half.double(), 1.0)
    assert not supports(torch.zeros(2, 3, 257), half, 1.0)
    assert not supports(half, half[:, :0], 1.0)


class _Attention(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.scaled_dot_product_attention(x, x, x, dropout_p=P if self.training else 0.0)


def test_a_converted_model_takes_the_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its masks stay those that the clock gives on the CPU."""
    x = operands(torch.float32, 20, 20, (16, 16), 2)[0].detach()
    outputs = []
    for impl in ("triton", "native"):
        if not x.is_cuda:
            monkeypatch.setattr(operator, "choice", lambda *_, impl=impl: Choice(impl, "the test says so"))
        model = _Attention()
        thinned.convert(model)
        thinned.address(model, seed=7)
        outputs.append(torch.stack([model(x) for _ in range(2)]))
    torch.testing.assert_close(*outputs, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(outputs[0][0], outputs[0][1])


@pytest.mark.parametrize(
    ("dtype", "size", "taken"),
    [(torch.float32, 128, True), (torch.float32, 136, False), (torch.float16, 256, True), (torch.float16, 264, False)],
)
def test_heads_that_fit_into_shared_memory(dtype, size, taken):
    operand = torch.zeros(1, 2, 3, size, dtype=dtype)
    assert supports(operand, operand, 1.0) is taken
