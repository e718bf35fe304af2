"""thinned.uncertainty: against torchmetrics, scikit-learn and MAPIE, and by properties."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn import metrics
from torch import nn

from thinned import ensemble, uncertainty
from thinned.errors import InputError

GENERATOR = torch.Generator().manual_seed(0)
LOGITS = 2 * torch.randn(500, 4, generator=GENERATOR)
TARGETS = torch.randint(4, (500,), generator=GENERATOR)
P, POSITIVE, BINARY = LOGITS.softmax(-1), LOGITS[:, 0].sigmoid(), TARGETS % 2


def test_entropies():
    p = torch.rand(7, 5, 3, generator=GENERATOR, dtype=torch.float64).softmax(-1)
    total, aleatoric, epistemic = uncertainty.split_entropy(p)
    for row in range(5):
        mean = p[:, row].mean(0).numpy()
        assert float(total[row]) == pytest.approx(-(mean * np.log(mean)).sum(), abs=1e-12)
        # mutual information as the mean divergence of members from their mean
        members = p[:, row].numpy()
        divergence = (members * np.log(members / mean)).sum(1).mean()
        assert float(epistemic[row]) == pytest.approx(divergence, abs=1e-12)
    torch.testing.assert_close(total, aleatoric + epistemic)
    for binary in (p[..., 0], p[..., :1]):
        expected = uncertainty.split_entropy(torch.stack([1 - p[..., 0], p[..., 0]], -1))
        torch.testing.assert_close(uncertainty.split_entropy(binary).total, expected.total)
    certain = uncertainty.split_entropy(torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]]))
    assert (certain.aleatoric.item(), certain.epistemic.item()) == (0, pytest.approx(math.log(2)))
    with pytest.raises(InputError, match="members and rows"):
        uncertainty.split_entropy(p[0, 0])


def test_variances():
    values, noise = torch.randn(9, 5, generator=GENERATOR), torch.rand(9, 5, generator=GENERATOR)
    total, aleatoric, epistemic = uncertainty.split_variance(values, noise)
    torch.testing.assert_close(aleatoric, noise.mean(0))
    torch.testing.assert_close(epistemic, values.var(0))
    torch.testing.assert_close(total, aleatoric + epistemic)
    assert uncertainty.split_variance(values).aleatoric.eq(0).all()


def test_calibration_error_is_that_of_torchmetrics():
    torchmetrics = pytest.importorskip("torchmetrics.functional.classification")
    # torchmetrics computes in float32, ours in float64
    multi = torchmetrics.multiclass_calibration_error(P, TARGETS, 4, n_bins=15, norm="l1")
    assert uncertainty.expected_calibration_error(P, TARGETS) == pytest.approx(float(multi), abs=1e-6)
    two = torchmetrics.binary_calibration_error(POSITIVE, BINARY, n_bins=10, norm="l1")
    for p in (POSITIVE, POSITIVE[:, None]):
        assert uncertainty.expected_calibration_error(p, BINARY, 10) == pytest.approx(float(two), abs=1e-6)


def test_scores_are_those_of_scikit_learn():
    assert uncertainty.brier_score(POSITIVE, BINARY) == pytest.approx(
        metrics.brier_score_loss(BINARY, POSITIVE), abs=1e-7
    )
    many = metrics.brier_score_loss(TARGETS, LOGITS.double().softmax(-1), scale_by_half=False)
    assert uncertainty.brier_score(P, TARGETS) == pytest.approx(many, abs=1e-7)
    assert uncertainty.negative_log_likelihood(P, TARGETS) == pytest.approx(
        float(F.cross_entropy(LOGITS.double(), TARGETS)), abs=1e-6
    )
    assert uncertainty.negative_log_likelihood(POSITIVE, BINARY) == pytest.approx(
        metrics.log_loss(BINARY, POSITIVE.double()), abs=1e-6
    )


def test_a_reliability_diagram_counts_every_row_once():
    found = uncertainty.reliability(POSITIVE, BINARY, bins=10)
    assert found.rows.sum() == 500
    for edge in (0.0, 1.0):
        assert uncertainty.reliability(torch.tensor([edge]), torch.tensor([1])).confidence.item() == edge
    chart = found.chart()
    assert len(chart["layer"][1]["data"]["values"]) == len(found.rows)
    altair = pytest.importorskip("altair")
    assert altair.Chart.from_dict(chart).to_dict()["layer"][0]["mark"]["type"] == "line"


@pytest.mark.parametrize("binary", [True, False])
def test_temperature_finds_the_minimum_and_lowers_the_calibration_error(binary):
    torch.manual_seed(1)
    logits = torch.randn(20_000, dtype=torch.float64) if binary else torch.randn(20_000, 3, dtype=torch.float64)
    targets = logits.sigmoid().bernoulli() if binary else logits.softmax(-1).multinomial(1).squeeze(-1)
    sharp = 2.5 * logits  # too sure of itself by just that factor
    temperature = uncertainty.fit_temperature(sharp, targets)
    assert temperature == pytest.approx(2.5, rel=0.05)  # 5 standard errors: 1 / √(information), about 1 %

    def probability(t):
        return (sharp / t).sigmoid() if binary else (sharp / t).softmax(-1)

    losses = [uncertainty.negative_log_likelihood(probability(temperature * f), targets) for f in (0.99, 1, 1.01)]
    assert losses[1] < min(losses[0], losses[2])
    before, after = (uncertainty.expected_calibration_error(probability(t), targets) for t in (1, temperature))
    assert before > 0.05
    assert after < 0.02
    assert uncertainty.fit_temperature(torch.tensor([1.0, -1.0]), torch.tensor([1, 0])) < 0.01


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


def test_a_class_of_probability_0_does_not_move_the_temperature():
    never = torch.cat([LOGITS, torch.full_like(LOGITS[:, :1], -torch.inf)], 1)
    assert uncertainty.fit_temperature(never, TARGETS) == uncertainty.fit_temperature(LOGITS, TARGETS)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: uncertainty.brier_score(LOGITS, TARGETS), r"must lie in \[0, 1\].*softmax"),
        (lambda: uncertainty.brier_score(P, TARGETS + 1), "from 0 to 3"),
        (lambda: uncertainty.brier_score(P, TARGETS[:3]), "a target for each row"),
        (lambda: uncertainty.reliability(P, TARGETS, 0), "bins must be at least 1"),
        (lambda: uncertainty.conformal_interval(P[:, 0], P[:, 0], P[:, 1], 1.0), "coverage must lie"),
        (
            lambda: uncertainty.conformal_interval(P[:, 0], P[:8, 0], P[:8, 1], 0.9),
            "at least 9 calibration rows, got 8",
        ),
        (lambda: uncertainty.conformal_interval(P[:, 0], P[:, 0], P[:, 1], spread=P[:, 1]), "belong together"),
        (lambda: uncertainty.conformal_interval(P[:, 0], P[:, 0], P), "shape of their predictions"),
        (
            lambda: uncertainty.conformal_interval(
                P[:, 0], P[:, 0], P[:, 1], spread=P[:, 1], calibration_spread=P[:, 1] * 0
            ),
            "spreads must be positive, got 0",
        ),
        (lambda: uncertainty.conformal_interval(P[:, 0], P[:, 0] * torch.nan, P[:, 1]), "NaN among them"),
        (lambda: uncertainty.split_entropy(torch.stack([LOGITS, LOGITS])), r"must lie in \[0, 1\].*softmax"),
        (lambda: uncertainty.split_variance(LOGITS[:1]), "at least two members"),
        (lambda: uncertainty.split_variance(LOGITS, -1.0), "must not be negative, got -1"),
        (lambda: uncertainty.fit_temperature(LOGITS * torch.nan, TARGETS), "logits must be numbers"),
        (lambda: uncertainty.fit_temperature(torch.zeros_like(P).log(), TARGETS), "those of the targets finite"),
    ],
)
def test_bad_arguments_are_one_sentence(call, message):
    with pytest.raises(InputError, match=message):
        call()
