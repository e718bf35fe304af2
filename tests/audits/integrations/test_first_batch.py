"""The audit of a first batch."""

import pytest
import torch
from torch import nn

from thinned.audits.integrations.first_batch import FirstBatch


def test_the_first_batch_is_audited_once_and_hooks_are_gone():
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.9), nn.Linear(4, 2))
    first = FirstBatch()
    first.attach(model)
    model[1].eval()
    model(torch.randn(4, 4))
    with pytest.warns(UserWarning, match=r"(?s)dropout findings in Sequential.*TD104") as caught:
        first.audit()
    first.audit()
    assert len(caught) == 1
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_an_audit_that_raises_is_not_tried_again():
    class Once(nn.Module):
        calls = 0

        def forward(self, x):
            self.calls += 1
            if self.calls > 1:
                raise ValueError("once only")
            return x

    model, first = Once(), FirstBatch()
    first.attach(model)
    model(torch.ones(2, 2))
    with pytest.warns(UserWarning, match="once only"):
        first.audit()
    assert first.done
    assert first.result is None
