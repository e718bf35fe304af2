"""Where a conversion makes dropout slower, its report says so."""

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

import thinned


def test_a_device_without_kernels_is_named():
    with FakeTensorMode():  # a parameter on a device that this machine need not have
        model = nn.Sequential(nn.Dropout())
        model.weight = nn.Parameter(torch.empty(2, device="cuda", dtype=torch.float64))
    report = thinned.convert(model)
    assert list(report.slower) == ["cuda:0"]
    assert "SLOWER THAN TORCH on cuda:0: x is " in repr(report)
    assert thinned.convert(nn.Sequential(nn.Linear(2, 2), nn.Dropout())).slower == {}
