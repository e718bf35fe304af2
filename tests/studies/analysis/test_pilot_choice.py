"""The settings that a pilot chooses, on records that are made up."""

from typing import Any

import pytest
from study_cases import make_records, own_plan, trained_networks, typed

from thinned.errors import InputError
from thinned.studies.analysis.pilot_choice import choose_settings, summarise_pilot
from thinned.studies.analysis.warnings import study_warnings
from thinned.studies.design.own_network.stages import pilot_plan

PLAN = pilot_plan(own_plan(["none", "dropout", "as_is"]))
#: validation loss with each seed, by setting: no dropout, and 0.5, 1 and 1.5 times the network's own rates
LOSSES = ((1.0, 1.0), (0.7, 0.9), (0.5, 0.95), (0.9, 0.9))


def records(**told: Any) -> list[dict[str, Any]]:
    return make_records(PLAN, lambda repeat, fold, setting: {"validation": LOSSES[setting][repeat], **told})


def without(setting: int) -> list[dict[str, Any]]:
    """One network of a setting diverged."""
    kept = records()
    for record in kept:
        if record["setting"] == setting and record["repeat"]:
            record["best"]["validation"] = None
    return kept


def test_the_least_mean_over_seeds_is_chosen() -> None:
    chosen = choose_settings(typed(records()), PLAN)
    assert chosen == {name: PLAN.settings[number] for name, number in (("none", 0), ("dropout", 2), ("as_is", 2))}


def test_a_summary_has_every_setting_with_each_seed() -> None:
    summary = summarise_pilot(typed(records(best_epoch=7)), PLAN, nested=40)
    assert (summary.networks, summary.seeds, summary.nested) == (8, 2, 40)
    assert tuple(setting.validation for setting in summary.settings) == LOSSES
    assert [setting.chosen for setting in summary.settings] == [True, False, True, False]
    assert {setting.best_epoch for setting in summary.settings} == {7.0}
    assert {setting.dropout for setting in summary.settings} == {0.0}  # the sites have rates of their own


def test_what_diverged_once_is_not_chosen() -> None:
    networks = typed(without(2))
    assert choose_settings(networks, PLAN) == {"none": PLAN.settings[0], "dropout": PLAN.settings[1]}
    assert [setting.label for setting in summarise_pilot(networks, PLAN, 40).settings] == [
        PLAN.settings[number].label for number in (0, 1, 3)
    ]


def test_nothing_is_chosen_where_all_diverged() -> None:
    broken = make_records(PLAN, lambda repeat, fold, setting: {"validation": None})
    with pytest.raises(InputError, match="losses must stay finite"):
        choose_settings(typed(broken), PLAN)


def test_the_warnings_of_a_pilot_stand_among_those_of_the_study() -> None:
    plan = own_plan(["none", "dropout", "as_is"])
    same = make_records(plan, lambda repeat, fold, setting: {"validation": LOSSES[setting][repeat]})
    confirmed = trained_networks(same, plan, 0.25)
    alone = study_warnings(confirmed, [])
    told = study_warnings(confirmed, [], pilot=trained_networks(without(2), PLAN, 0.25))
    more = [warning for warning in told if warning not in alone]
    assert [warning.code for warning in more] == ["diverged"]
    assert more[0].message.startswith("In the pilot: dropout as it is: 1 of 2 networks")
