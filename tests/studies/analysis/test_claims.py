"""The two claims that curves can answer, on curves whose truth is known."""

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from study_cases import as_json, make_plan, make_records, trained_networks

from thinned.studies.analysis.claims.epoch_cost import epoch_cost_claim
from thinned.studies.analysis.claims.underfitting import underfitting_claim
from thinned.studies.design.plan import Plan

RATES = (0.1, 0.3, 0.5, 0.6, 0.7, 0.8)
PLAN = make_plan(["dropout"], RATES, epochs=40)


def judged(claim: Callable[..., Any], records: list[dict[str, Any]], plan: Plan = PLAN, **options: Any) -> Any:
    """A claim about these records as ``results.json`` has it."""
    return as_json(claim(trained_networks(records, plan), **options))


def studied(losses: Sequence[dict[str, float]], noise: float = 0.001) -> list[dict[str, Any]]:
    """Records with these losses for each setting, and a little noise on each."""
    rng = np.random.default_rng(0)

    def of(repeat: int, fold: int, setting: int) -> dict[str, float]:
        return {part: value + noise * rng.normal() for part, value in losses[setting].items()}

    return make_records(PLAN, of)


def from_rate(start: float, best: float = 0.3) -> list[dict[str, float]]:
    """Held-out loss is least at the best rate; training loss rises with the rate, both steeply from ``start`` on."""
    losses = []
    for p in (0.0, *RATES):
        bad = 0.3 if p >= start else 0.0
        held_out = 1.0 - 0.2 * (p == best) + bad
        test = held_out if bad else 0.8 - 0.01 * p
        losses.append({"train": 0.1 + 0.01 * p + bad, "validation": held_out, "test": test})
    return losses


@pytest.mark.parametrize(("start", "holds"), [(0.5, False), (0.6, False), (0.7, True), (0.8, True), (9.0, False)])
def test_where_underfitting_starts(start: float, holds: bool) -> None:
    found = judged(underfitting_claim, studied(from_rate(start)))
    assert found is not None
    assert found["best"]["best_rate"] == 0.3
    assert found["best"]["underfits_from"] == found["end"]["underfits_from"] == (start if start < 1 else None)
    assert found["holds"] is holds
    finding = f"rates from {start:g} on underfit" if start < 0.8 else "a rate of 0.8 underfits"
    measure = "training and test loss both higher than at rate 0.3, which has the least validation loss"
    finding = finding if start < 1 else "no rate up to 0.8 underfits"
    assert found["sentence"] == f"At the best epoch, {finding} ({measure})."
    assert found["rates"] == [0.0, *RATES]
    assert [len(found["end"][part]) for part in ("train", "validation", "test")] == [7, 7, 7]
    assert found["best"]["train"][1]["mean"] == pytest.approx(0.101, abs=0.002)
    json.dumps(found, allow_nan=False)


def test_rates_that_were_still_improving_decide_nothing() -> None:
    records = studied(from_rate(0.7))
    late = [r | {"best_epoch": 40} if r["setting"] in (5, 6) else r for r in records]
    found = judged(underfitting_claim, late)
    assert found["holds"] is None
    assert "rates 0.7 and 0.8 were still improving when the budget ended" in found["sentence"]
    below_the_best = [r | {"best_epoch": 40} if r["setting"] == 1 else r for r in records]
    assert judged(underfitting_claim, below_the_best) == judged(underfitting_claim, records)


def test_a_grid_that_ends_at_the_claim_cannot_tell() -> None:
    plan = make_plan(["dropout"], (0.1, 0.7))
    found = judged(underfitting_claim, make_records(plan, lambda *place: {}), plan)
    assert found is not None
    assert found["holds"] is None


def test_a_higher_training_loss_alone_is_no_underfitting() -> None:
    losses = [at | {"test": 0.8} for at in from_rate(0.5)]
    found = judged(underfitting_claim, studied(losses))
    assert found is not None
    assert found["best"]["underfits_from"] is None


def test_one_bad_rate_amid_good_ones_is_no_underfitting() -> None:
    losses = from_rate(9.0)
    losses[3] = {"train": 1.0, "validation": 2.0, "test": 2.0}
    found = judged(underfitting_claim, studied(losses))
    assert found is not None
    assert found["best"]["underfits_from"] is None


def test_underfitting_within_the_noise_is_none() -> None:
    losses = from_rate(0.7)
    found = judged(underfitting_claim, studied(losses, noise=2.0))
    assert found is not None
    assert found["best"]["underfits_from"] != 0.7


