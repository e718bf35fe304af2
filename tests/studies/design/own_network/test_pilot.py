"""Splits of the stages: a pilot's half, the confirmation's folds, and a given test set."""

import dataclasses
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from study_cases import own_plan

from thinned.errors import InputError
from thinned.studies.design.own_network.pilot import network_splits
from thinned.studies.design.own_network.stages import confirm_plan, pilot_plan
from thinned.studies.design.plan import Plan
from thinned.studies.design.splits import Split, halves, make_splits

ROWS = 203


def examples(**changes: Any) -> Any:
    target = np.random.default_rng(0).choice(3, ROWS, p=[0.6, 0.3, 0.1])
    values = {"target": target, "classes": ("a", "b", "c"), "task": "multiclass", "groups": None, "times": None}
    return SimpleNamespace(**(values | changes))


def stages(**changes: Any) -> tuple[Plan, Plan]:
    plan = own_plan(rows=ROWS, task="multiclass", **changes)
    return pilot_plan(plan), confirm_plan(plan, {arm.name: arm.settings[0] for arm in plan.arms}, "")


def check(splits: list[Split], *, pilot: bool = False) -> None:
    for split in splits:
        parts = np.concatenate([split.train, split.validation, *([] if pilot else [split.test])])
        assert not pilot or np.array_equal(split.validation, split.test)
        assert len(np.unique(parts)) == len(parts)
        assert len(split.train)
        assert len(split.validation)


def test_the_halves_are_disjoint_whole_and_stratified() -> None:
    data = examples()
    first, second = halves(data, 7)
    assert sorted([*first, *second]) == list(range(ROWS))
    assert abs(len(first) - len(second)) <= 1
    counts = [np.bincount(data.target[half], minlength=3) for half in (first, second)]
    assert np.abs(counts[0] - counts[1]).max() <= 1
    assert np.array_equal(first, halves(data, 7)[0])
    assert not np.array_equal(first, halves(data, 8)[0])


def test_the_pilot_sees_the_first_half_alone_and_the_folds_come_from_the_second() -> None:
    data, (pilot, confirm) = examples(), stages()
    first, second = halves(data, pilot.network_design.division_seed)
    splits = network_splits(pilot, data)
    check(splits, pilot=True)
    assert [split[:2] for split in splits] == [(0, 0), (1, 0)]
    assert all(sorted([*split.train, *split.validation]) == sorted(first) for split in splits)
    assert not np.array_equal(np.sort(splits[0].validation), np.sort(splits[1].validation))
    assert all(len(split.validation) == pytest.approx(len(first) / 5, abs=1) for split in splits)

    confirmed = network_splits(confirm, data)
    check(confirmed)
    assert len(confirmed) == confirm.folds * confirm.seeds == 10
    for repeat in range(confirm.seeds):
        tested = np.concatenate([split.test for split in confirmed if split.repeat == repeat])
        assert sorted(tested) == sorted(second)
    for split in confirmed:
        assert len(split.train) + len(split.validation) + len(split.test) == ROWS
        assert set(first) <= {*split.train, *split.validation}
        assert set(data.target[split.train]) == {0, 1, 2}


def test_groups_stay_whole_in_both_stages() -> None:
    groups = np.random.default_rng(1).integers(0, 20, ROWS)
    data, (pilot, confirm) = examples(groups=groups, target=np.zeros(ROWS), task="other", classes=()), stages(group="g")
    first, second = halves(data, 0)
    assert set(groups[first]).isdisjoint(groups[second])
    check(network_splits(pilot, data), pilot=True)
    check(network_splits(confirm, data))
    for split in (*network_splits(pilot, data), *network_splits(confirm, data)):
        assert set(groups[split.train]).isdisjoint(groups[[*split.validation, *split.test]])
    for split in network_splits(confirm, data):
        assert set(groups[split.validation]).isdisjoint(groups[split.test])


