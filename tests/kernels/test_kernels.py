"""Every backend, instruction set, thread count and cut of a tensor gives the reference's bits."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from bitwise import BACKENDS, DTYPES, backend, bits, same_bits, threads, values

from thinned import _native, functional, masks, philox
from thinned.kernels import native

SIZES = (0, 1, 15, 16, 17, 127, 128, 129, 255, 1000, 4095, 4096, 4097)
EDGES = (0, 1, 7, 8, 127, 128, 129, 4095, 4096, 4097, 2**32 - 1, 2**32 + 5, 2**35 - 130, 2**35 - 1, 2**39 + 77)
NATIVE = [name for name in BACKENDS if name != "aten"]


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


@pytest.mark.parametrize("name", NATIVE)
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


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("start", EDGES)
def test_offsets(name, start):
    """A slice gets its slice of the mask, also where the block number's lower word overflows (index 2^35)."""
    for n in (1, 130, 5000):
        x = torch.ones(n)
        full = (2**40,)
        index = np.uint64(start) + np.arange(n, dtype=np.uint64)
        expected = torch.from_numpy(philox.keep(index, 0.4, 99, 2)) * torch.tensor(philox.scale(0.4)).float()
        with backend(name) as impl:
            same_bits(functional.dropout(x, 0.4, key=99, call=2, within=(full, (start,)), impl=impl), expected)


def test_every_split_gives_the_whole():
    x = torch.randn(3, 1000)
    whole = functional.dropout(x, 0.5, key=1)
    for cut in (1, 16, 127, 128, 129, 500, 999):
        parts = [
            functional.dropout(x[:, first:last], 0.5, key=1, within=((3, 1000), (0, first)))
            for first, last in ((0, cut), (cut, 1000))
        ]
        same_bits(torch.cat(parts, 1), whole)
    for row in range(3):
        same_bits(functional.dropout(x[row : row + 1], 0.5, key=1, within=((3, 1000), (row, 0))), whole[row : row + 1])


def test_every_lane_value_and_threshold():
    """At a threshold K, exactly the lanes below K are kept: all 65,536 of them are met."""
    lanes = torch.from_numpy(philox.lanes(np.arange(1 << 17), 3).astype(np.int64))
    for keep in (1, 2, 255, 256, 257, 32767, 32768, 32769, 65534, 65535):
        for name in NATIVE:
            with backend(name):
                assert torch.equal(native.keep_mask(1 << 17, 3, 0, keep), lanes < keep)


@pytest.mark.parametrize("name", NATIVE)
def test_packed_masks(name):
    for n in (1, 7, 8, 127, 128, 129, 5000, 70_001):
        kept = philox.keep(np.arange(n), 0.3, 11)
        with backend(name):
            assert torch.equal(masks.keep_mask((n,), 0.3, 11), torch.from_numpy(kept))
            packed = masks.keep_mask((n,), 0.3, 11, packed=True)
        assert packed.numpy().tolist() == np.packbits(kept, bitorder="little").tolist()
    for p, byte in ((0.0, 0b111), (1.0, 0)):
        assert masks.keep_mask((3,), p, 11, packed=True).tolist() == [byte]
    shared = masks.keep_mask((2, 3, 5), 0.5, 4, shared=(1,))
    assert torch.equal(shared, shared[:, :1].expand(2, 3, 5))
    packed = masks.keep_mask((2, 3, 5), 0.5, 4, shared=(1,), packed=True)
    assert np.unpackbits(packed.numpy(), count=30, bitorder="little").tolist() == shared.flatten().int().tolist()


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_dropout_add_is_the_sum(name, dtype, p):
    x, residual = values(1003, dtype), values(1003, dtype).flip(0).contiguous()
    with backend(name) as impl:
        out = functional.dropout_add(x, residual, p, key=5, impl=impl)
        same_bits(out, residual + functional.dropout(x, p, key=5, impl=impl))
        other = functional.dropout_add(x[::2], residual[::2], p, key=5, within=((600,), (3,)), impl=impl)
        same_bits(other, residual[::2] + functional.dropout(x[::2], p, key=5, within=((600,), (3,)), impl="reference"))


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("function", [functional.alpha_dropout, functional.gaussian_dropout])
def test_other_noise(name, dtype, function):
    for n in (1, 63, 64, 65, 1003, 5000):
        x = values(n, dtype)
        for p in (0.0, 0.2, 0.9):
            expected = function(x, p, True, key=5, call=3, impl="reference")
            with backend(name) as impl:
                same_bits(function(x, p, True, key=5, call=3, impl=impl), expected)


def test_alpha_dropout_at_the_ends():
    x = values(300, torch.float32)
    same_bits(functional.alpha_dropout(x, 0.0, True, key=1), x)
    assert torch.equal(functional.alpha_dropout(x, 1.0, True, key=1), torch.zeros(300))


def test_normals_are_the_quantile_function():
    """The error bound that philox.normals states, against scipy's in float64."""
    from scipy.special import ndtri

    index = np.arange(1 << 18)
    z, word = philox.normals(index, 12), philox.words(index, 12)
    tail = ((word & np.uint64(0x7FFFFFFF)).astype(np.float64) + 0.5) / 2**32
    exact = np.where(word >> np.uint64(31) != 0, 1.0, -1.0) * ndtri(tail)
    assert np.abs(z - exact)[np.abs(exact) < 5].max() < 2e-6


def test_forked_children_compute_with_threads():
    """A pool whose threads fork left behind must not be waited for; torch's own operators would wait."""
    program = """
import numpy, os, torch
from thinned import functional
torch.set_num_threads(2)
x = torch.ones(1 << 20)
expected = functional.dropout(x, 0.5, key=1).numpy()
child = os.fork()
same = all(numpy.array_equal(functional.dropout(x, 0.5, key=1).numpy(), expected) for _ in range(3))
if child == 0:
    os._exit(0 if same else 1)
assert same
assert os.waitpid(child, 0)[1] == 0
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


@pytest.mark.parametrize("isa", _native.isas())
def test_environment_variable_chooses(isa):
    program = "from thinned.kernels import native; print(native.isa())"
    run = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "THINNED_ISA": isa},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == isa


def test_unknown_instruction_set_is_one_clear_error():
    run = subprocess.run(
        [sys.executable, "-c", "import thinned"],
        env={**os.environ, "THINNED_ISA": "sse9"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1
    last = run.stderr.strip().splitlines()[-1]
    assert last.startswith("ValueError: THINNED_ISA must be one of ")
    assert last.endswith("on this machine; got 'sse9'; unset it to choose the fastest")
