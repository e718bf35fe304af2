"""Alpha dropout against its formula."""

import pytest
import torch
from layer_cases import Case, P, address

import thinned
from thinned import layers


@pytest.mark.parametrize("feature", [False, True])
def test_alpha_dropout_is_torchs_at_our_mask(feature: bool) -> None:
    p = 0.25  # exact in 1/65,536
    layer = address((thinned.FeatureAlphaDropout if feature else thinned.AlphaDropout)(p))
    x = torch.randn(5, 40, 3, dtype=torch.float64)
    case = Case("", layers.Dropout, x.shape, (2,) if feature else ())
    alpha = -1.7580993408473766
    a = (0.75 * (1 + p * alpha**2)) ** -0.5
    expected = torch.where(case.keep(p), a * x, a * alpha) - a * alpha * p
    assert torch.allclose(layer(x), expected, atol=1e-12)
    assert torch.autograd.gradcheck(layer, x[:2, :4].clone().requires_grad_())


def test_alpha_dropout_keeps_mean_and_variance() -> None:
    """Of standard normals; 5 standard errors is 1 false failure in 10^6."""
    n = 400_000
    out = address(thinned.AlphaDropout(P))(
        torch.randn(n, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    )
    assert abs(out.mean()) < 5 * out.std() / n**0.5
    assert abs(out.var() - 1) < 5 * ((out - out.mean()) ** 2).std() / n**0.5
