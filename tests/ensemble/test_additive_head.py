"""Sums of an additive head, in chunks."""

import pytest
import torch
from torch import nn

from thinned.ensemble.additive_head import SubsetSums


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def test_doubling_in_chunks_bounds_memory():
    sums = SubsetSums.from_layer(nn.Linear(9, 2).double(), torch.randn(3, 9).double(), 0.5)
    [whole], chunks = sums.chunks(1 << 20), list(sums.chunks(100))
    assert {len(chunk) for chunk in chunks} == {16}
    torch.testing.assert_close(torch.cat(chunks), whole)
    assert len(whole) == 512
