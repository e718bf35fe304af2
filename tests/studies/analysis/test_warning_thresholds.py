"""Each warning on both sides of its threshold: just beyond it the warning is there, just before it is not."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from study_cases import analysed, make_plan, make_records, make_table, own_plan, trained_networks

from thinned.studies.analysis.warnings import WarningKind, few_seeds, study_warnings
from thinned.studies.design.plan import Plan
from thinned.studies.examples.groups import GroupNumbers
from thinned.studies.examples.notices import example_notices
from thinned.studies.examples.targets import Targets
from thinned.studies.table.load import Table, load

#: of a table and of a network of one's own: no dropout and three rates of it, the second the best
PLANS = {"table": make_plan(("dropout",)), "network": own_plan(["none", "dropout"])}
GAINS = (0.0, 0.2, 0.3, 0.2)
CROSSED = pytest.mark.parametrize("crossed", [True, False], ids=["beyond", "before"])

_TESTED: set[WarningKind] = set()


def pair(kind: WarningKind, *plans: str) -> Callable[[Callable[..., set[str]]], Callable[..., None]]:
    """Test a function that gives the codes of a study's warnings, beyond the threshold of a kind and before it.

    Args:
        kind: the kind.
        plans: names of the plans that the function takes first; none where it takes no plan.
    """
    _TESTED.add(kind)

    def decorate(codes: Callable[..., set[str]]) -> Callable[..., None]:
        @CROSSED
        @pytest.mark.parametrize("plan", plans or [None])
        def test(plan: str | None, crossed: bool) -> None:
            found = codes(crossed) if plan is None else codes(PLANS[plan], crossed)
            assert (kind.code in found) is crossed, found

        return test

    return decorate


def codes(plan: Plan, of: Callable[[int, int, int], dict[str, Any]], table: Table | None = None) -> set[str]:
    """Codes of the warnings of networks that differ from the usual ones by what ``of(repeat, fold, setting)`` says."""

    def told(repeat: int, fold: int, setting: int) -> dict[str, Any]:
        return {"validation": 1 - GAINS[setting], **of(repeat, fold, setting)}

    return {warning["code"] for warning in analysed(make_records(plan, told), plan, table)["warnings"]}


def as_usual(repeat: int, fold: int, setting: int) -> dict[str, Any]:
    return {}


def place(repeat: int, fold: int) -> int:
    """The number of a split, of ten."""
    return 5 * repeat + fold


def waves(repeat: int, fold: int, setting: int) -> float:
    """Differences between networks of mean 0 and standard deviation 1, the same on every machine."""
    return float(np.random.default_rng((repeat, fold, setting)).normal())


@pair(WarningKind.DIVERGED, "table", "network")
def test_diverged(plan: Plan, crossed: bool) -> set[str]:
    """A training loss that ends more than twice as high as after the first epoch."""
    curve = [1.0] * 19 + [2.05 if crossed else 1.95]
    return codes(plan, lambda *_: {"curves": {"train": curve, "validation": curve}})


@pair(WarningKind.DIVERGED, "table", "network")
def test_losses_that_are_not_finite(plan: Plan, crossed: bool) -> set[str]:
    """One network of forty."""
    loss = None if crossed else 1e6
    return codes(plan, lambda r, f, s: {"test": loss, "validation": loss} if (r, f, s) == (0, 0, 3) else {})


@pair(WarningKind.LEAKING_COLUMN)
def test_leaking_column(crossed: bool) -> set[str]:
    """A column that separates the classes but for a few rows: ROC-AUC about 0.995 and 0.975."""
    wrong = 0.004 if crossed else 0.03
    table = make_table(
        2000, copy=lambda y, rng: np.where(rng.random(len(y)) < wrong, rng.random(len(y)) < 0.5, y == "yes") * 1.0
    )
    return codes(PLANS["table"], as_usual, table)


@pair(WarningKind.DUPLICATE_ROWS)
def test_duplicate_rows(crossed: bool) -> set[str]:
    """Copies of one row in a hundred."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=1000), "b": rng.normal(size=1000), "y": rng.choice(["no", "yes"], 1000)})
    copies = 6 if crossed else 4  # a copied row and its copy both count
    table = load(pd.concat([frame, frame[:copies]], ignore_index=True), "y")
    return codes(replace(PLANS["table"], rows=1000 + copies), as_usual, table)


