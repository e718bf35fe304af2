"""Enumeration: against plain loops over all masks."""

import itertools

import pytest
import torch
from ensemble_models import (
    ROWS,
    mlp,
)
from torch import nn

import thinned
from thinned import ensemble
from thinned.errors import InputError


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def every_mask(units):
    return [torch.tensor(bits[::-1]).bool() for bits in itertools.product([0, 1], repeat=units)]


@pytest.mark.parametrize("p", [0.5, 0.3])
@pytest.mark.parametrize("tail", [(), (nn.Sigmoid(),), (nn.Linear(3, 2), nn.Tanh())], ids=["none", "sigmoid", "layers"])
@pytest.mark.parametrize("chunk", [1 << 22, 50], ids=["whole", "chunks"])
def test_enumeration_equals_the_loop(monkeypatch, p, tail, chunk):
    monkeypatch.setattr("thinned.ensemble.enumeration._CHUNK", chunk)
    model = mlp(p, hidden=6, tail=tail).double()
    x = ROWS.double()
    outputs, chances = [], []
    with torch.no_grad():
        for kept in every_mask(6):
            hidden = model[1](model[0](x)) * kept / (1 - p)
            outputs.append(model[3:](hidden))
            chances.append(p ** int((~kept).sum()) * (1 - p) ** int(kept.sum()))
    outputs, chances = torch.stack(outputs), torch.tensor(chances, dtype=torch.float64)
    for sites, forced in ((None, False), (None, True)):
        with monkeypatch.context() as patch:
            if forced:
                patch.setattr("thinned.ensemble.additive_head.AdditiveHead.sums", lambda self, sources: None)
            every = ensemble.enumerate(model, x, sites=sites)
        assert every.by == ("passes" if forced else "doubling")
        assert every.count == 64
        torch.testing.assert_close(every.outputs, outputs, atol=1e-12, rtol=0)
        torch.testing.assert_close(every.probabilities, chances, atol=1e-15, rtol=0)
        mean = (chances[:, None, None] * outputs).sum(0)
        torch.testing.assert_close(every.mean, mean, atol=1e-12, rtol=0)
        variance = (chances[:, None, None] * (outputs - mean) ** 2).sum(0)
        torch.testing.assert_close(every.std, variance.sqrt(), atol=1e-10, rtol=0)
        assert torch.equal(every.minimum, every.outputs.amin(0))
        assert torch.equal(every.maximum, every.outputs.amax(0))
        assert torch.equal(every.masks()["2"], torch.stack(every_mask(6))[:, None])
        assert every.masks(5, 7)["2"].tolist() == every.masks()["2"][5:7].tolist()


@pytest.mark.parametrize(
    ("kind", "columns"), [("logits", 1), ("logits", 3), ("probabilities", 1), ("probabilities", 3)]
)
def test_geometric_means(kind, columns):
    model = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Dropout(0.4), nn.Linear(5, columns)).double()
    if kind == "probabilities":
        model.append(nn.Sigmoid() if columns == 1 else nn.Softmax(-1))
    every = ensemble.enumerate(model, ROWS.double(), output=kind)
    p = every.outputs
    if kind == "logits":
        p = p.sigmoid() if columns == 1 else p.softmax(-1)
    weights = every.probabilities[:, None, None]
    torch.testing.assert_close(every.mean, (weights * p).sum(0), atol=1e-12, rtol=0)
    both = torch.cat([1 - p, p], -1) if columns == 1 else p
    products = (weights * both.log()).sum(0).exp()
    expected = (products / products.sum(-1, keepdim=True))[:, -columns:]
    torch.testing.assert_close(every.geometric_mean, expected, atol=1e-12, rtol=0)
    # Baldi & Sadowski 2013: with nothing but a logistic unit behind the dropout, weight scaling is that very mean
    torch.testing.assert_close(every.weight_scaled, expected, atol=1e-12, rtol=0)


def test_several_sites_and_channels_are_enumerated_by_passes():
    model = nn.Sequential(
        nn.Conv2d(1, 3, 2), nn.Dropout2d(0.2), nn.ReLU(), nn.Flatten(), nn.Dropout(0.4), nn.Linear(3, 2)
    )
    x = torch.randn(4, 1, 2, 2)
    every = ensemble.enumerate(model, x)
    assert (every.by, every.shapes, every.count) == ("passes", {"1": (1, 3, 1, 1), "4": (1, 3)}, 64)
    assert float(every.probabilities.sum()) == pytest.approx(1, abs=1e-12)
    for number, (second, first) in enumerate(itertools.product(every_mask(3), repeat=2)):
        hidden = (model[0](x) * first[:, None, None] / 0.8).relu().flatten(1)
        torch.testing.assert_close(every.outputs[number], model[5](hidden * second / 0.6), atol=1e-6, rtol=1e-5)
    assert ensemble.enumerate(model, x, sites=["4"]).count == 8


def test_quantiles_by_halves_are_those_of_all_outputs(monkeypatch):
    model = nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Dropout(0.3), nn.Linear(9, 1)).double()
    kept = ensemble.enumerate(model, ROWS.double(), output="logits")
    monkeypatch.setattr("thinned.ensemble.enumeration._KEPT", 0)
    summed = ensemble.enumerate(model, ROWS.double(), output="logits")
    assert summed.outputs is None
    for q in (0.0, 0.05, 0.5, 0.9, 1.0):
        torch.testing.assert_close(summed.quantile(q), kept.quantile(q), atol=1e-12, rtol=0)
    with pytest.raises(InputError, match="q must lie"):
        kept.quantile(1.5)
    softmax = ensemble.enumerate(mlp(), ROWS, output="logits")
    with pytest.raises(InputError, match="quantiles need outputs"):
        softmax.quantile(0.5)


def test_too_many_are_refused_with_count_and_remedy():
    wide = nn.Sequential(nn.Dropout(0.2), nn.Linear(60, 4))
    with pytest.raises(ensemble.TooManyError, match=r"2\^60 = 1,152,921,504,606,846,976 .*sample"):
        ensemble.enumerate(wide, torch.ones(1, 60))
    with pytest.raises(ensemble.TooManyError, match="at most 4 "):
        ensemble.enumerate(mlp(), ROWS, limit=4)
    with pytest.raises(InputError, match="multiplies by noise"):
        ensemble.enumerate(nn.Sequential(thinned.GaussianDropout(0.2), nn.Linear(6, 1)), ROWS)
    with pytest.raises(InputError, match="this one has none"):
        ensemble.enumerate(nn.Linear(6, 1), ROWS)
    with pytest.raises(InputError, match="choose from 2"):
        ensemble.sample(mlp(), ROWS, sites=["3"])
    with pytest.raises(InputError, match="at least 2"):
        ensemble.sample(mlp(), ROWS, 1)
    with pytest.raises(InputError, match="output must be one of"):
        ensemble.sample(mlp(), ROWS, output="logit")
    with pytest.raises(InputError, match="select="):
        ensemble.sample(nn.LSTM(6, 7, 2, dropout=0.5, batch_first=True), torch.randn(4, 5, 6), 2)
    with pytest.raises(TypeError, match="must be a torch"):
        ensemble.sample(lambda x: x, ROWS)
