"""Dropout before a residual sum."""

import torch
from layer_cases import P, address

import thinned


def test_dropout_add_is_the_sum() -> None:
    x, residual = torch.randn(6, 50), torch.randn(6, 50)
    dropped = address(thinned.Dropout(P))(x)
    layer = address(thinned.DropoutAdd(P))
    assert torch.equal(layer(x, residual), residual + dropped)
    assert torch.equal(layer.eval()(x, residual), residual + x)
    wide = [torch.randn(3, 4, dtype=torch.double, requires_grad=True) for _ in range(2)]
    assert torch.autograd.gradcheck(layer.train(), wide)
