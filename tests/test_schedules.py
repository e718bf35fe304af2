"""Rates over training and depth, written into rate buffers."""

import itertools

import pytest
import torch
from torch import nn

import thinned
from thinned import schedules


def net() -> nn.Module:
    return nn.Sequential(*itertools.chain(*((nn.Linear(4, 4), thinned.Dropout(0.4)) for _ in range(3))))


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (schedules.constant(0.3), [0.3, 0.3, 0.3, 0.3]),
        (schedules.linear(0.4, 0.2, 10), [0.4, 0.3, 0.2, 0.2]),
        (schedules.cosine(0.4, 0.2, 10), [0.4, 0.3, 0.2, 0.2]),
        (schedules.early(0.4, 10), [0.4, 0.2, 0.0, 0.0]),
        (schedules.early(0.4, 10, decreasing=False), [0.4, 0.4, 0.0, 0.0]),
        (schedules.late(0.4, 10), [0.0, 0.0, 0.4, 0.4]),
    ],
)
def test_shapes(schedule: schedules.Schedule, expected: list[float]) -> None:
    assert [schedule(step) for step in (0, 5, 10, 99)] == pytest.approx(expected)


def test_cosine_is_flat_at_its_ends() -> None:
    schedule = schedules.cosine(0.4, 0.0, 1000)
    assert 0.4 - schedule(10) < 0.4 * 0.01 / 4 < 0.4 - schedule(100)


def test_rates_reach_the_masks_and_p_stays() -> None:
    model = net()
    scheduler = schedules.RateScheduler(model, schedules.linear(1.0, 0.0, 4))
    shares = []
    for _ in range(5):
        shares.append(float((model[1](torch.ones(40_000)) == 0).double().mean()))
        scheduler.step()
    assert shares == pytest.approx([1.0, 0.75, 0.5, 0.25, 0.0], abs=5 * (0.25 / 40_000) ** 0.5)
    assert model[1].p == 0.4
    assert not any("rate" in name for name in model.state_dict())


def test_relative_schedules_scale_each_layers_own_rate() -> None:
    model = net()
    model[3].p = 0.2
    scheduler = schedules.RateScheduler(model, schedules.constant(0.5), relative=True)
    assert scheduler.rates == pytest.approx({"1": 0.2, "3": 0.1, "5": 0.2})


def test_depth() -> None:
    model = net()
    assert schedules.RateScheduler(model, schedules.by_depth(model, 0.0, 0.3)).rates == pytest.approx(
        {"1": 0.0, "3": 0.15, "5": 0.3}
    )
    model = net()
    some = schedules.by_depth(model, 0.1, 0.2, names=["5", "1"])
    assert schedules.RateScheduler(model, some).rates == pytest.approx({"5": 0.1, "1": 0.2})
    assert model[3].rate is None


def test_stopped_and_continued() -> None:
    whole = schedules.RateScheduler(net(), schedules.cosine(0.5, 0.1, 20))
    for _ in range(7):
        whole.step()
    continued = schedules.RateScheduler(net(), schedules.cosine(0.5, 0.1, 20))
    continued.load_state_dict(whole.state_dict())
    assert continued.rates == whole.rates
    assert continued.last_step == 7


def test_every_kind_of_layer_is_found() -> None:
    model = nn.ModuleList([
        thinned.MultiheadAttention(4, 2, 0.1), thinned.DropPath(0.1), thinned.EmbeddingDropout(3, 2),
        thinned.ConcreteDropout(), thinned.drop_connect(nn.Linear(2, 2)), nn.Dropout(), nn.BatchNorm1d(3),
    ])  # fmt: skip
    assert list(schedules.dropout_layers(model)) == ["0", "1", "2", "3", "4.parametrizations.weight.0"]


def test_errors() -> None:
    with pytest.raises(ValueError, match="must have dropout layers of thinned; Linear has none"):
        schedules.RateScheduler(nn.Linear(2, 2), schedules.constant(0.1))
    with pytest.raises(KeyError, match="names must be those of dropout layers; got 'x'"):
        schedules.RateScheduler(net(), {"x": schedules.constant(0.1)})
    with pytest.raises(ValueError, match="steps must be at least 1"):
        schedules.linear(0.1, 0.2, 0)
    with pytest.raises(ValueError, match=r"p must lie in \[0, 1\]"):
        schedules.late(1.2, 3)
    with pytest.raises(ValueError, match=r"p must lie in \[0, 1\]"):
        schedules.RateScheduler(net(), lambda step: 2.0)
