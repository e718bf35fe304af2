"""Dropout of blocks."""

import math

import numpy as np
import pytest
import torch
from layer_cases import CALL, KEY, P, address

import thinned
from thinned import philox


@pytest.mark.parametrize("block", [1, 2, 3, 4])
@pytest.mark.parametrize("coupled", [True, False])
def test_drop_block_drops_blocks_around_its_seeds(block: int, coupled: bool) -> None:
    x = torch.randn(6, 3, 9, 8)
    out = address(thinned.DropBlock2d(P, block, couple_channels=coupled))(x)
    gamma = P * 9 * 8 / block**2 / ((9 - block + 1) * (8 - block + 1))
    shape = (6, 1 if coupled else 3, 9, 8)
    seeds = ~philox.keep(np.arange(math.prod(shape)).reshape(shape), gamma, KEY, CALL)
    dropped = np.zeros_like(seeds)
    for n, c, i, j in zip(*np.nonzero(seeds), strict=True):  # even windows reach further up and left, as timm's
        up, down = block // 2, (block + 1) // 2
        dropped[n, c, max(i - up, 0) : i + down, max(j - up, 0) : j + down] = True
    kept = torch.from_numpy(~dropped)
    scale = torch.tensor(kept.numel() / int(kept.sum()), dtype=torch.float32)
    assert torch.equal(out, torch.where(kept, x * scale, torch.zeros(())))


def test_drop_block_drops_about_its_share() -> None:
    """The share dropped is that of the seeds' density; 5 standard errors is 1 false failure in 10^6."""
    layer = address(thinned.DropBlock2d(0.1, 7, scale_by_keep=False))
    shares = []
    for call in range(60):
        layer.call.fill_(call)
        shares.append(float((layer(torch.ones(8, 1, 56, 56)) == 0).double().mean()))
    reach = np.convolve(np.ones(56), np.ones(7), mode="same")  # places whose block reaches a position
    gamma = 1 - philox.threshold(0.1 * 56**2 / 7**2 / 50**2) / 65536
    expected = (1 - (1 - gamma) ** np.outer(reach, reach)).mean()
    assert abs(np.mean(shares) - expected) < 5 * np.std(shares) / 60**0.5
    assert 0.09 < expected < 0.12
    with pytest.raises(RuntimeError, match=r"shape \(N, C, H, W\)"):
        layer(torch.ones(3, 4))
    x = torch.randn(1, 2, 4, 4, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(address(thinned.DropBlock2d(0.3, 2)), x)
