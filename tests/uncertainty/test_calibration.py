"""Calibration: against torchmetrics and scikit-learn, and by properties."""

import pytest
import torch
import torch.nn.functional as F
from sklearn import metrics

from thinned import uncertainty
from thinned.errors import InputError

GENERATOR = torch.Generator().manual_seed(0)
LOGITS = 2 * torch.randn(500, 4, generator=GENERATOR)
TARGETS = torch.randint(4, (500,), generator=GENERATOR)
P, POSITIVE, BINARY = LOGITS.softmax(-1), LOGITS[:, 0].sigmoid(), TARGETS % 2


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
    one_hot = F.one_hot(TARGETS, LOGITS.shape[-1])
    many = metrics.mean_squared_error(one_hot, LOGITS.double().softmax(-1)) * LOGITS.shape[-1]
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


def test_a_class_of_probability_0_does_not_move_the_temperature():
    never = torch.cat([LOGITS, torch.full_like(LOGITS[:, :1], -torch.inf)], 1)
    assert uncertainty.fit_temperature(never, TARGETS) == uncertainty.fit_temperature(LOGITS, TARGETS)


def test_rounding_is_no_error():
    p = torch.tensor([1 + 2**-22, 0.3])
    assert uncertainty.brier_score(p, torch.tensor([1, 0])) == pytest.approx(0.045, abs=1e-7)
    assert uncertainty.negative_log_likelihood(p, torch.tensor([1, 0])) > 0
    rounded = LOGITS.half().softmax(-1).float()
    assert uncertainty.brier_score(rounded, TARGETS) == pytest.approx(uncertainty.brier_score(P, TARGETS), abs=1e-3)


def test_a_diagram_is_short_in_print():
    assert repr(uncertainty.reliability(P, TARGETS, 5)) == (
        "Reliability(confidence=float64[4], frequency=float64[4], rows=int64[4])"
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: uncertainty.brier_score(LOGITS, TARGETS), r"must lie in \[0, 1\].*softmax"),
        (lambda: uncertainty.brier_score(P, TARGETS + 1), "from 0 to 3"),
        (lambda: uncertainty.brier_score(P, TARGETS[:3]), "a target for each row"),
        (lambda: uncertainty.brier_score(LOGITS.sigmoid(), TARGETS), "must sum to 1"),
        (lambda: uncertainty.expected_calibration_error(torch.full((3, 5), 0.9), TARGETS[:3]), "one at a time"),
        (lambda: uncertainty.reliability(P, TARGETS, 0), "bins must be at least 1"),
        (lambda: uncertainty.fit_temperature(LOGITS * torch.nan, TARGETS), "logits must be numbers"),
        (lambda: uncertainty.fit_temperature(torch.zeros_like(P).log(), TARGETS), "finite for the targets"),
    ],
)
def test_bad_arguments_are_one_sentence(call, message):
    with pytest.raises(InputError, match=message):
        call()
