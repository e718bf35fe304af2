"""Repairs in place."""

import copy

import torch
from audit_corpus import Net
from torch import nn

import thinned

X = torch.randn(8, 3, 9, 9, generator=torch.Generator().manual_seed(0))


def test_the_fixes_remove_the_findings_and_change_evaluation_only_where_they_say_so():
    torch.manual_seed(0)
    model = Net().eval()
    torch.manual_seed(1)
    plain = copy.deepcopy(model)
    result = thinned.audit(model, X, fix=True)
    assert [what.split(":")[0] for what in result.fixed] == [
        "TD101 (the model)",
        "TD204 vector",
        "TD301 dead",
        "TD203 drop",
    ]
    assert list(result) == []
    assert torch.equal(model(X), model(X))
    with torch.no_grad():  # what evaluation should have been
        features = plain.conv(X).relu().mean((2, 3))
        assert torch.allclose(model(X), plain.head(features.relu()), atol=1e-6)
    assert (type(model.drop), type(model.vector), hasattr(model, "dead")) == (nn.Dropout2d, nn.Dropout, False)
    assert not torch.equal(model.train()(X), model(X))
    assert torch._C._len_torch_function_stack() == 0
    again = thinned.audit(model, X, fix=True)
    assert (list(again), again.fixed) == ([], ())
