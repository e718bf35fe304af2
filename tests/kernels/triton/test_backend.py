"""impl="triton" gives the reference's bits."""

import itertools

import pytest
import torch
from bitwise import same_bits, values

pytest.importorskip("triton")

from thinned import functional
from thinned.ops.backends import choice

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
FORMS = (functional.dropout, functional.alpha_dropout, functional.gaussian_dropout)
# the interpreter computes with NumPy, which warns of what IEEE 754 defines
pytestmark = pytest.mark.filterwarnings("ignore:(overflow|underflow|invalid value) encountered:RuntimeWarning")
KEY, CALL = 0x923456789ABCDEF0, 2**40 + 3


def both(function, x, p, **arguments):
    """A function on the device and by the reference."""
    given = {name: v.to(DEVICE) if isinstance(v, torch.Tensor) else v for name, v in arguments.items()}
    out = function(x.to(DEVICE), p.to(DEVICE) if isinstance(p, torch.Tensor) else p, True, impl="triton", **given)
    return out.cpu(), function(x, p, True, impl="reference", **arguments)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("function", FORMS)
def test_contiguous(dtype, function):
    for n, p in itertools.product((1, 65, 1300), (0.0, 0.3, 1.0)):
        if p == 1.0 and function is functional.gaussian_dropout:
            continue
        same_bits(*both(function, values(n, dtype), p, key=KEY, call=CALL))


def stored(shape, order, dtype=torch.float32):
    """A dense tensor of ``shape`` whose memory has the axes in ``order``, outermost first."""
    inverse = [order.index(axis) for axis in range(len(shape))]
    return torch.randn([shape[axis] for axis in order]).to(dtype).permute(inverse)


@pytest.mark.parametrize("shared", [(), (0,), (1,), (2,), (1, 2), (0, 1, 2)], ids=str)
@pytest.mark.parametrize(
    ("shape", "order"), [((2, 3, 70), (0, 1, 2)), ((2, 3, 140), (0, 2, 1)), ((2, 3, 4), (2, 1, 0))]
)
def test_every_stride_order(shared, shape, order):
    x = stored(shape, order)
    same_bits(*both(functional.dropout, x, 0.4, key=KEY, shared=shared))
    assert functional.dropout(x.to(DEVICE), 0.4, key=KEY, shared=shared, impl="triton").stride() == x.stride()


def test_rows_that_lie_far_apart():
    """128 rows reach beyond 2^31 elements; on a CPU, memory that nothing touches costs none."""
    x = torch.empty(130, 20_000_000, dtype=torch.float16, device=DEVICE)[:, :4].t()
    x.copy_(torch.randn(4, 130))
    found = functional.dropout(x, 0.5, key=1, impl="triton")
    assert torch.equal(found.cpu(), functional.dropout(x.cpu(), 0.5, key=1))


def test_transposed_by_groups():
    """Columns that begin anywhere within groups, and more rows than a program does."""
    for rows, columns in ((700, 5), (256, 3)):
        x = torch.randn(columns, rows).t().contiguous().t()
        same_bits(*both(functional.dropout, x, 0.4, key=KEY, call=CALL))
        residual = torch.randn(columns, rows).to(DEVICE)
        out = functional.dropout_add(x.to(DEVICE), residual, 0.4, key=KEY, impl="triton")
        same_bits(out.cpu(), residual.cpu() + functional.dropout(x, 0.4, key=KEY))
    p = torch.tensor([0.0, 1.0], dtype=torch.float64)
    members = torch.randn(2, 3, 70).transpose(1, 2).contiguous().transpose(1, 2)
    members[1, 0, :9] = float("inf")
    same_bits(*both(functional.dropout, members, p, key=torch.tensor([3, 4])))


@pytest.mark.parametrize("function", FORMS)
def test_other_forms_of_other_layouts(function):
    x = stored((2, 4, 3, 6), (2, 0, 3, 1), torch.bfloat16)
    for shared in ((), (2, 3)):
        same_bits(*both(function, x, 0.4, key=KEY, call=CALL, shared=shared))


def test_views_residuals_and_in_place():
    """Steps, broadcast axes, in-place on a view, and a residual of other strides than x."""
    base = torch.randn(4, 170)
    for x in (base[::2], base[:, ::3], base[1:3, 7:101], base[:1].expand(2, 170), base[:, :1].expand(4, 33)):
        same_bits(*both(functional.dropout, x, 0.5, key=3))
        residual = torch.randn(x.shape[::-1]).t().to(DEVICE)
        out = functional.dropout_add(x.to(DEVICE), residual, 0.5, key=3, impl="triton")
        same_bits(out.cpu(), residual.cpu() + functional.dropout(x, 0.5, key=3, impl="reference"))
    held = base.clone().to(DEVICE)
    view = held[1::2, 10:130]
    expected = functional.dropout(view.cpu().contiguous(), 0.5, key=3, impl="reference")
    assert functional.dropout(view, 0.5, inplace=True, key=3, impl="triton") is view
    same_bits(view.cpu(), expected)
    assert torch.equal(held.cpu()[::2], base[::2])
    assert torch.equal(held.cpu()[:, 130:], base[:, 130:])


