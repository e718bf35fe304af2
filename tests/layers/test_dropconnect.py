"""Dropout of weights."""

import copy

import torch
import torch.nn.functional as F
from layer_cases import Case, P, address
from torch import nn

import thinned
from thinned import layers, philox


def test_drop_connect_masks_the_weight_and_moves_nothing_else() -> None:
    linear = nn.Linear(12, 9)
    plain = copy.deepcopy(linear)
    address(thinned.drop_connect(linear, p=P))
    case = Case("", layers.Dropout, (9, 12), ())
    expected = torch.where(case.keep(P), plain.weight * philox.scale(P), 0)
    assert torch.equal(linear.weight, expected)
    x = torch.randn(4, 12)
    assert torch.equal(linear(x), F.linear(x, expected, plain.bias))
    linear.eval()
    assert torch.equal(linear(x), plain(x))
    nn.utils.parametrize.remove_parametrizations(linear, "weight")
    assert torch.equal(linear.weight, plain.weight)


def test_drop_connect_inside_an_lstm() -> None:
    lstm = nn.LSTM(5, 6)
    plain = copy.deepcopy(lstm)
    address(thinned.drop_connect(lstm, "weight_hh_l0", p=P))
    x = torch.randn(7, 2, 5)
    with torch.no_grad():
        plain.weight_hh_l0.copy_(lstm.weight_hh_l0)
    assert (plain.weight_hh_l0 == 0).any()
    assert torch.allclose(lstm(x)[0], plain(x)[0], atol=1e-6)
    lstm(x)[0].sum().backward()
    assert lstm.parametrizations["weight_hh_l0"].original.grad.abs().sum() > 0