def test_worse_than_none_is_another_question() -> None:
    """Dropout that is too strong may still beat none at all."""
    losses = [at | ({"test": 1.5} if not number else {}) for number, at in enumerate(from_rate(0.6))]
    found = judged(underfitting_claim, studied(losses))
    assert found is not None
    assert found["best"]["underfits_from"] == 0.6
    assert found["best"]["worse_than_none_from"] is None


def falling(half_life: float, epochs: int = 40, start: float = 1.0) -> list[float]:
    return [start * 0.5 ** ((epoch + 1) / half_life) for epoch in range(epochs)]


def priced(ratio: float, spread: float = 0.0, none: float = 3.0, best_epoch: int = 10) -> list[dict[str, Any]]:
    """Dropout falls ``ratio`` times as slowly as none."""
    rng = np.random.default_rng(1)

    def of(repeat: int, fold: int, setting: int) -> dict[str, Any]:
        slower = ratio * math.exp(spread * rng.normal()) if setting else 1.0
        curve = falling(none * slower)
        return {
            "curves": {"train": curve, "validation": curve},
            "best_epoch": best_epoch,
            "validation": 1 + setting / 10,
        }

    return make_records(PLAN, of)


@pytest.mark.parametrize("ratio", [0.5, 1.0, 1.3, 2.0, 2.9])
def test_the_price_is_the_ratio_of_epochs(ratio: float) -> None:
    """Exponential curves between whole epochs: the straight line between two epochs is off by less than 2 % of one."""
    found = judged(epoch_cost_claim, priced(ratio), epoch_seconds=0.5)
    assert found is not None
    row = found["rates"][0]
    assert found["epochs"] == 10
    assert row["ratio"]["mean"] == pytest.approx(ratio, rel=0.02)
    assert row["epochs"] == pytest.approx(10 * ratio, rel=0.02)
    assert (found["seconds"], row["seconds"]) == (5.0, pytest.approx(5 * ratio, rel=0.02))
    assert row["reached"] == 10
    assert [r["rate"] for r in found["rates"]] == list(RATES)
    assert found["rate"] == 0.1
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize(
    ("ratio", "spread", "holds"), [(2.0, 0.1, True), (3.5, 0.05, False), (1.2, 0.05, False), (1.5, 1.0, None)]
)
def test_whether_dropout_doubles_the_epochs(ratio: float, spread: float, holds: bool | None) -> None:
    found = judged(epoch_cost_claim, priced(ratio, spread))
    assert found is not None
    assert found["holds"] is holds
    assert f"{found['rates'][0]['ratio']['mean']:.1f} times the epochs" in found["sentence"]
    assert found["seconds"] is None


def test_a_level_that_is_not_reached_is_a_lower_bound() -> None:
    found = judged(epoch_cost_claim, priced(10.0))
    assert found is not None
    row = found["rates"][0]
    assert (row["reached"], row["epochs"], row["ratio"]["high"]) == (0, None, None)
    assert row["ratio"]["mean"] == row["ratio"]["low"] == pytest.approx(4)
    assert found["holds"] is False
    assert "no network reached" in found["sentence"]
    json.dumps(found, allow_nan=False)


def test_a_level_that_is_reached_on_some_splits() -> None:
    records = priced(1.5)
    slow = [
        r | {"curves": {"train": [9.0] * 40, "validation": [9.0] * 40}} if r["fold"] == 0 and r["setting"] else r
        for r in records
    ]
    found = judged(epoch_cost_claim, slow)
    assert found is not None
    row = found["rates"][0]
    assert row["reached"] == 8
    assert row["epochs"] == pytest.approx(15, rel=0.02)  # the median counts what was not reached as infinite
    assert row["ratio"]["mean"] == pytest.approx(math.exp((8 * math.log(1.5) + 2 * math.log(4)) / 10), rel=0.02)
    assert found["holds"] is None
    assert "8 of 10 networks reached" in found["sentence"]


def test_a_level_of_the_first_epoch_costs_one_epoch() -> None:
    found = judged(epoch_cost_claim, priced(1.0, best_epoch=1))
    assert found is not None
    assert found["epochs"] == 1
    assert found["rates"][0]["ratio"]["mean"] == pytest.approx(1)


@pytest.mark.parametrize("claim", [underfitting_claim, epoch_cost_claim])
def test_without_dropout_there_is_nothing_to_claim(claim: Any) -> None:
    plan = make_plan(["weight_decay"])
    assert judged(claim, make_records(plan, lambda *place: {}), plan) is None