@pair(WarningKind.NOTHING_LEARNT)
def test_nothing_learnt(crossed: bool) -> set[str]:
    """A loss of a constant prediction, and a ROC-AUC within 0.1 of chance or not."""
    return _about_constant(0.0, 0.59 if crossed else 0.61)


@pair(WarningKind.NOTHING_LEARNT)
def test_something_may_have_been_learnt(crossed: bool) -> set[str]:
    """An improvement of which the interval, ± 0.0305, contains zero, and ends below or above 5 % of the loss."""
    return _about_constant(0.003 if crossed else 0.006, 0.55)


@pair(WarningKind.NO_GAIN_SHOWN)
def test_no_gain_shown(crossed: bool) -> set[str]:
    """An improvement of which the interval, ± 0.0305, contains zero or does not."""
    return _about_constant(0.029 if crossed else 0.032, 0.7)


def _about_constant(gain: float, roc_auc: float) -> set[str]:
    table = make_table(2000)
    shares = np.bincount(table.target) / 2000
    constant = -float(shares @ np.log(shares))
    spread = np.linspace(-1, 1, 10)

    def of(repeat: int, fold: int, setting: int) -> dict[str, Any]:
        loss = constant - gain + 0.045 * float(spread[(3 * place(repeat, fold)) % 10])
        return {"test": loss}

    plan = PLANS["table"]
    records = make_records(plan, lambda r, f, s: {"validation": 1 - GAINS[s], **of(r, f, s)})
    for record in records:
        record["best"]["scores"]["roc_auc"] = roc_auc
    return {warning["code"] for warning in analysed(records, plan, table)["warnings"]}


@pair(WarningKind.FEW_ROWS, "table", "network")
def test_few_rows(plan: Plan, crossed: bool) -> set[str]:
    """Four fifths of the rows, 499 or 500, train and validate."""
    return codes(replace(plan, rows=624 if crossed else 625), as_usual)


@pair(WarningKind.FEW_SPLITS, "table", "network")
def test_few_splits(plan: Plan, crossed: bool) -> set[str]:
    return codes(replace(plan, folds=5 if crossed else 6, seeds=1), as_usual)


@pair(WarningKind.FEW_SEEDS)
def test_few_seeds(crossed: bool) -> set[str]:
    return {warning.code for warning in few_seeds(4 if crossed else 5)}


@pair(WarningKind.SMALL_TEST_FOLD, "table", "network")
def test_small_test_fold(plan: Plan, crossed: bool) -> set[str]:
    """A difference of 5 % of the loss that would or would not have been detected."""
    noise = 0.031 if crossed else 0.028
    return codes(plan, lambda r, f, s: {"test": 1 + noise * waves(r, f, s)})


@pair(WarningKind.FEW_CLASS_ROWS)
def test_few_class_rows(crossed: bool) -> set[str]:
    """A class of 99 or 100 rows in five test folds."""
    table = make_table(2000)
    rare = np.where(np.arange(2000) < (99 if crossed else 100), 1, 0)
    return codes(PLANS["table"], as_usual, replace(table, target=rare))


@pair(WarningKind.BUDGET, "table", "network")
def test_budget(plan: Plan, crossed: bool) -> set[str]:
    """The last epoch is the best on more than half of the splits, or on half of them."""
    late = 6 if crossed else 5
    return codes(plan, lambda r, f, s: {"best_epoch": 20 if place(r, f) < late else 10})


@pair(WarningKind.BUDGET, "table", "network")
def test_the_last_epochs(plan: Plan, crossed: bool) -> set[str]:
    """The last twentieth of 20 epochs is the last one."""
    return codes(plan, lambda r, f, s: {"best_epoch": 20 if crossed else 19})


