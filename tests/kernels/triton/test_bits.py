"""The device functions give the bits of thinned.philox."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from thinned import philox
from thinned.kernels.address import signed

triton = pytest.importorskip("triton")
import triton.language as tl  # noqa: E402

from thinned.kernels.triton import bits  # noqa: E402

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
KEYS = (0, 1, 0x123456789ABCDEF0, 2**64 - 1)
FIRST = (0, 16 * (2**31 - 3), 16 * (2**32 - 2), 2**44 - 32)  # a block's lower word overflows at 2^32


@triton.jit
def lanes_of_groups(out, first, address, GROUPS: tl.constexpr):
    """16-bit lanes of whole groups."""
    key_low, key_high = bits.low_high(tl.load(address))
    call_low, call_high = bits.low_high(tl.load(address + 1))
    group = tl.arange(0, GROUPS)[:, None]
    column = tl.arange(0, 16)[None, :]
    block = tl.load(first) + group * 16 + column
    low, high = bits.low_high(block)
    w0, w1, w2, w3 = bits.block_words(low, high, key_low, key_high, call_low, call_high)
    for lane in tl.static_range(8):
        found = bits.lane_bits(w0, w1, w2, w3, lane) >> 16
        tl.store(out + group * 128 + lane * 16 + column, found.to(tl.int64))


@triton.jit
def keep_of_indices(kept, words, index, address, SIZE: tl.constexpr):
    """Keep decisions and words of any indices."""
    key_low, key_high = bits.low_high(tl.load(address))
    call_low, call_high = bits.low_high(tl.load(address + 1))
    limit, alive = bits.keep_limit(tl.load(address + 2))
    element = tl.arange(0, SIZE)
    at = tl.load(index + element)
    decisions = bits.keep_at(at, limit, alive, key_low, key_high, call_low, call_high)
    tl.store(kept + element, decisions.to(tl.int8))
    tl.store(words + element, bits.word_at(at, key_low, key_high, call_low, call_high).to(tl.int64))


def address(*numbers):
    return torch.tensor([signed(number) for number in numbers], device=DEVICE)


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("first", FIRST)
def test_lanes_of_whole_groups(key, first):
    out = torch.empty(512, dtype=torch.int64, device=DEVICE)
    call = key ^ 0x5555555500000003
    lanes_of_groups[(1,)](out, torch.tensor(first, device=DEVICE), address(key, call), GROUPS=4)
    expected = philox.lanes(np.arange(512, dtype=np.uint64) + np.uint64(first * 8), key, call)
    assert np.array_equal(out.cpu().numpy().astype(np.uint64), expected)


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("keep", [0, 1, 32768, 65535, 65536])
def test_decisions_and_words_of_any_index(key, keep):
    edges = [0, 2**7, 2**31, 2**32, 2**35, 2**40]
    index = np.concatenate(
        [np.arange(edge, edge + 128) if edge == 0 else np.arange(edge - 64, edge + 64) for edge in edges]
    )
    index = np.concatenate([index[::-1], np.arange(256)]).astype(np.int64)
    kept = torch.empty(len(index), dtype=torch.int8, device=DEVICE)
    words = torch.empty(len(index), dtype=torch.int64, device=DEVICE)
    at = torch.from_numpy(index).to(DEVICE)
    keep_of_indices[(1,)](kept, words, at, address(key, 2**33 + 1, keep), SIZE=1024)
    expected = philox.lanes(index, key, 2**33 + 1) < np.uint64(keep)
    assert np.array_equal(kept.cpu().numpy().astype(bool), expected)
    assert np.array_equal(words.cpu().numpy().astype(np.uint64), philox.words(index, key, 2**33 + 1))


def test_thinned_imports_no_triton():
    code = "import sys, thinned, thinned.kernels.triton; sys.exit('triton' in sys.modules)"
    before = "import torch, sys; sys.exit('triton' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", before], check=False).returncode == 0, "torch itself imports Triton"
    subprocess.run([sys.executable, "-c", code], check=True)