def test_more_axes_than_a_kernel_has():
    x = torch.randn(3, 1, 3, 3, 3, 3, 4)[::2, :, ::2, :2, ::2, :2, ::3]
    same_bits(*both(functional.dropout, x, 0.5, key=3))
    key = torch.tensor([3, -7])
    same_bits(*both(functional.dropout, x, 0.5, key=key))


@pytest.mark.parametrize("start", [0, 1, 127, 128, 129, 2**32 - 1, 2**35 - 130, 2**35 - 1, 2**39 + 77])
def test_offsets(start):
    """A slice gets its slice of the mask, also where the block's number needs its upper word (index 2^35)."""
    for n in (5, 300):
        same_bits(*both(functional.dropout, torch.ones(n), 0.4, key=99, call=2, within=((2**40,), (start,))))
    rows = torch.randn(3, 200)
    same_bits(*both(functional.dropout, rows, 0.4, key=9, within=((2**33, 1000), (start >> 10, start % 700))))
    if start == 129:
        same_bits(*both(functional.gaussian_dropout, rows, 0.4, key=9, within=((2**33, 1000), (start, 7))))


def test_members():
    """Row m is dropout of row m at its own key and rate."""
    key, p = torch.tensor([7, -1, 1 << 62, 0]), torch.tensor([0.0, 0.1, 0.9, 1.0], dtype=torch.float64)
    for shape in ((), (16,), (3, 43), (5, 128)):
        x = torch.randn(4, *shape)
        for arguments in ({"key": key}, {"key": 9}, {"key": key, "call": CALL}):
            for rate in (p, 0.5):
                if rate is p or arguments["key"] is key:  # one of them makes members
                    same_bits(*both(functional.dropout, x, rate, **arguments))
        same_bits(*both(functional.alpha_dropout, x, p, key=key))
        same_bits(*both(functional.gaussian_dropout, x, p.clamp(max=0.9), key=key))
    x = stored((4, 6, 30), (2, 0, 1))
    for shared in ((), (0,), (1,)):
        same_bits(*both(functional.dropout, x, p, key=key, shared=shared))


def test_a_dropped_infinity_is_zero_at_rate_one():
    x = torch.tensor([float("inf"), float("nan"), -float("inf")] * 50, device=DEVICE).expand(2, 150)
    p = torch.tensor([1.0, 0.0], dtype=torch.float64, device=DEVICE)
    out = functional.dropout(x, p, key=3, impl="triton")
    assert torch.equal(out[0].cpu(), torch.zeros(150))
    same_bits(out[1], x[1])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_dropout_add_is_the_sum(dtype, p):
    x, residual = (v.to(DEVICE) for v in (values(1003, dtype), values(1003, dtype).flip(0).contiguous()))
    out = functional.dropout_add(x, residual, p, key=5, impl="triton")
    same_bits(out, residual + functional.dropout(x, p, key=5, impl="triton"))


def test_gradient():
    x = torch.randn(300, device=DEVICE, requires_grad=True)
    for function in (functional.dropout, functional.gaussian_dropout):
        ones = torch.ones(300, device=DEVICE)
        (grad,) = torch.autograd.grad(function(x, 0.4, True, key=5, impl="triton"), x, ones)
        same_bits(grad, function(ones, 0.4, True, key=5, impl="triton"))


def test_numbers_as_tensors():
    """Key, call and rate as 0-dim tensors, in a graph of torch.compile's and out of it."""
    x = torch.randn(400, device=DEVICE)
    expected = functional.dropout(x.cpu(), 0.3, key=KEY - 2**64, call=CALL, impl="reference")
    numbers = [torch.tensor(v, device=DEVICE) for v in (KEY - 2**64, CALL)]
    rate = torch.tensor(0.3, dtype=torch.float64, device=DEVICE)
    same_bits(functional.dropout(x, rate, key=numbers[0], call=numbers[1], impl="triton").cpu(), expected)
    compiled = torch.compile(functional.dropout, backend="aot_eager", fullgraph=True)
    same_bits(compiled(x, rate, key=numbers[0], call=numbers[1], impl="triton").cpu(), expected)


def test_vmap():
    key, p = torch.tensor([7, 8, 9], device=DEVICE), torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64, device=DEVICE)
    x = torch.randn(3, 4, 50, device=DEVICE)
    out = torch.func.vmap(lambda *a: functional.dropout(a[0], a[1], key=a[2], impl="triton"))(x, p, key)
    same_bits(out, functional.dropout(x, p, key=key, impl="triton"))


def test_what_it_refuses():
    with pytest.raises(NotImplementedError, match="takes f32, bf16 and f16; got torch"):
        functional.dropout(torch.ones(3, dtype=torch.float64), impl="triton")
    assert choice(torch.ones(3), "triton").impl == "triton"
    assert choice(torch.ones(3)).impl == "native"
