"""Dropout that learns its rate."""

import pytest
import torch
from layer_cases import P, address
from torch import nn

import thinned


def test_concrete_dropout_is_dropout_at_temperature_zero() -> None:
    """At a temperature of 0 the relaxed mask is the mask itself, at the same address."""
    p, x = 0.25, torch.randn(6, 500)  # 0.25 is exact in 1/65,536
    hard = address(thinned.Dropout(p))(x)
    layer = address(thinned.ConcreteDropout(p, temperature=1e-7))
    assert torch.allclose(layer(x), hard, atol=1e-5)
    shared = address(thinned.ConcreteDropout(p, temperature=1e-7, shared=(1,)))
    assert ((shared(x).abs() < 1e-4).all(1) | (shared(x).abs() > 0).all(1)).all()


def test_concrete_dropout_has_gradients_in_x_and_p() -> None:
    layer = address(thinned.ConcreteDropout(P).double())
    call = lambda x, logit: torch.func.functional_call(layer, {"logit": logit}, (x,))  # noqa: E731
    inputs = torch.randn(3, 4, dtype=torch.double, requires_grad=True), layer.logit.detach().requires_grad_()
    assert torch.autograd.gradcheck(call, inputs)
    linear = nn.Linear(4, 2).double()
    assert torch.autograd.gradcheck(lambda logit: layer.regulariser(linear.weight, 10), layer.logit)
    with pytest.raises(ValueError, match="strictly between 0 and 1"):
        thinned.ConcreteDropout(0.0)


def test_concrete_dropout_learns_less_noise_where_there_is_more_data() -> None:
    """The learned rate falls with the number of rows (Gal et al. 2017, fig. 2)."""
    rates = []
    for rows in (20, 400):
        torch.manual_seed(0)
        x = torch.randn(rows, 6)
        y = x.sum(1, keepdim=True)
        site, linear = address(thinned.ConcreteDropout(0.3)), nn.Linear(6, 1)
        optimizer = torch.optim.Adam([*site.parameters(), *linear.parameters()], lr=0.02)
        for step in range(120):
            site.call.fill_(step)
            loss = 0.5 * (linear(site(x)) - y).square().mean() + site.regulariser(linear.weight, rows)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        rates.append(float(site.p.detach()))
    assert rates[1] < rates[0] < 0.3