@pair(WarningKind.UNREPORTED)
def test_unreported(crossed: bool) -> set[str]:
    """One network of forty reported one validation loss, or two."""
    plan = PLANS["network"]
    plan = replace(plan, own=replace(plan.network_design, training=(("train", "given"),)))
    few = {"curves": {"train": [], "validation": [1.0] * (1 if crossed else 2)}, "best_epoch": 1}
    enough = {"curves": {"train": [], "validation": [1.0] * 20}}
    return codes(plan, lambda r, f, s: few if (r, f, s) == (0, 0, 1) else enough)


@pair(WarningKind.GRID_EDGE, "table", "network")
def test_grid_edge(plan: Plan, crossed: bool) -> set[str]:
    """The highest rate is chosen on more than half of the splits, or on half of them."""
    highest = 6 if crossed else 5
    return codes(plan, lambda r, f, s: {"validation": 0.5 if s == (3 if place(r, f) < highest else 2) else 1.0})


@pair(WarningKind.NO_OVERFITTING, "table", "network")
def test_no_overfitting(plan: Plan, crossed: bool) -> set[str]:
    """A test loss of 1 that exceeds the training loss by 0.03 or 0.06, known to about 0.01."""
    gap = 0.03 if crossed else 0.06
    return codes(plan, lambda r, f, s: {"train": 1 - gap + 0.005 * waves(r, f, s)})


@pair(WarningKind.SHARED_GROUPS)
def test_shared_groups(crossed: bool) -> set[str]:
    """The test set has one group of the training set, or none."""
    groups = GroupNumbers(np.arange(100) // 10, np.arange(20) // 5 + (9 if crossed else 10))
    return _of_examples(Targets("multiclass", ("a", "b"), np.arange(100) % 2), groups)


@pair(WarningKind.TARGET_SCALE)
def test_target_scale(crossed: bool) -> set[str]:
    """Targets whose standard deviation is 11 or 9."""
    values = np.tile([-1.0, 1.0], 50) * (11 if crossed else 9)
    return _of_examples(Targets("regression", (), values), GroupNumbers(None, None))


@pair(WarningKind.TARGET_SCALE)
def test_target_mean(crossed: bool) -> set[str]:
    """Targets whose mean is 10.5 or 9.5."""
    values = np.tile([-1.0, 1.0], 50) + (10.5 if crossed else 9.5)
    return _of_examples(Targets("regression", (), values), GroupNumbers(None, None))


def _of_examples(targets: Targets, groups: GroupNumbers) -> set[str]:
    plan = PLANS["network"]
    trained = trained_networks(make_records(plan, as_usual), plan)
    notices = example_notices(targets, groups, has_loss=False)
    return {warning.code for warning in study_warnings(trained, [], notices=notices)}


@pair(WarningKind.COLUMN_READING)
def test_column_reading(crossed: bool) -> set[str]:
    """No day of the month is above 12, or one is."""
    days = [f"{1 + n % 12:02d}/{1 + n % 7:02d}/2024" for n in range(400)]
    days[7] = "05/06/2024" if crossed else "13/06/2024"
    return codes(PLANS["table"], as_usual, make_table(400, when=lambda y, rng: days))


@pair(WarningKind.IDENTIFIER)
def test_identifier(crossed: bool) -> set[str]:
    """A key for each row, or one that occurs twice."""
    keys = [f"C{n:05}" for n in range(400)]
    keys[0] = keys[0] if crossed else keys[1]
    return codes(PLANS["table"], as_usual, make_table(400, customer=lambda y, rng: keys))


@pair(WarningKind.ROW_NUMBERS)
def test_row_numbers(crossed: bool) -> set[str]:
    """A number for each row, or one that occurs twice."""
    numbers = np.random.default_rng(1).permutation(400) + 1000
    numbers[0] = numbers[0] if crossed else numbers[1]
    return codes(PLANS["table"], as_usual, make_table(400, customer_id=lambda y, rng: numbers))


@pytest.mark.parametrize("kind", WarningKind)
def test_every_warning_is_tested_on_both_sides_of_its_threshold(kind: WarningKind) -> None:
    assert kind in _TESTED
