"""Which examples train, validate and test in each stage of a study of a network of one's own."""

import numpy as np

from thinned.studies.design.plan import Plan
from thinned.studies.design.splits import Rows, Split, SplitData, ValidationDeal, halves, make_splits

__all__ = ["confirm_splits", "given_test_splits", "network_splits", "pilot_splits"]


def network_splits(plan: Plan, examples: SplitData) -> list[Split]:
    """The splits of the plan's stage.

    Raises:
        ValueError: it is the plan of a table.
        InputError: groups, times or examples are too few.
    """
    own = plan.network_design
    if own.stage == "pilot":
        return pilot_splits(plan, examples)
    if own.test_examples:
        return given_test_splits(plan, examples)
    return make_splits(plan, examples) if own.stage == "nested" else confirm_splits(plan, examples)


def pilot_splits(plan: Plan, examples: SplitData) -> list[Split]:
    """For each seed, training and validation examples of the first half; none is tested.

    Where a test set is given, all examples are dealt: none of them is ever tested. The validation examples stand in
    the place of test examples, so that records are whole; only the choice of settings reads them.
    """
    own = plan.network_design
    rows = np.arange(plan.rows) if own.test_examples else halves(examples, own.division_seed)[0]
    return [split._replace(test=split.validation) for split in _dealt(plan, examples, rows)]


def confirm_splits(plan: Plan, examples: SplitData) -> list[Split]:
    """Test folds of the second half; all examples outside a fold train or validate, those of the first half included.

    By time, all before a fold.
    """
    return make_splits(plan, examples, halves(examples, plan.network_design.division_seed)[1])


def given_test_splits(plan: Plan, examples: SplitData) -> list[Split]:
    """For each seed, training and validation examples, and no test examples: the given test set is the same for all."""
    return _dealt(plan, examples, np.arange(plan.rows))


def _dealt(plan: Plan, examples: SplitData, rows: Rows) -> list[Split]:
    """One deal of the rows for each repeat, in one fold that tests none of them."""
    none = np.empty(0, dtype=np.int64)
    return [Split(repeat, 0, *ValidationDeal(plan, examples, repeat)(rows), none) for repeat in range(plan.seeds)]
