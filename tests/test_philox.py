"""The known answers of tests/philox_kat.txt, given to every implementation."""

from pathlib import Path

import numpy as np
import pytest
import torch

from thinned import _native, philox
from thinned.kernels import aten, native
from thinned.kernels.address import signed

LINES = [
    line.split()
    for line in Path(__file__).with_name("philox_kat.txt").read_text().splitlines()
    if line and not line.startswith("#")
]
MASKS = [line for line in LINES if line[0] == "mask"]


@pytest.mark.parametrize("line", [line for line in LINES if line[0] == "philox"], ids=" ".join)
def test_published_vectors(line):
    words = np.array([int(word, 16) for word in line[2:]], dtype=np.uint64)
    assert philox.philox4x32(words[:4], words[4:6], rounds=int(line[1])).tolist() == words[6:].tolist()
    if line[1] == "10":
        c0, c1, c2, c3 = (int(w) for w in words[:4])
        key, call = int(words[4]) | int(words[5]) << 32, c2 | c3 << 32
        out = aten.words(torch.tensor([signed(c0 | c1 << 32)]), torch.tensor(signed(key)), torch.tensor(signed(call)))
        assert [int(w) for w in out] == words[6:].tolist()


@pytest.mark.parametrize("line", [line for line in LINES if line[0] == "fold_in"], ids=" ".join)
def test_fold_in(line):
    key, n, out = (int(word, 16) for word in line[1:])
    assert philox.fold_in(key, n) == out


@pytest.mark.parametrize("isa", _native.isas())
@pytest.mark.parametrize("line", MASKS, ids=[" ".join(line[1:5]) for line in MASKS])
def test_masks_native(line, isa, monkeypatch):
    key, call, offset = (int(word, 16) for word in line[1:4])
    chosen = native.isa()
    native.use_isa(isa)
    try:
        kept = native.keep_mask(len(line[5]), key, call, int(line[4]), offset=offset)
    finally:
        native.use_isa(chosen)
    assert "".join(str(int(bit)) for bit in kept) == line[5]


@pytest.mark.parametrize("line", MASKS, ids=[" ".join(line[1:5]) for line in MASKS])
def test_masks_of_the_specification_and_aten(line):
    key, call, offset = (int(word, 16) for word in line[1:4])
    n, keep = len(line[5]), int(line[4])
    expected = [int(bit) for bit in line[5]]
    index = np.uint64(offset) + np.arange(n, dtype=np.uint64)
    assert (philox.lanes(index, key, call) < np.uint64(keep)).astype(int).tolist() == expected
    key_tensor, call_tensor = torch.tensor(signed(key)), torch.tensor(signed(call))
    assert (aten.lanes(n, key_tensor, call_tensor, offset) < keep).int().tolist() == expected
    at = aten.lanes_at(torch.from_numpy(index.astype(np.int64)), key_tensor, call_tensor)
    assert (at < keep).int().tolist() == expected
