"""The decision follows the logical index, whatever the strides; the output keeps the input's memory format."""

import itertools

import pytest
import torch
from bitwise import BACKENDS, DTYPES, backend, same_bits, threads
from hypothesis import given, settings
from hypothesis import strategies as st

from thinned import functional

NATIVE = [name for name in BACKENDS if name != "aten"]
SHAPES = [(300, 70), (3, 5, 7), (4, 40, 33), (2, 9, 8, 31), (2, 64, 7, 7), (2, 300, 3), (1, 260, 520)]


def stored(shape, order, dtype=torch.float32):
    """A dense tensor of ``shape`` whose memory has the axes in ``order``, outermost first."""
    inverse = [order.index(axis) for axis in range(len(shape))]
    generator = torch.Generator().manual_seed(1)
    return torch.randn([shape[axis] for axis in order], generator=generator).to(dtype).permute(inverse)


@pytest.mark.parametrize("name", NATIVE)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_stride_order(name, shape):
    rank = len(shape)
    for shared in {(), (0,), (1,), (rank - 1,), tuple(range(1, rank)), tuple(range(2, rank)), tuple(range(rank))}:
        whole = functional.dropout(torch.ones(shape), 0.4, key=11, call=3, shared=shared, impl="reference")
        for order in itertools.permutations(range(rank)):
            x = stored(shape, order)
            expected = torch.where(whole != 0, x * whole, 0)
            with backend(name) as impl:
                out = functional.dropout(x, 0.4, key=11, call=3, shared=shared, impl=impl)
                assert out.stride() == x.stride()
                same_bits(out, expected)
                y = x.clone()
                same_bits(functional.dropout(y, 0.4, inplace=True, key=11, call=3, shared=shared, impl=impl), expected)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", NATIVE)
def test_channels_last_in_every_dtype(name, dtype):
    x = stored((2, 40, 9, 20), (0, 2, 3, 1), dtype)
    for shared in ((), (2, 3)):
        expected = functional.dropout(x, 0.4, key=11, shared=shared, impl="reference")
        with backend(name) as impl:
            same_bits(functional.dropout(x, 0.4, key=11, shared=shared, impl=impl), expected)
            residual = torch.ones_like(x)
            same_bits(functional.dropout_add(x, residual, 0.4, key=11, shared=shared, impl=impl), residual + expected)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (0, 2, 3, 1), (3, 2, 1, 0)])
def test_threads(order):
    x = stored((8, 32, 20, 40), order)
    for shared in ((), (2, 3)):
        expected = functional.dropout(x, 0.4, key=11, shared=shared, impl="aten")
        for count in (1, 2, 5):
            with threads(count):
                same_bits(functional.dropout(x, 0.4, key=11, shared=shared, impl="native"), expected)


@pytest.mark.parametrize("name", BACKENDS)
def test_views(name):
    """Steps, broadcast axes, in-place on a view, and a residual of other strides than x."""
    base = torch.randn(60, 80)
    with backend(name) as impl:
        for x in (base[::2], base[:, ::3], base[5:50, 7:71], base[:1].expand(40, 80), base[:, :1].expand(60, 33)):
            expected = functional.dropout(x.contiguous(), 0.5, key=3, impl="reference")
            same_bits(functional.dropout(x, 0.5, key=3, impl=impl), expected)
            residual = torch.randn(x.shape[::-1]).t()
            same_bits(functional.dropout_add(x, residual, 0.5, key=3, impl=impl), residual + expected)
        held = base.clone()
        view = held[1::2, 10:30]
        expected = functional.dropout(view.contiguous(), 0.5, key=3, impl="reference")
        functional.dropout(view, 0.5, inplace=True, key=3, impl=impl)
        same_bits(view, expected)
        assert torch.equal(held[::2], base[::2])
        assert torch.equal(held[:, 30:], base[:, 30:])


@pytest.mark.parametrize("name", BACKENDS)
def test_members_of_any_strides(name):
    key, p = torch.tensor([7, 8, 9, 10]), torch.tensor([0.0, 0.5, 0.9, 1.0], dtype=torch.float64)
    for order in ((0, 1, 2), (1, 0, 2), (2, 1, 0)):
        x = stored((4, 30, 50), order)
        for shared in ((), (0,), (1,)):
            rows = [
                functional.dropout(x[m], float(p[m]), key=int(key[m]), shared=shared, impl="reference")
                for m in range(4)
            ]
            with backend(name) as impl:
                same_bits(functional.dropout(x, p, key=key, shared=shared, impl=impl), torch.stack(rows))
    with backend(name) as impl:
        one = torch.randn(30, 50)
        out = functional.dropout(one.expand(4, 30, 50), p, key=key[:1].expand(4), impl=impl)
        same_bits(out[1], functional.dropout(one, 0.5, key=7, impl="reference"))


@st.composite
def cases(draw):
    shape = draw(st.lists(st.integers(1, 40), min_size=1, max_size=4))
    return {
        "shape": shape,
        "order": draw(st.permutations(range(len(shape)))),
        "shared": draw(st.sets(st.integers(0, len(shape) - 1))),
        "before": [draw(st.integers(0, 200)) for _ in shape],
        "after": [draw(st.integers(0, 200)) for _ in shape],
        "dtype": draw(st.sampled_from(DTYPES)),
        "threads": draw(st.sampled_from([1, 2, 5])),
    }


@settings(max_examples=150)
@given(cases())
def test_slices_of_any_layout(case):
    shape, start = case["shape"], case["before"]
    full = [a + b + c for a, b, c in zip(start, shape, case["after"], strict=True)]
    x = stored(shape, list(case["order"]), case["dtype"])
    where = {"key": 5, "call": 1 << 40, "shared": tuple(case["shared"]), "within": (full, start)}
    expected = functional.dropout(x, 0.3, impl="reference", **where)
    for name in BACKENDS:
        with threads(case["threads"]), backend(name) as impl:
            same_bits(functional.dropout(x, 0.3, impl=impl, **where), expected)
