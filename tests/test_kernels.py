"""Every backend, instruction set, thread count and cut of a tensor gives the reference's bits."""

import contextlib

import pytest
import torch

from thinned import _native, functional
from thinned.kernels import native

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
SIZES = (0, 1, 15, 16, 17, 127, 128, 129, 255, 1000, 4095, 4096, 4097)
BACKENDS = [*(f"native-{isa}" for isa in _native.isas()), "aten"]


@contextlib.contextmanager
def backend(name):
    """The ``impl`` of a backend, with its instruction set in use."""
    chosen = native.isa()
    impl, _, isa = name.partition("-")
    if isa:
        native.use_isa(isa)
    try:
        yield impl
    finally:
        native.use_isa(chosen)


@contextlib.contextmanager
def threads(count):
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def bits(x):
    """The bits of a tensor, so that -0 and 0 differ and NaN equals itself."""
    return x.contiguous().view({1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[x.dtype.itemsize])


def same_bits(a, b):
    """Equal bit for bit, but for the payload of a NaN: torch's own conversion to bf16 does not keep it."""
    assert a.dtype == b.dtype
    assert a.shape == b.shape
    assert torch.equal(a.isnan(), b.isnan())
    assert torch.equal(
        bits(a.nan_to_num(0.0, float("inf"), -float("inf"))), bits(b.nan_to_num(0.0, float("inf"), -float("inf")))
    )


def values(n, dtype):
    """Every kind of number: normal, subnormal, zeros of both signs, infinities, NaN, and such that overflow."""
    generator = torch.Generator().manual_seed(n)
    x = torch.randn(n, generator=generator, dtype=torch.float64)
    finfo = torch.finfo(dtype)
    special = [0.0, -0.0, float("inf"), float("-inf"), float("nan"), finfo.max, finfo.min, finfo.tiny, finfo.tiny / 8]
    x[: len(special)] = torch.tensor(special, dtype=torch.float64)[:n]
    return x.to(dtype)


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("p", [0.0, 1e-9, 0.1, 0.5, 0.9, 0.99999, 1.0])
def test_contiguous(name, dtype, p):
    for n in SIZES:
        x = values(n, dtype)
        expected = functional.dropout(x, p, key=0x123456789ABCDEF0, call=n, impl="reference")
        with backend(name) as impl:
            same_bits(functional.dropout(x, p, key=0x123456789ABCDEF0, call=n, impl=impl), expected)
            y = x.clone()
            assert functional.dropout(y, p, inplace=True, key=0x123456789ABCDEF0, call=n, impl=impl) is y
            same_bits(y, expected)


@pytest.mark.parametrize("name", [name for name in BACKENDS if name != "aten"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_threads(name, dtype):
    x = values(300_001, dtype)
    with threads(1):
        expected = functional.dropout(x, 0.3, key=5, impl="aten")
    for count in (1, 2, 5):
        with threads(count), backend(name) as impl:
            same_bits(functional.dropout(x, 0.3, key=5, impl=impl), expected)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_instruction_sets_agree_on_every_bit(dtype):
    """Also on the payload of a NaN, over all 65,536 values of a half-precision type."""
    every = torch.arange(-(1 << 15), 1 << 15).to(torch.int16)
    x = every.view(dtype) if dtype.itemsize == 2 else values(70_000, dtype)
    outs = []
    for name in _native.isas():
        with backend(f"native-{name}"):
            outs.append(functional.dropout(x, 0.1, key=1))
    for out in outs:
        assert torch.equal(bits(out), bits(outs[-1]))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_streaming_stores(dtype):
    """Outputs of many MiB are written past the caches."""
    x = torch.randn(9 << 20).to(dtype)
    out = functional.dropout(x, 0.5, key=3)
    kept = native.keep_mask(x.numel(), 3, 0, 32768)
    assert torch.equal(out, torch.where(kept, x * 2, torch.zeros((), dtype=dtype)))


@pytest.mark.parametrize("name", BACKENDS)
def test_members(name):
    """Row m is dropout of row m at its own key and rate."""
    key = torch.tensor([7, -1, 1 << 62, 0, 12345, 9])
    p = torch.tensor([0.0, 0.1, 0.5, 0.9, 1.0, 0.3], dtype=torch.float64)
    for shape in ((1,), (16,), (3, 43), (128,), (5, 1000)):
        x = torch.randn(6, *shape)
        rows = [functional.dropout(x[m], float(p[m]), key=int(key[m]), call=4, impl="reference") for m in range(6)]
        with backend(name) as impl:
            same_bits(functional.dropout(x, p, key=key, call=4, impl=impl), torch.stack(rows))
            one_rate = functional.dropout(x, 0.5, key=key, call=4, impl=impl)
            one_key = functional.dropout(x, p, key=9, call=4, impl=impl)
        same_bits(one_rate[2], rows[2])
        same_bits(one_key[5], rows[5])


@pytest.mark.parametrize("name", BACKENDS)
def test_members_under_vmap(name):
    key, p = torch.tensor([7, 8, 9]), torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    x = torch.randn(3, 4, 50)
    expected = functional.dropout(x, p, key=key, impl="reference")
    with backend(name) as impl:

        def member(x, p, key):
            return functional.dropout(x, p, key=key, impl=impl)

        same_bits(torch.func.vmap(member)(x, p, key), expected)
        same_bits(torch.func.vmap(member, in_dims=(1, 0, 0))(x.movedim(0, 1), p, key), expected)
        shared_input = torch.func.vmap(member, in_dims=(None, 0, 0))(x[0], p, key)
        same_bits(shared_input[0], expected[0])
        nested = torch.func.vmap(torch.func.vmap(member, in_dims=(0, None, None)), in_dims=(None, 0, 0))(x, p, key)
        same_bits(nested[1, 2], functional.dropout(x[2], 0.5, key=8, impl="reference"))
