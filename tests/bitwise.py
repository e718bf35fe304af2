"""What the tests of the kernels share: backends, thread counts, and equality of bits."""

import contextlib

import torch

from thinned import _native
from thinned.kernels import native

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
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
    a, b = (bits(v.nan_to_num(0.0, float("inf"), -float("inf"))) for v in (a, b))
    assert torch.equal(a, b)


def values(n, dtype):
    """Every kind of number: normal, subnormal, zeros of both signs, infinities, NaN, and such that overflow."""
    generator = torch.Generator().manual_seed(n)
    x = torch.randn(n, generator=generator, dtype=torch.float64)
    finfo = torch.finfo(dtype)
    special = [0.0, -0.0, float("inf"), float("-inf"), float("nan"), finfo.max, finfo.min, finfo.tiny, finfo.tiny / 8]
    x[: len(special)] = torch.tensor(special, dtype=torch.float64)[:n]
    return x.to(dtype)