def test_by_time_the_pilot_is_the_earlier_half_and_folds_are_trained_on_what_is_before_them() -> None:
    times = np.random.default_rng(2).permutation(ROWS) // 2  # pairs of one time
    data, (pilot, confirm) = examples(times=times), stages(time="t", seeds=1)
    first, second = halves(data, 0)
    assert times[first].max() < times[second].min()
    for split in network_splits(pilot, data):
        assert {*split.train, *split.validation} == set(first)
        assert times[split.train].max() < times[split.validation].min()
    confirmed = network_splits(confirm, data)
    assert sorted(np.concatenate([split.test for split in confirmed])) == sorted(second)
    for split in confirmed:
        assert times[split.train].max() < times[split.validation].min()
        assert times[split.validation].max() < times[split.test].min()
        assert set(first) <= {*split.train, *split.validation}
    assert max(len(split.test) for split in confirmed) - min(len(split.test) for split in confirmed) <= 4


def test_with_a_given_test_set_all_examples_train_or_validate() -> None:
    plan = own_plan(rows=ROWS, task="multiclass", folds=1, seeds=10)
    plan = dataclasses.replace(plan, own=dataclasses.replace(plan.network_design, test_examples=50))
    chosen = {arm.name: arm.settings[0] for arm in plan.arms}
    for stage, number in ((plan, 10), (pilot_plan(plan), 2), (confirm_plan(plan, chosen, ""), 10)):
        splits = network_splits(stage, examples())
        check(splits, pilot=stage.network_design.stage == "pilot")
        assert [split[:2] for split in splits] == [(repeat, 0) for repeat in range(number)]
        assert all(sorted([*split.train, *split.validation]) == list(range(ROWS)) for split in splits)
        assert stage.network_design.stage == "pilot" or not any(len(split.test) for split in splits)
        assert len({tuple(split.validation) for split in splits}) == number


def test_pilot_and_confirmation_deal_from_streams_of_their_own() -> None:
    plan = own_plan(rows=ROWS, task="multiclass", folds=1, seeds=2)
    plan = dataclasses.replace(plan, own=dataclasses.replace(plan.network_design, test_examples=50))
    chosen = {arm.name: arm.settings[0] for arm in plan.arms}
    both = [network_splits(stage, examples()) for stage in (pilot_plan(plan), confirm_plan(plan, chosen, ""))]
    assert len({tuple(split.validation) for splits in both for split in splits}) == 4


def test_the_nested_design_is_that_of_tables() -> None:
    plan, data = own_plan(rows=ROWS, task="multiclass"), examples()
    for ours, theirs in zip(network_splits(plan, data), make_splits(plan, data), strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_one_group_and_one_time_are_refused() -> None:
    pilot, _ = stages(group="g")
    with pytest.raises(InputError, match="a pilot and a confirmation need groups of their own; there is one group"):
        network_splits(pilot, examples(groups=np.zeros(ROWS, dtype=np.int64)))
    pilot, _ = stages(time="t")
    with pytest.raises(InputError, match="must lie at different times; too many rows of time= have the same time"):
        network_splits(pilot, examples(times=np.zeros(ROWS, dtype=np.int64)))
    _, confirm = stages(group="groups")
    with pytest.raises(InputError, match="5 folds need at least 5 groups; groups= has 2"):
        network_splits(confirm, examples(groups=np.arange(ROWS) % 4))


def test_a_confirmation_asks_about_different_networks_and_once_about_each_pair() -> None:
    """The pilot chose the network's own rates for "dropout" and for the mix: their questions are those of "as_is"."""
    plan = own_plan(["dropout", "as_is", "cocktail", "without_convolutional"])
    own = plan.arm("as_is").settings[0]
    chosen = {arm.name: arm.settings[0] for arm in plan.arms} | {"dropout": own, "cocktail": own}
    asked = [(q.arm, q.when, q.against, q.against_when) for q in confirm_plan(plan, chosen, "").questions]
    assert asked == [
        ("dropout", "best", "none", "best"),
        ("none", "best", "none", "end"),
        ("dropout", "end", "none", "best"),
        ("without_convolutional", "best", "as_is", "best"),
    ]
    other = chosen | {"dropout": plan.arm("dropout").settings[0]}
    assert {"as_is", "dropout"} <= {q.arm for q in confirm_plan(plan, other, "").questions if q.against == "none"}
    assert ("dropout", "as_is") in {(q.arm, q.against) for q in confirm_plan(plan, other, "").questions}
