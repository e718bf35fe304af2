"""Gaussian dropout has the moments of dropout."""

import pytest
import torch
from layer_cases import P, address

import thinned
from thinned import philox


def test_gaussian_dropout_has_dropouts_mean_and_variance() -> None:
    n = 400_000
    layer = address(thinned.GaussianDropout(P))
    out = layer(torch.ones(n, dtype=torch.double))
    q = philox.threshold(P) / 65536
    assert abs(out.mean() - 1) < 5 * out.std() / n**0.5
    assert abs(out.var() - (1 - q) / q) < 5 * ((out - out.mean()) ** 2).std() / n**0.5
    assert torch.autograd.gradcheck(layer, torch.randn(4, 5, dtype=torch.double, requires_grad=True))
    with pytest.raises(ValueError, match=r"p must lie in \[0, 1\)"):
        thinned.GaussianDropout(1.0)
