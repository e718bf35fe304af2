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


def test_a_convolution_of_one_position_is_a_linear_layer() -> None:
    points = torch.randn(4, 3, 50)
    for kernel, codes in ((1, set()), (5, {"TD203"})):
        net = nn.Sequential(nn.Conv1d(3, 8, kernel), nn.ReLU(), nn.Dropout(0.5), nn.Conv1d(8, 4, kernel))
        assert thinned.audit(net, points).codes() == codes
        fixed = thinned.audit(net, points, fix=True).fixed
        assert (type(net[2]), bool(fixed)) == ((nn.Dropout1d, True) if codes else (nn.Dropout, False))


def test_neighbours_stay_alike_behind_a_convolution_of_one_position() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 1), nn.Dropout(0.2), nn.Conv2d(8, 2, 1))
    assert thinned.audit(net, IMAGE).codes() == {"TD203"}


def test_classes_of_a_segmentation_are_not_dropped() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 2, 1), nn.Dropout(0.5))
    result = thinned.audit(net, IMAGE, fix=True)
    assert (result.codes(), result.fixed, type(net[3])) == ({"TD201"}, (), nn.Dropout)


def test_a_module_that_is_also_right_elsewhere_is_not_repaired() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.drop, self.line = nn.Conv2d(3, 6, 3), nn.Dropout(0.2), nn.Linear(6, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            h = self.drop(self.conv(x)).mean((2, 3))
            return self.line(self.drop((h @ torch.eye(6)).relu()))

    net = Shared()
    result = thinned.audit(net, IMAGE, fix=True)
    assert (result.codes(), result.fixed, type(net.drop)) == ({"TD203", "TD306"}, (), nn.Dropout)
