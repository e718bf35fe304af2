"""TD203: element-wise dropout on convolutional features."""

import torch
from audit_corpus import IMAGE
from torch import nn

import thinned


def model(drop: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), drop, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 2))


def test_elementwise_dropout_is_found_and_spatial_dropout_is_not() -> None:
    [finding] = thinned.audit(model(nn.Dropout(0.2)), IMAGE)
    assert (finding.code, finding.severity, finding.module) == ("TD203", "info", "2")
    assert finding.fix == "nn.Dropout2d(0.2)"
    assert not thinned.audit(model(nn.Dropout2d(0.2)), IMAGE)


def test_vectors_behind_a_convolution_have_no_neighbours() -> None:
    pooled = nn.Sequential(nn.Conv2d(3, 6, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(6, 2))
    assert not thinned.audit(pooled, IMAGE)


def test_the_repair_keeps_the_rate() -> None:
    net = model(nn.Dropout(0.2))
    result = thinned.audit(net, IMAGE, fix=True)
    assert (result.fixed, list(result)) == (("TD203 2: Dropout became Dropout2d",), [])
    assert (type(net[2]), net[2].p) == (nn.Dropout2d, 0.2)
    dropped = net[:3].train()(torch.ones_like(IMAGE)) == 0
    assert (dropped.flatten(2).all(2) | ~dropped.flatten(2).all(2)).all()
