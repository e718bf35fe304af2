"""The cost of a study of a network of one's own, from measured numbers alone."""

import dataclasses

import pytest
from study_cases import own_plan

from thinned.studies.design.own_network.cost import Timing, cost_of, describe_cost, describe_fitted, fit_to_minutes
from thinned.studies.design.own_network.stages import pilot_plan
from thinned.studies.design.plan import Plan

TIMING = Timing(train=1e-3, evaluate=1e-4, start=0.5, processes=1)


def given_test(plan: Plan, seeds: int = 10) -> Plan:
    return dataclasses.replace(
        plan, folds=1, seeds=seeds, own=dataclasses.replace(plan.network_design, test_examples=100)
    )


def test_networks_and_seconds_of_each_design() -> None:
    plan = own_plan(rows=1000, epochs=10)
    cost = cost_of(plan, TIMING)
    assert cost.pilot.networks == pilot_plan(plan).networks == 2 * len(plan.settings)
    # 8 arms and a mix: of two groups, none is tried alone
    assert [len(plan.arms), cost.confirm.networks] == [9, 10 * 8]
    assert cost.nested.networks == plan.networks == 10 * len(plan.settings)
    # 800 of 1,000 outside a fold: 640 train, and 160 validate and as many of the training examples are looked at
    each = 0.5 + 10 * (640 * 1e-3 + 320 * 1e-4) + 2 * 200 * 1e-4
    assert cost.nested.seconds == pytest.approx(plan.networks * each)
    each = 0.5 + 10 * (400 * 1e-3 + 200 * 1e-4) + 2 * 100 * 1e-4
    assert cost.pilot.seconds == pytest.approx(cost.pilot.networks * each)
    last = 0.5 + 10 * 1000 * 1e-3  # on all examples, none of which validates
    assert cost.seconds == pytest.approx(cost.pilot.seconds + cost.confirm.seconds + last)
    assert cost.nested_seconds == pytest.approx(cost.nested.seconds + last)
    assert cost.networks == cost.pilot.networks + cost.confirm.networks + 1


def test_processes_share_the_networks() -> None:
    plan = own_plan(rows=1000, epochs=10)
    one, four = cost_of(plan, TIMING), cost_of(plan, TIMING._replace(processes=4))
    assert four.nested.seconds == pytest.approx(one.nested.seconds * -(-plan.networks // 4) / plan.networks)


def test_a_given_test_set_is_scored_twice_by_each_network_but_those_of_the_pilot() -> None:
    plan = given_test(own_plan(rows=1000, epochs=10))
    cost = cost_of(plan, TIMING)
    epochs = 0.5 + 10 * (800 * 1e-3 + 400 * 1e-4)
    assert cost.confirm.seconds == pytest.approx(cost.confirm.networks * (epochs + 2 * 100 * 1e-4))
    assert cost.pilot.seconds == pytest.approx(cost.pilot.networks * (epochs + 2 * 200 * 1e-4))


def test_it_is_said_in_words() -> None:
    plan = own_plan(rows=1000, epochs=10)
    cost = cost_of(plan, TIMING)
    counts, times, shorter = describe_cost(plan, TIMING._replace(processes=2))
    assert counts.startswith(f"{cost.pilot.networks} networks on half of the examples choose the setting of each of")
    assert f"up to {cost.confirm.networks} fresh ones" in counts
    assert counts.endswith("One more trains on all examples, for use.")
    assert "minutes in 2 processes" in times
    assert f"the {cost.nested.networks} networks of the full nested design" in times
    assert "fewer arms, rates, epochs, folds or seeds" in shorter
    assert "on the training examples choose" in describe_cost(given_test(plan), TIMING)[0]
    assert "% less than the" in times
    assert "costs no more" not in times
    few = dataclasses.replace(plan, folds=2, seeds=1)  # the pilot costs more than it saves
    assert "no less than the" in describe_cost(few, TIMING)[1]
    assert describe_cost(few, TIMING)[1].endswith("With so few splits or settings, design nested costs no more.")


@pytest.mark.parametrize("given", [False, True])
def test_a_shorter_time_gives_a_smaller_design_that_fits(given: bool) -> None:
    plan = own_plan(rows=1000, epochs=10)
    plan = given_test(plan) if given else plan
    whole = cost_of(plan, TIMING).seconds / 60
    assert fit_to_minutes(plan, TIMING, whole) == (plan, cost_of(plan, TIMING), ())
    last = len(plan.settings)
    for share in (0.9, 0.7, 0.5, 0.4):
        fitted = fit_to_minutes(plan, TIMING, share * whole)
        assert fitted.cost.seconds <= 60 * share * whole
        assert fitted.cost == cost_of(fitted.plan, TIMING)
        assert fitted.changes
        assert len(fitted.plan.settings) <= last
        last = len(fitted.plan.settings)
        names = {arm.name for arm in fitted.plan.arms}
        assert {"none", "dropout"} <= names
        assert all({question.arm, question.against} <= names for question in fitted.plan.questions)
        assert [question.arm for question in fitted.plan.questions if question.primary] == ["dropout"]
        union = {s for arm in fitted.plan.arms for s in arm.settings if arm.kind != "mix"}
        assert all(set(arm.settings) == union for arm in fitted.plan.arms if arm.kind == "mix")
        assert fitted.plan.epochs == plan.epochs


def test_the_smallest_design_compares_dropout_with_none_and_says_what_it_costs() -> None:
    plan = own_plan(rows=1000, epochs=10)
    fitted = fit_to_minutes(plan, TIMING, 1e-6)
    assert [arm.name for arm in fitted.plan.arms] == ["none", "dropout", "cocktail"]
    assert (fitted.plan.folds, fitted.plan.seeds) == (3, 2)
    assert fitted.cost.seconds > 6e-5
    assert fitted.changes[-1] == "3 folds instead of 5"
    assert any("without “no dropout on convolutional features”, “no dropout on" in change for change in fitted.changes)
    assert fit_to_minutes(given_test(plan), TIMING, 1e-6).plan.seeds == 5


@pytest.mark.parametrize("given", [False, True])
def test_arms_that_must_stay_are_kept_and_folds_or_seeds_become_fewer(given: bool) -> None:
    plan = own_plan(rows=1000, epochs=10)
    plan = given_test(plan) if given else plan
    fitted = fit_to_minutes(plan, TIMING, 1e-6, keep_arms=True).plan
    assert [arm.name for arm in fitted.arms] == [arm.name for arm in plan.arms]
    assert (fitted.folds, fitted.seeds) == ((1, 5) if given else (3, 2))


def test_it_is_said_whether_a_design_fits_a_time() -> None:
    plan = own_plan(rows=1000, epochs=10)
    minutes = 0.7 * cost_of(plan, TIMING).seconds / 60
    fits = " ".join(describe_fitted(fit_to_minutes(plan, TIMING, minutes), TIMING, minutes))
    assert fits.startswith(f"To fit {minutes:g} minutes: ")
    assert "No smaller design" not in fits
    assert "A time limit" not in fits
    assert not describe_fitted(fit_to_minutes(plan, TIMING, 1e6), TIMING, 1e6)[0].startswith("To fit")
    never = describe_fitted(fit_to_minutes(plan, TIMING, 1e-6), TIMING, 1e-6)
    assert never[-1].startswith("No smaller design is left for 1e-06 minutes")
