"""Plans: their digests, and what they keep of a network of one's own."""

import dataclasses
import json

import msgspec
import pytest
from study_cases import make_plan, own_plan

from thinned.studies.design.arm import Arm
from thinned.studies.design.choose_arms import choose_arms
from thinned.studies.design.own_network.stages import confirm_plan, pilot_plan
from thinned.studies.design.plan import Plan
from thinned.studies.design.setting import Setting, SiteRates
from thinned.studies.results import PlanSummary

MINE = Arm("mine", "mine", (Setting(dropout=0.2, weight_decay=0.5),))
OWN_NETWORK = {"network": "m:f", "network_source": "b", "group": "g"}
#: changes of a plan of a table, and the digests that they have had since the first version that knew them
DIGESTS = [
    ({}, "2d8d5e547036250f"),
    ({"arms": choose_arms(["dropout", MINE], [0.25])}, "9b4d944d93e149c5"),
    ({"arms": choose_arms(own_network=True), **OWN_NETWORK}, "4b647a5bada5e7f5"),
    (
        {"time": "t", "sizes": (250, 500), "group_duplicates": True, "columns": (("a", "drop"),)},
        "6ed3c3b5942c6c0f",
    ),
]


@pytest.mark.parametrize(("changes", "digest"), DIGESTS)
def test_plans_of_tables_keep_their_digest(changes: dict[str, object], digest: str) -> None:
    """Another digest would make the stores of earlier runs unusable."""
    base = {"arms": choose_arms(), "hidden": (64, 64), "epochs": 50, "data": "a" * 64}
    assert make_plan(**(base | changes)).digest == digest  # type: ignore[arg-type]


def test_a_plan_of_a_network_survives_json_and_its_summary_is_read() -> None:
    plan = own_plan()
    assert msgspec.json.decode(msgspec.json.encode(plan), type=Plan) == plan
    shown = json.loads(json.dumps(plan.to_dict()))
    summary = msgspec.convert({**shown, "digest": plan.digest}, PlanSummary)
    assert summary.hidden == ()
    assert not isinstance(summary.own, msgspec.UnsetType)
    assert [site.group for site in summary.own.sites] == [site.group for site in plan.network_design.sites]
    assert [setting.label for setting in summary.settings] == [setting.label for setting in plan.settings]
    assert [setting.drops for setting in summary.settings] == [setting.drops for setting in plan.settings]
    assert len(summary.questions) == len(plan.questions) > 5


def test_what_a_network_plan_holds_changes_its_digest() -> None:
    plan = own_plan()
    designs = [
        dataclasses.replace(plan.network_design, **change)  # type: ignore[arg-type]
        for change in (
            {"stage": "confirm"},
            {"test_examples": 5},
            {"sites": plan.network_design.sites[:1]},
            {"training": (("epochs", 3),)},
            {"pilot": "x"},
        )
    ]
    digests = {plan.digest, *(dataclasses.replace(plan, own=design).digest for design in designs)}
    assert len(digests) == 1 + len(designs)


def test_a_table_has_no_network_design() -> None:
    with pytest.raises(ValueError, match="must be that of a network of one's own; it is that of a table"):
        _ = make_plan().network_design


def test_a_pilot_has_all_settings_and_another_seed_and_the_confirmation_one_of_each_arm() -> None:
    plan = own_plan()
    pilot = pilot_plan(plan)
    assert pilot.settings == plan.settings
    assert (pilot.folds, pilot.seeds, pilot.networks) == (1, 2, 2 * len(plan.settings))
    assert pilot.seed != plan.seed == pilot.network_design.division_seed
    chosen = {arm.name: arm.settings[-1] for arm in plan.arms if arm.name != "as_is"}
    confirmed = confirm_plan(plan, chosen, pilot.digest)
    assert [arm.name for arm in confirmed.arms] == list(chosen)
    assert all(arm.settings == (chosen[arm.name],) for arm in confirmed.arms)
    assert confirmed.networks == 10 * len(set(chosen.values()))
    assert confirmed.network_design.pilot == pilot.digest
    assert "as_is" not in {name for q in confirmed.questions for name in (q.arm, q.against)}
    assert [q.arm for q in confirmed.questions if q.primary] == ["dropout"]
    mix = next(arm for arm in plan.arms if arm.kind == "mix")
    assert set(mix.settings) == {setting for arm in plan.arms for setting in arm.settings}


def test_rows_outside_the_test_folds() -> None:
    plan = own_plan(rows=1000)
    assert plan.rows_outside_test == make_plan(rows=1000).rows_outside_test == 800
    assert pilot_plan(plan).rows_outside_test == 500
    assert confirm_plan(plan, {}, "").rows_outside_test == 900
    given = dataclasses.replace(plan, own=dataclasses.replace(plan.network_design, test_examples=99), folds=1)
    assert given.rows_outside_test == pilot_plan(given).rows_outside_test == 1000
    assert dataclasses.replace(plan, time="t").rows_outside_test == 500
    assert confirm_plan(dataclasses.replace(plan, time="t"), {}, "").rows_outside_test == 700


def test_settings_of_networks_are_labelled_in_words() -> None:
    labels = {
        Setting(sites=SiteRates(scale=1)): "dropout as it is",
        Setting(sites=SiteRates(scale=0.5)): "dropout at 0.5 times its own rates",
        Setting(sites=SiteRates(scale=0.0)): "no regularisation",
        Setting(0.3, sites=SiteRates(form="spatial")): "dropout 0.3, spatial on convolutional features",
        Setting(sites=SiteRates(1, off=("embeddings",))): "dropout as it is but none on embeddings",
        Setting(0.1, sites=SiteRates(groups=("embeddings", "recurrent"))): (
            "dropout 0.1 on embeddings and recurrent layers alone"
        ),
        Setting(learning_rate=0.01): "no regularisation, learning rate 0.01",
        Setting(0.3, weight_decay=0.1, learning_rate=0.01): "dropout 0.3, weight decay 0.1, learning rate 0.01",
    }
    assert {setting: setting.label for setting in labels} == labels
