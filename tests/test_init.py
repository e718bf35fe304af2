"""Initial weights behind dropout: variances through a deep network."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import thinned

P = 0.5


def variances(initialise: object, depth: int = 10, width: int = 512) -> tuple[list[float], list[float]]:
    """Second moments of pre-activations and of their gradients, layer by layer, dropout on."""
    torch.manual_seed(0)
    forward, backward = [], []
    z = torch.randn(512, width, requires_grad=True)
    values = [z]
    for _ in range(depth):
        weight = torch.empty(width, width)
        initialise(weight)
        z = thinned.functional.dropout(torch.relu(z), P) @ weight.mT
        values.append(z)
    for value in values:
        value.retain_grad()
    z.backward(torch.randn_like(z))
    forward = [float(value.detach().square().mean()) for value in values]
    backward = [float(value.grad.square().mean()) for value in values]
    return forward, backward


def test_initialisation_keeps_variance_through_a_deep_net_with_dropout() -> None:
    """He's initialisation doubles the variance at each layer with p = 1/2; the corrected one keeps it."""
    he, _ = variances(lambda w: nn.init.kaiming_normal_(w, nonlinearity="relu"))
    assert he[-1] / he[0] > 2**9
    ours, _ = variances(lambda w: thinned.dropout_init_(w, P))
    assert 0.5 < ours[-1] / ours[0] < 2
    _, gradients = variances(lambda w: thinned.dropout_init_(w, P, mode="fan_out"))
    assert 0.5 < gradients[0] / gradients[-1] < 2


@pytest.mark.parametrize("activation", [torch.relu, torch.tanh, F.gelu, F.selu, None])
def test_initialisation_has_unit_variance_for_any_activation(activation: object) -> None:
    torch.manual_seed(0)
    z = torch.randn(2000, 800)
    x = thinned.functional.dropout(z if activation is None else activation(z), P)
    out = x @ thinned.dropout_init_(torch.empty(500, 800), P, activation).mT
    assert float(out.square().mean()) == pytest.approx(1, rel=0.05)


def test_initialisation_without_dropout_is_hes() -> None:
    weight = thinned.dropout_init_(torch.empty(2000, 500, 2, 1), 0.0)
    assert float(weight.std()) == pytest.approx(math.sqrt(2 / 1000), rel=0.01)
    fan_avg = thinned.dropout_init_(torch.empty(1000, 1000), 0.0, None, "fan_avg")
    assert float(fan_avg.std()) == pytest.approx(1000**-0.5, rel=0.01)
    with pytest.raises(ValueError, match="p must be below 1"):
        thinned.dropout_init_(weight, 1.0)
    with pytest.raises(ValueError, match="at least 2 dimensions"):
        thinned.dropout_init_(torch.empty(3), 0.1)
    with pytest.raises(ValueError, match="mode must be one of"):
        thinned.dropout_init_(weight, 0.1, mode="fan")
