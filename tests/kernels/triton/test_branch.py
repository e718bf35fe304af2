"""``bias_dropout_add`` as one kernel, against its parts."""

import pytest
import torch
from torch.autograd import forward_ad

pytest.importorskip("triton")

from thinned import functional

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
pytestmark = pytest.mark.filterwarnings("ignore:(overflow|underflow|invalid value) encountered:RuntimeWarning")


def operands(rows, width, dtype):
    generator = torch.Generator().manual_seed(width)
    shapes = ((rows, width), (width,), (rows, width), (rows, width))
    return [torch.randn(shape, generator=generator).to(dtype).to(DEVICE) for shape in shapes]


def both(rows, width, dtype, impl, **options):
    """Output and gradients in float64."""
    *leaves, grad = operands(rows, width, dtype)
    if impl == "reference":
        leaves, grad = [t.cpu().double() for t in leaves], grad.cpu().double()
    leaves = [t.requires_grad_() for t in leaves]
    out = functional.bias_dropout_add(*leaves, 0.3, key=9, call=2, impl=impl, **options)
    return [t.cpu().double() for t in (out, *torch.autograd.grad(out, leaves, grad))]


@pytest.mark.parametrize("activation", ["identity", "relu", "gelu", "gelu_tanh", "silu"])
@pytest.mark.parametrize("width", [48, 128])
def test_against_its_parts_in_float64(activation, width):
    """Float32: ten roundings of numbers below 10, summed over 6 rows; measured 2e-6."""
    for ours, expected in zip(
        both(6, width, torch.float32, "triton", activation=activation),
        both(6, width, torch.float32, "reference", activation=activation),
        strict=True,
    ):
        assert (ours - expected).abs().max() < 2e-5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_is_rounded_once(dtype):
    """Half an ulp of numbers below 8, and the rounding of the float32 results; the bias's gradient sums 3 of them."""
    for ours, expected in zip(
        both(3, 130, dtype, "triton", activation="gelu"),
        both(3, 130, dtype, "reference", activation="gelu"),
        strict=True,
    ):
        assert (ours - expected).abs().max() <= 16 * torch.finfo(dtype).eps


def test_the_mask_is_that_of_dropout():
    x = torch.ones(5, 200, device=DEVICE)
    for p in (0.0, 0.4, 1.0):
        out = functional.bias_dropout_add(x, p=p, key=9, impl="triton")
        assert torch.equal(out.cpu(), functional.dropout(x.cpu(), p, key=9))
    rate = torch.tensor(1.0, dtype=torch.float64, device=DEVICE)
    infinite = functional.bias_dropout_add(x * float("inf"), residual=x, p=rate, key=9, impl="triton")
    assert torch.equal(infinite, x)


@pytest.mark.parametrize("impl", ["triton", "native"])
def test_a_bias_of_a_wider_dtype(impl):
    """As under autocast: bf16 numbers from a product, a float32 bias. Half an ulp of numbers below 16, thrice."""
    device = DEVICE if impl == "triton" else "cpu"
    x, residual = (torch.randn(4, 300, device=device).bfloat16() for _ in range(2))
    bias = torch.randn(300, device=device)
    ours = functional.bias_dropout_add(x, bias, residual, 0.5, key=3, impl=impl)
    expected = functional.bias_dropout_add(x.double(), bias.double(), residual.double(), 0.5, key=3)
    assert ours.dtype is torch.bfloat16
    assert (ours.double() - expected).abs().max() <= 48 * torch.finfo(torch.bfloat16).eps


def test_no_columns():
    x = torch.randn(3, 0, device=DEVICE, requires_grad=True)
    bias = torch.randn(0, device=DEVICE, requires_grad=True)
    out = functional.bias_dropout_add(x, bias, p=0.5, key=3, impl="triton")
    assert [g.shape for g in torch.autograd.grad(out.sum(), (x, bias))] == [x.shape, bias.shape]


@pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")
def test_dual_numbers():
    x, tangent = torch.randn(3, 20, device=DEVICE), torch.randn(3, 20, device=DEVICE)
    with forward_ad.dual_level():
        out = functional.bias_dropout_add(forward_ad.make_dual(x, tangent), p=0.3, key=1, impl="triton")
        found = forward_ad.unpack_dual(out).tangent
    assert torch.equal(found, functional.dropout(tangent, 0.3, key=1))


def test_second_derivative():
    x = torch.randn(4, 16, dtype=torch.float32, device=DEVICE, requires_grad=True)
    grads = []
    for impl in ("triton", "aten"):
        out = functional.bias_dropout_add(x, p=0.3, activation="silu", key=9, impl=impl)
        (first,) = torch.autograd.grad(out.square().sum(), x, create_graph=True)
        grads.append(torch.autograd.grad(first.square().sum(), x)[0])
    torch.testing.assert_close(*grads, rtol=1e-4, atol=1e-4)


def test_in_a_graph():
    x, bias, residual, _ = operands(3, 40, torch.float32)

    def function(x):
        return functional.bias_dropout_add(x, bias, residual, 0.3, activation="gelu", key=9, impl="triton")

    out = torch.compile(function, backend="aot_eager", fullgraph=True)(x.requires_grad_())
    assert torch.equal(out, function(x))
    ones = torch.ones_like(out)
    assert torch.equal(torch.autograd.grad(out, x, ones)[0], torch.autograd.grad(function(x), x, ones)[0])
