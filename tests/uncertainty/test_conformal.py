"""Conformal intervals: against MAPIE, by their exact coverage, and on an ensemble."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from thinned import ensemble, uncertainty
from thinned.errors import InputError

ROWS = torch.rand(500, generator=torch.Generator().manual_seed(0))


def test_intervals_are_those_of_mapie():
    mapie = pytest.importorskip("mapie.regression")
    from sklearn.linear_model import LinearRegression

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(300, 2)), rng.normal(size=300)
    model = LinearRegression().fit(x[:100], y[:100])
    theirs = mapie.SplitConformalRegressor(model, confidence_level=0.9, prefit=True)
    _, expected = theirs.conformalize(x[100:200], y[100:200]).predict_interval(x[200:])
    mean = torch.from_numpy(model.predict(x))
    low, high = uncertainty.conformal_interval(mean[200:], mean[100:200], torch.from_numpy(y[100:200]), 0.9)
    np.testing.assert_allclose(low.numpy(), expected[:, 0, 0], atol=1e-12)
    np.testing.assert_allclose(high.numpy(), expected[:, 1, 0], atol=1e-12)


def test_coverage_is_exact_on_average():
    """With n calibration rows, k = ceil((n + 1) 0.9): coverage has mean k / (n + 1), over 4,000 trials to 5 errors."""
    torch.manual_seed(0)
    hits = []
    for _ in range(4000):
        draws = torch.randn(20)
        low, high = uncertainty.conformal_interval(torch.zeros(1), torch.zeros(19), draws[:19], 0.9)
        hits.append(bool(low <= draws[19] <= high))
    assert np.mean(hits) == pytest.approx(18 / 20, abs=5 * math.sqrt(0.09 / 4000))


def regression(rows):
    """Noise that grows with x."""
    x = torch.rand(rows, 1) * 2 - 1
    noise = 0.1 + 0.3 * x.abs()
    return x, (torch.sin(4 * x) + noise * torch.randn(rows, 1)).squeeze(-1)


def test_intervals_of_an_ensemble_cover_what_they_say():
    """4,000 calibration and 8,000 new rows: coverage has a standard deviation of 0.006; 0.02 fails with chance 8e-4."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(1, 64), nn.ReLU(), nn.Dropout(0.1), nn.Linear(64, 1))
    x, y = regression(500)
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(300):
        optimizer.zero_grad()
        F.mse_loss(model(x).squeeze(-1), y).backward()
        optimizer.step()
    noise = float((model.eval()(x).detach().squeeze(-1) - y).square().mean())

    def predicted(rows):
        found = ensemble.predict(model, rows, 50, noise=noise)
        return found.mean.squeeze(-1), found.total.squeeze(-1).sqrt()

    (x1, y1), (x2, y2) = regression(4000), regression(8000)
    (m1, s1), (m2, s2) = predicted(x1), predicted(x2)
    for spread in ({}, {"spread": s2, "calibration_spread": s1}):
        low, high = uncertainty.conformal_interval(m2, m1, y1, 0.9, **spread)
        assert float(((low <= y2) & (y2 <= high)).double().mean()) == pytest.approx(0.9, abs=0.02)


def test_an_interval_is_short_in_print():
    interval = uncertainty.conformal_interval(ROWS, ROWS, ROWS)
    assert repr(interval) == "Interval(low=float32[500], high=float32[500])"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: uncertainty.conformal_interval(ROWS, ROWS, ROWS, 1.0), "coverage must lie"),
        (lambda: uncertainty.conformal_interval(ROWS, ROWS[:8], ROWS[:8], 0.9), "at least 9 calibration rows; got 8"),
        (lambda: uncertainty.conformal_interval(ROWS, ROWS, ROWS, spread=ROWS), "belong together"),
        (lambda: uncertainty.conformal_interval(ROWS, ROWS, ROWS[:, None]), "shape of their predictions"),
        (
            lambda: uncertainty.conformal_interval(ROWS, ROWS, ROWS, spread=ROWS + 1, calibration_spread=ROWS * 0),
            "positive; got 0",
        ),
        (lambda: uncertainty.conformal_interval(ROWS, ROWS * torch.nan, ROWS), "NaN among them"),
    ],
)
def test_bad_arguments_are_one_sentence(call, message):
    with pytest.raises(InputError, match=message):
        call()
