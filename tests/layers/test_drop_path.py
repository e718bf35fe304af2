"""Stochastic depth."""

import numpy as np
import torch
from layer_cases import CALL, KEY, P, address

import thinned
from thinned import philox


def test_drop_path_without_scaling() -> None:
    x = torch.randn(200, 3, 2)
    out = address(thinned.DropPath(P, scale_by_keep=False))(x)
    kept = torch.from_numpy(philox.keep(np.arange(200), P, KEY, CALL))
    assert torch.equal(out[kept], x[kept])
    assert (out[~kept] == 0).all()
    assert repr(thinned.DropPath(0.123)) == "DropPath(drop_prob=0.123)"
