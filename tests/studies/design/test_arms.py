"""Arms: their definitions, how they are chosen, and the questions about them."""

import pytest

from thinned.errors import InputError
from thinned.studies.design.arm import Arm
from thinned.studies.design.arms import ARMS, DEFINITIONS, GRIDS
from thinned.studies.design.choose_arms import choose_arms
from thinned.studies.design.questions import declare
from thinned.studies.design.setting import Setting


def test_arms_are_chosen_by_name_and_the_cocktail_holds_all_but_what_is_warned_of() -> None:
    arms = {arm.name: arm for arm in choose_arms()}
    inside = set(arms["cocktail"].settings)
    assert next(iter(arms)) == "none"
    for arm in arms.values():
        assert inside.isdisjoint(arm.settings) if arm.warning else inside.issuperset(arm.settings)
    assert [arm.name for arm in choose_arms(["dropout"])] == ["none", "dropout"]
    assert choose_arms(["dropout"], [0.25, 0.0])[1].settings == (Setting(dropout=0.25),)
    with pytest.raises(InputError, match=r"arms must be among none, dropout, .*got 'dropuot'"):
        choose_arms(["dropuot"])
    for nothing_to_compare in (["none"], ["cocktail"]):
        with pytest.raises(InputError, match="besides 'none' and 'cocktail'"):
            choose_arms(nothing_to_compare)
    with pytest.raises(InputError, match="changes the network's structure"):
        choose_arms(["batch_norm"], own_network=True)
    own = Arm("mine", "mine", (Setting(dropout=0.2, weight_decay=0.5),))
    assert choose_arms(["dropout", own])[-1] is own


@pytest.mark.parametrize("name", [name for name, arm in ARMS.items() if arm.kind == "method"])
def test_an_arm_without_its_counterpart_is_asked_about_against_none(name: str) -> None:
    asked = declare(choose_arms([name]))
    assert {(question.arm, question.against) for question in asked} == {("none", "none"), (name, "none")}
    assert [question.arm for question in asked if question.primary] == [name]


def test_the_order_of_arms_and_questions_is_declared() -> None:
    """Settings are numbered in this order: another one would make the stores of earlier runs unreadable."""
    known = [
        "none",
        "dropout",
        "weight_decay",
        "input",
        "first",
        "last",
        "output",
        "batch_norm",
        "dropout_before_bn",
        "dropout_after_bn",
        "dropout_weight_decay",
        "dropout_max_norm",
        "batch_dropout",
        "early_dropout",
        "late_dropout",
        "piecewise",
        "piecewise_dropout",
        "cocktail",
    ]
    assert [name for name in ARMS if name in known] == known
    assert [grid.name for grid in GRIDS][:3] == ["rate", "weight decay", "max norm"]
    orders = [question.order for definition in DEFINITIONS for question in definition.questions]
    assert len(set(orders)) == len(orders) >= 20
    assert len({definition.order for definition in DEFINITIONS}) == len(DEFINITIONS)


def test_the_first_question_about_a_regulariser_is_primary() -> None:
    questions = declare(choose_arms())
    assert [question.text for question in questions if question.primary] == ["Does dropout help, when both stop early?"]
    assert questions[1].text == "Does early stopping help?"
    (early_stopping, primary) = declare(choose_arms(["piecewise_dropout"]))
    assert not early_stopping.primary
    assert primary == ("piecewise_dropout", "best", "none", "best", primary.text, True)


def test_an_arm_that_occurs_twice_is_refused_unless_it_is_the_same() -> None:
    mine = Arm("mine", "mine", (Setting(dropout=0.2),))
    assert len(choose_arms([mine, mine])) == 2
    with pytest.raises(InputError, match="'mine' occurs twice"):
        choose_arms([mine, Arm("mine", "mine", (Setting(dropout=0.3),))])
    assert [arm.kind for arm in choose_arms([mine, "cocktail", ARMS["none"]])] == ["reference", "method", "mix"]


def test_extras_must_be_defined_by_an_arm() -> None:
    mine = Arm("mine", "mine", (Setting(extras=(("mixup", 0.2),)),))
    assert mine.settings[0].label == "mixup 0.2"
    with pytest.raises(InputError, match=r"extras of a setting must be among .*; got 'mixup'"):
        choose_arms([mine])
