"""``bias_dropout_add`` as one kernel, against its parts."""

import pytest
import torch

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
