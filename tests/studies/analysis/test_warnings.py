"""Warnings: each has a study that deserves it and one that does not."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from study_cases import analysed, make_plan, make_records, make_table, noisy, own_plan, trained_networks

from thinned.studies.analysis.leakage import baseline_loss, leaking_columns
from thinned.studies.analysis.warnings import WarningKind, few_seeds, pilot_warnings
from thinned.studies.design.own_network.stages import pilot_plan
from thinned.studies.design.plan import Plan
from thinned.studies.table.load import Table

PLAN = make_plan()
GAINS = [0, 0.2, 0.3, 0.2, 0.05, 0.1, 0.05]


def codes(records: list[dict[str, Any]], plan: Plan = PLAN, table: Table | None = None) -> dict[str, str]:
    return {w["code"]: w["message"] for w in analysed(records, plan, table)["warnings"]}


def changed(**told: Any) -> list[dict[str, Any]]:
    return make_records(PLAN, lambda repeat, fold, setting: {"validation": 1 - GAINS[setting], **told})


def test_a_clean_study_has_no_warning() -> None:
    table = make_table(rows=2000)
    records = make_records(
        PLAN, lambda repeat, fold, setting: {"validation": 1 - GAINS[setting], "test": 0.6 + fold / 1e3}
    )
    assert codes(records, PLAN, table) == {}


@pytest.mark.parametrize("kind", WarningKind)
def test_every_warning_has_a_title_and_a_next_step(kind: WarningKind) -> None:
    assert kind.code == kind.name.lower()
    assert kind.title
    assert kind.next_step.endswith(".")


def test_few_rows() -> None:
    assert "400 rows" in codes(changed(), replace(PLAN, rows=500))["few_rows"]
    assert "few_rows" not in codes(changed(), replace(PLAN, rows=625))
    by_time = replace(PLAN, rows=800, time="when")  # windows of 133, 267, 400, 533 and 667 rows
    assert "On average, a network had 400 rows" in codes(changed(), by_time)["few_rows"]


def test_few_splits() -> None:
    small = replace(PLAN, folds=2, seeds=2)
    assert "4 splits" in codes(make_records(small, lambda *place: {}), small)["few_splits"]
    enough = replace(PLAN, folds=3, seeds=2)
    assert "few_splits" not in codes(make_records(enough, lambda *place: {}), enough)


def test_few_seeds_of_a_given_test_set() -> None:
    (warning,) = few_seeds(3)
    assert warning.code == "few_seeds"
    assert "3 seeds" in warning.message
    assert not few_seeds(5)


def test_a_test_fold_too_small_to_tell() -> None:
    assert (
        "Only a difference of 39\u00a0% of the log loss" in codes(noisy(PLAN, [0] * 7, 0.3, 0), PLAN)["small_test_fold"]
    )
    assert "small_test_fold" not in codes(noisy(PLAN, [0] * 7, 0.02, 0), PLAN)
    assert "small_test_fold" not in codes(noisy(PLAN, [0, 2, 2, 2, 0, 0, 0], 0.3, 0), PLAN)  # it could tell


def test_budget_limited_arms_are_named() -> None:
    def of(repeat: int, fold: int, setting: int) -> dict[str, Any]:
        return {"validation": 1 - GAINS[setting], "best_epoch": 20 if setting == 2 and fold else 19}

    message = codes(make_records(PLAN, of))["budget"]
    assert "dropout (8 of 10 splits)" in message
    assert "weight decay" not in message


def test_arms_that_need_more_epochs_are_counted_where_all_do_and_one_is_no_plural() -> None:
    def told(late: set[int]) -> tuple[str, str]:
        records = make_records(
            PLAN, lambda _r, _f, s: {"validation": 1 - GAINS[s], "best_epoch": 20 if s in late else 10}
        )
        (found,) = [w for w in analysed(records, PLAN)["warnings"] if w["code"] == "budget"]
        return found["message"], found["next_step"]

    arms = len(PLAN.arms)
    message, next_step = told(set(range(7)))
    assert message == f"All {arms} arms were at their best in the last 5\u00a0% of 20 epochs on most splits."
    assert next_step == "Run the study with --epochs 80: these arms may move up."
    message, next_step = told({0})
    assert message.startswith("This arm was at its best in the last 5\u00a0% of 20 epochs: no regularisation (10 of")
    assert next_step.endswith(": this arm may move up.")


def test_a_column_that_numbers_the_rows_comes_first_and_its_advice_stands_once() -> None:
    table = make_table(400, customer_id=lambda y, rng: np.random.default_rng(1).permutation(400) + 1000)
    first = analysed(noisy(PLAN, [0] * 7, 0.3, 0), PLAN, table)["warnings"][0]
    assert first["code"] == "row_numbers"
    assert first["message"] == "'customer_id': the values number the rows."
    assert first["next_step"] == "Leave it out with --column customer_id=drop, unless its values mean something."


def test_a_budget_too_small_hides_no_wide_interval() -> None:
    records = [r | {"best_epoch": 20} for r in noisy(PLAN, [0] * 7, 0.3, 0)]
    assert {"budget", "small_test_fold"} <= set(codes(records))


def test_an_arm_at_the_edge_of_its_grid() -> None:
    def of(repeat: int, fold: int, setting: int) -> dict[str, Any]:
        chosen = 3 if fold else 2
        return {"validation": 1.0 - (setting == chosen) - 0.5 * (setting == 4)}

    message = codes(make_records(PLAN, of))["grid_edge"]
    assert (
        "dropout (highest rate 0.5, 8 of 10 splits), weight decay (lowest weight decay 0.01, 10 of 10 splits)."
        in message
    )


def test_a_pilot_at_the_edge_of_its_scales() -> None:
    plan = pilot_plan(own_plan(["none", "dropout", "as_is"]))
    labels = [setting.label for setting in plan.settings]
    assert labels[1:] == [
        f"dropout {words}" for words in ("at 0.5 times its own rates", "as it is", "at 1.5 times its own rates")
    ]

    def best(setting: int) -> list[str]:
        records = make_records(plan, lambda repeat, fold, s: {"validation": 1.0 - (s == setting)})
        return [warning.message for warning in pilot_warnings(trained_networks(records, plan, 0.25))]

    assert best(2) == []
    [message] = best(3)
    assert "dropout (highest scale of the rates 1.5, 2 of 2 seeds)." in message


def test_zero_is_no_edge() -> None:
    """The cocktail may choose no dropout at all: nothing lies beyond."""
    plan = make_plan(["dropout", "cocktail"])
    records = make_records(plan, lambda repeat, fold, setting: {"validation": float(setting > 0) + abs(setting - 2)})
    assert "grid_edge" not in codes(records, plan)


def test_networks_that_blew_up() -> None:
    def of(repeat: int, fold: int, setting: int) -> dict[str, Any]:
        curve = [1.0] * 19 + [2.5 if setting == 6 and repeat else 1.9]
        return {"validation": 1 - GAINS[setting], "curves": {"train": curve, "validation": curve}}

    assert "Weight decay 1: the training loss of 5 of 10 networks" in codes(make_records(PLAN, of))["diverged"]


def test_settings_that_diverged_stand_in_one_warning() -> None:
    """Two settings lost a network, and of two others the loss rose: two warnings, each with its list."""

    def of(repeat: int, fold: int, setting: int) -> dict[str, Any]:
        curve = [1.0] * 19 + [2.5 if setting in (1, 2) and repeat else 1.9]
        lost = {"train": math.inf} if setting in (5, 6) and not fold else {}
        return {"validation": 1 - GAINS[setting], "curves": {"train": curve, "validation": curve}, **lost}

    found = analysed(make_records(PLAN, of), PLAN)["warnings"]
    lost, risen = [warning["message"] for warning in found if warning["code"] == "diverged"]
    assert lost == (
        "Networks of 2 settings have losses that are not finite. The settings are left out: weight decay 0.1 (2 of 10 "
        "networks), weight decay 1 (2 of 10 networks)."
    )
    assert risen.startswith("The training loss of networks of 2 settings is more than 2 times as large at the end")
    assert risen.endswith(": dropout 0.1 (5 of 10 networks), dropout 0.3 (5 of 10 networks).")


def gap(train: float, noise: float) -> list[dict[str, Any]]:
    """Test losses of 1 and training losses around ``train``."""
    rng = np.random.default_rng(0)
    return make_records(
        PLAN,
        lambda repeat, fold, setting: {"validation": 1 - GAINS[setting], "train": train + noise * rng.normal()},
    )


def test_networks_that_fit_new_rows_as_well() -> None:
    assert "exceeds the training loss by" in codes(gap(0.99, 0.01))["no_overfitting"]
    assert "no_overfitting" not in codes(gap(0.9, 0.01))  # a tenth of the loss
    assert "no_overfitting" not in codes(gap(0.99, 0.5))  # nothing is shown
    assert "no_overfitting" not in codes(changed())


def noisy_loss(loss: float, noise: float, roc_auc: float) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    records = make_records(
        PLAN, lambda repeat, fold, setting: {"validation": 1 - GAINS[setting], "test": loss + noise * rng.normal()}
    )
    for record in records:
        record["best"]["scores"]["roc_auc"] = roc_auc
    return records


def test_nothing_learnt() -> None:
    table = make_table(rows=2000)
    chance = noisy_loss(0.70, 0.005, 0.51)  # a constant prediction has 0.693
    assert "0.693" in codes(chance, PLAN, table)["nothing_learnt"]
    ranked = codes(noisy_loss(0.70, 0.005, 0.88), PLAN, table)  # badly calibrated
    assert "nothing_learnt" not in ranked
    assert "ROC-AUC is 0.88" in ranked["no_gain_shown"]
    unknown = codes(noisy_loss(0.68, 0.2, 0.51), PLAN, table)  # anything may be true
    assert "nothing_learnt" not in unknown
    assert "no_gain_shown" in unknown
    learnt = codes(changed(test=0.5), PLAN, table)
    assert not {"nothing_learnt", "no_gain_shown"} & learnt.keys()


def test_chance_is_the_best_constant_prediction() -> None:
    table = make_table(task="multiclass")
    shares = np.bincount(table.target) / 400
    assert baseline_loss(table) == pytest.approx(-np.log(shares)[table.target].mean())
    assert baseline_loss(make_table(task="regression")) == 1


def test_a_rare_class() -> None:
    table = make_table()
    target = np.where(np.arange(400) < 30, 1, 0)
    few = Table(**{**vars(table), "target": target})
    assert "about 6 rows of class “yes”" in codes(changed(), PLAN, few)["few_class_rows"]
    assert "few_class_rows" not in codes(changed(), PLAN, table)
    enough = Table(**{**vars(table), "target": np.where(np.arange(400) < 100, 1, 0)})  # 20 in a fold
    assert "few_class_rows" not in codes(changed(), PLAN, enough)
    assert "about 5 rows" in codes(changed(), replace(PLAN, time="when"), few)["few_class_rows"]  # of six stretches


# --- columns that tell the target --------------------------------------------------------------------------------

LEAKS = {
    "copy": lambda y, rng: y.map({"yes": 7.0, "no": -2.0}) + 0.1 * rng.normal(size=len(y)),
    "inside": lambda y, rng: np.where(y == "yes", 0, rng.choice([-1, 1], len(y))) + 0.05 * rng.normal(size=len(y)),
    "text": lambda y, rng: y.map({"yes": "closed", "no": "open"}),
    "date": lambda y, rng: pd.to_datetime("2024-01-01") + pd.to_timedelta(np.where(y == "yes", 400, 9), unit="D"),
}


@pytest.mark.parametrize("name", LEAKS)
def test_a_column_that_leaks_the_target_is_found(name: str) -> None:
    table = make_table(**{name: LEAKS[name]})
    assert [column for column, _ in leaking_columns(table)] == [name]
    assert f"Column “{name}” alone" in codes(changed(test=0.5), PLAN, table)["leaking_column"]


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_a_number_for_each_row_leaks_nothing(task: str) -> None:
    """An identifier would tell the target only of rows that a tree was grown on."""
    table = make_table(
        task=task,
        number=lambda y, rng: rng.permutation(len(y)),
        name=lambda y, rng: [f"customer {i}" for i in rng.permutation(len(y))],
        flat=lambda y, rng: 1,
    )
    assert list(leaking_columns(table)) == []


@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_leaks_of_other_tasks(task: str) -> None:
    table = make_table(
        rows=1000,
        task=task,
        other=lambda y, rng: pd.Series(pd.factorize(y)[0]) if task == "multiclass" else np.exp(y / 20),
    )
    [(column, value)] = leaking_columns(table)
    assert column == "other"
    assert value > 0.99


def test_a_rare_class_hides_no_leak() -> None:
    """Nothing predicts the third class, of 4 rows; a mean that counts classes alike would be 5/6."""
    table = make_table(rows=1000, task="multiclass", other=lambda y, rng: pd.Series(pd.factorize(y)[0]))
    target = np.where(table.target == 2, 1, table.target)
    features = table.features.assign(other=target)
    rare = np.where(np.arange(1000) % 250 == 0, 2, target)
    leaking = Table(**{**vars(table), "target": rare, "features": features})
    assert [column.name for column in leaking_columns(leaking)] == ["other"]


def test_a_class_that_is_not_in_both_halves_is_no_error() -> None:
    table = make_table()
    few = Table(**{**vars(table), "target": np.where(np.arange(400) < 1, 1, 0)})
    assert list(leaking_columns(few)) == []
