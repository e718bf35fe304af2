"""Gradients, transforms, compilation, the choice of a backend, and errors."""

import numpy as np
import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils.checkpoint import checkpoint

from thinned import functional, ops

# torch scripts its own decompositions when forward-mode AD is first used
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")

KEYS = torch.tensor([7, 8, 9])
RATES = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)


def double(*shape):
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


VARIANTS = {
    "plain": lambda x: functional.dropout(x, 0.3, key=3),
    "shared": lambda x: functional.dropout(x, 0.3, key=3, shared=(1,)),
    "members": lambda x: functional.dropout(x, RATES, key=KEYS),
    "slice": lambda x: functional.dropout(x, 0.3, key=3, within=((5, 20), (1, 2))),
    "aten": lambda x: functional.dropout(x, 0.3, key=3, impl="aten"),
    "reference": lambda x: functional.dropout(x, 0.3, key=3, impl="reference"),
    "alpha": lambda x: functional.alpha_dropout(x, 0.3, True, key=3),
    "gaussian": lambda x: functional.gaussian_dropout(x, 0.3, key=3),
    "in place": lambda x: functional.dropout(x.clone(), 0.3, inplace=True, key=3),
    "add": lambda x: functional.dropout_add(x * 2, x, 0.3, key=3),
    "tensor address": lambda x: functional.dropout(x, RATES[0], key=KEYS[0], call=KEYS[1]),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_gradients(variant):
    """Against finite differences, forward and backward, first and second order."""
    x = double(3, 10)
    assert torch.autograd.gradcheck(VARIANTS[variant], x, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(VARIANTS[variant], x)


def test_gradients_of_a_sum():
    x, residual = double(3, 10), double(3, 10)
    assert torch.autograd.gradcheck(
        lambda *a: functional.dropout_add(*a, 0.3, key=3), (x, residual), check_forward_ad=True
    )
    out = functional.dropout_add(x, residual, 0.3, key=3)
    grad = torch.randn_like(out)
    to_residual = torch.autograd.grad(out, residual, grad)[0]
    assert torch.equal(to_residual, grad)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_backward_is_dropout_at_the_same_address(dtype):
    x = torch.randn(1000, dtype=dtype, requires_grad=True)
    grad = torch.randn(1000, dtype=dtype)
    functional.dropout(x, 0.3, key=3, call=4).backward(grad)
    assert torch.equal(x.grad, functional.dropout(grad, 0.3, key=3, call=4))
    x.grad = None
    functional.dropout(x, 0.3, key=3, call=4).sum().backward()  # a gradient of stride 0
    assert torch.equal(x.grad, functional.dropout(torch.ones_like(x), 0.3, key=3, call=4))


@pytest.mark.parametrize("variant", ["plain", "shared", "alpha", "gaussian", "add"])
def test_nothing_is_saved_for_backward(variant):
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        x = torch.randn(3, 10, requires_grad=True)
        VARIANTS[variant](x)
    assert sum(t.numel() * t.element_size() for t in saved) == 0


def test_in_place_bumps_the_version_and_spares_leaves():
    x = torch.randn(10)
    functional.dropout(x, 0.5, inplace=True)
    assert x._version == 1
    weight = torch.randn(10, requires_grad=True)
    held = weight.detach().clone()
    with pytest.raises(RuntimeError, match="a leaf Variable that requires grad is being used in an in-place operation"):
        functional.dropout(weight, 0.5, inplace=True)
    assert torch.equal(weight, held)
    squared = weight**2
    used = squared.sin()
    functional.dropout(squared, 0.5, inplace=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        used.sum().backward()


def test_drawn_keys_follow_the_default_generator():
    x = torch.ones(64)
    torch.manual_seed(1)
    first, second = functional.dropout(x), functional.dropout(x)
    assert not torch.equal(first, second)
    torch.manual_seed(1)
    assert torch.equal(functional.dropout(x), first)
    with torch.random.fork_rng():
        forked = functional.dropout(x)
    assert torch.equal(forked, second)
    assert torch.equal(functional.dropout(x), second)


def test_checkpointing_sees_the_same_mask():
    x = torch.randn(100, requires_grad=True)
    for reentrant in (False, True):
        torch.manual_seed(2)
        plain = torch.autograd.grad(functional.dropout(x * 2, 0.5).pow(2).sum(), x)[0]
        torch.manual_seed(2)
        out = checkpoint(lambda v: functional.dropout(v * 2, 0.5), x, use_reentrant=reentrant).pow(2).sum()
        x.grad = None
        out.backward()
        assert torch.equal(x.grad, plain)


def test_functional_transforms():
    x = torch.randn(3, 10)
    one = torch.func.grad(lambda v: functional.dropout(v, 0.5, key=7).sum())(x[0])
    assert torch.equal(one, functional.dropout(torch.ones(10), 0.5, key=7))
    members = functional.dropout(torch.ones(3, 10), RATES, key=KEYS)

    def loss(v, p, key):
        return functional.dropout(v, p, key=key).sum()

    assert torch.equal(torch.func.vmap(torch.func.grad(loss))(x, RATES, KEYS), members)
    inside = torch.func.grad(lambda v: torch.func.vmap(loss)(v, RATES, KEYS).sum())(x)
    assert torch.equal(inside, members)
    value, tangent = torch.func.jvp(lambda v: functional.dropout(v, 0.5, key=7), (x,), (2 * x,))
    assert torch.equal(tangent, 2 * value)
    assert torch.equal(
        torch.func.jacrev(lambda v: functional.dropout(v, 0.5, key=7))(x[0]),
        torch.func.jacfwd(lambda v: functional.dropout(v, 0.5, key=7))(x[0]),
    )
    _, tangent = torch.func.jvp(lambda v, r: functional.dropout_add(v, r, 0.5, key=7), (x, x), (2 * x, x))
    assert torch.equal(tangent, 2 * value + x)


def test_autograd_outside_vmap():
    x = torch.randn(3, 4, 10, requires_grad=True)
    out = torch.func.vmap(lambda v, p, key: functional.dropout(v, p, key=key))(x, RATES, KEYS)
    out.sum().backward()
    assert torch.equal(x.grad, functional.dropout(torch.ones(3, 4, 10), RATES, key=KEYS))


def test_vmap_randomness():
    x = torch.ones(4, 64)

    def drawn(randomness, function=functional.dropout, x=x):
        return torch.func.vmap(function, randomness=randomness)(x)

    with pytest.raises(RuntimeError, match="randomness"):
        drawn("error")
    same = drawn("same")
    assert torch.equal(same[0], same[3])
    different = drawn("different")
    assert len({tuple(row.tolist()) for row in different}) == 4
    unbatched = drawn("different", lambda i: functional.dropout(x[0]) + 0 * i, torch.zeros(4))
    assert len({tuple(row.tolist()) for row in unbatched}) == 4


def test_call_is_not_batched():
    with pytest.raises(NotImplementedError, match="call must be the same for all members; it is batched by vmap"):
        torch.func.vmap(lambda c: functional.dropout(torch.ones(4), 0.5, key=1, call=c))(KEYS)


def test_compiled_calls_do_not_recompile():
    def step(x, p, key, call):
        return functional.dropout(x, p, key=key, call=call) * 2

    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    x = torch.randn(50)
    with torch._dynamo.config.patch(error_on_recompile=True):
        for call in range(3):
            for p in RATES:
                out = compiled(x, p, KEYS[0], torch.tensor(call))
                assert torch.equal(out, step(x, float(p), 7, call))


def test_compiled_draws_equal_eager_draws():
    torch.compiler.reset()  # what other tests compiled has made numbers dynamic
    compiled = torch.compile(functional.dropout, fullgraph=True, backend="aot_eager")
    x = torch.ones(200, requires_grad=True)
    torch.manual_seed(5)
    eager = [functional.dropout(x, 0.5) for _ in range(3)]
    torch.manual_seed(5)
    for expected in eager:
        out = compiled(x, 0.5)
        assert torch.equal(out, expected)
        assert torch.equal(torch.autograd.grad(out.sum(), x)[0], out)  # x is 1: the backward mask is the forward's


@pytest.mark.slow
def test_compiled_by_inductor():
    compiled = torch.compile(functional.dropout, fullgraph=True)
    x = torch.ones(200)
    torch.manual_seed(5)
    expected = functional.dropout(x, 0.5)
    torch.manual_seed(5)
    assert torch.equal(compiled(x, 0.5), expected)


def test_traced_graphs_hold_the_operator():
    graph = make_fx(lambda x: functional.dropout(x, 0.5, key=1))(torch.ones(5))
    assert "torch.ops.thinned.dropout.default" in graph.code
    assert torch.equal(graph(torch.ones(5)), functional.dropout(torch.ones(5), 0.5, key=1))
    meta = functional.dropout(torch.empty(3, 4, device="meta"), 0.5)
    assert meta.shape == (3, 4)


def test_operators_are_registered_properly():
    address = (RATES[1], KEYS[0], torch.tensor(0))
    x = torch.randn(5, 6, requires_grad=True)
    for residual, form in ((None, 0), (torch.randn(5, 6), 1), (None, 2), (None, 4)):
        torch.library.opcheck(torch.ops.thinned.dropout.default, (x, residual, *address, [], [], [], form, "auto"))
    torch.library.opcheck(torch.ops.thinned.draw_keys.default, (x,))


def test_choice_tells_what_runs_and_why():
    x = torch.ones(3)
    assert ops.choice(x).impl == "native"
    assert ops.choice(x).reason.startswith("x is on the CPU; instruction set ")
    assert ops.choice(x, "aten") == ("aten", "named by the caller")
    meta = ops.choice(torch.empty(3, device="meta"))
    assert meta == ("aten", "x is on meta, and the kernels are for CPU, CUDA and ROCm")
    eight = x.to(torch.float8_e4m3fn)
    assert ops.choice(eight).impl == "aten"
    assert torch.equal(functional.dropout(eight, 0.5, key=1).float(), functional.dropout(x, 0.5, key=1))
    every = torch.arange(256, dtype=torch.uint8)
    kept = functional.dropout(every.view(torch.float8_e5m2), torch.tensor(0.0), key=1)
    assert torch.equal(kept.view(torch.uint8), every)  # NaNs too


ERRORS = [
    ({"p": 1.3}, ValueError, "p must lie in [0, 1]; got p=1.3"),
    ({"p": -0.1}, ValueError, "p must lie in [0, 1]; got p=-0.1"),
    ({"p": float("nan")}, ValueError, "p must lie in [0, 1]; got p=nan"),
    ({"p": torch.tensor(1.5)}, ValueError, "p must lie in [0, 1]; got p=1.5"),
    ({"p": torch.tensor([0.1, 2.0, 0.3])}, ValueError, "p must lie in [0, 1]; got p[1]=2.0"),
    ({"p": torch.tensor([0.1, float("nan"), 0.3])}, ValueError, "p must lie in [0, 1]; got p[1]=nan"),
    ({"p": torch.tensor([0.1, 0.2])}, ValueError, "p must be one number or one for each x[m]; got p of shape (2,)"),
    ({"key": torch.tensor([1, 2])}, ValueError, "key must be one number or one for each x[m]; got key of shape (2,)"),
    ({"p": "a"}, TypeError, "p must be a number in [0, 1]; got p='a'"),
    (
        {"input": torch.ones(3, 4, dtype=torch.int64)},
        RuntimeError,
        "dropout needs a floating-point tensor; got torch.int64",
    ),
    ({"input": torch.ones(3, 4, dtype=torch.complex64)}, RuntimeError, "got torch.complex64; convert it first"),
    ({"input": torch.ones(3, 4, dtype=torch.bool)}, RuntimeError, "got torch.bool; convert it first"),
    ({"impl": "cuda"}, ValueError, "impl must be one of auto, native, triton, aten, reference; got impl='cuda'"),
    ({"shared": (2,)}, IndexError, "shared axes must lie in [-2, 1]; got 2"),
    ({"shared": (0, -2)}, ValueError, "shared axes must differ from each other; got shared=(0, -2)"),
    (
        {"within": ((3,), (0,))},
        ValueError,
        "input must lie within the full shape; got input of shape (3, 4), full shape (3,)",
    ),
    ({"within": ((5, 5), (0, 2))}, ValueError, "full shape (5, 5) and start (0, 2)"),
    ({"within": ((5, 5), (-1, 0))}, ValueError, "full shape (5, 5) and start (-1, 0)"),
    (
        {"input": torch.empty(3, 4, device="meta"), "impl": "native"},
        NotImplementedError,
        "the native backend needs a CPU tensor; got one on meta; use impl='aten' or 'auto'",
    ),
    (
        {"input": torch.ones(3, 4).to(torch.float8_e5m2), "impl": "native"},
        NotImplementedError,
        "the native backend takes f32, f64, bf16 and f16; got torch.float8_e5m2; use impl='aten' or 'auto'",
    ),
]


@pytest.mark.parametrize(("change", "error", "message"), ERRORS, ids=[message[:60] for *_, message in ERRORS])
def test_errors(change, error, message):
    arguments = {"input": torch.ones(3, 4), "p": 0.5, "key": 1} | change
    with pytest.raises(error) as caught:
        functional.dropout(**arguments)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "residual",
    [torch.ones(4), torch.ones(3, 4, dtype=torch.float64), torch.ones(3, 4, device="meta")],
    ids=["shape", "dtype", "device"],
)
def test_residuals_that_do_not_match(residual):
    with pytest.raises(RuntimeError, match="residual must have the shape, dtype and device of input; got "):
        functional.dropout_add(torch.ones(3, 4), residual, 0.5)


def test_gaussian_noise_has_no_rate_1():
    with pytest.raises(ValueError, match=r"p must lie in \[0, 1\) for Gaussian noise; got p=1.0"):
        functional.gaussian_dropout(torch.ones(3), 1.0)


def test_dropped_nan_and_infinity_become_0():
    x = torch.full((64,), float("nan"))
    x[::2] = float("inf")
    for impl in ("native", "aten", "reference"):
        out = functional.dropout(x, 0.5, key=1, impl=impl)
        kept = functional.dropout(torch.ones(64), 0.5, key=1) != 0
        assert torch.equal(out[~kept], torch.zeros(int((~kept).sum())))
        assert not out[kept].isfinite().any()
        assert np.signbit(out[~kept].numpy()).sum() == 0
