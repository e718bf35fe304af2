"""Arms that are made from the sites of a network, and the questions about them."""

import re
from pathlib import Path

import pytest
from network_cases import CASES

from thinned.errors import InputError
from thinned.studies.design.arm import Arm
from thinned.studies.design.own_network.network_arms import (
    NETWORK_GRIDS,
    duplicate_arms,
    network_arms,
    network_questions,
)
from thinned.studies.design.own_network.site_groups import NetworkSite, find_network_sites
from thinned.studies.design.setting import GROUP_WORDS, Setting, SiteRates


def sites(name: str) -> tuple[NetworkSite, ...]:
    case = CASES[name]
    return find_network_sites(case.build(), *case.args).studied


def settings(arms: tuple[Arm, ...]) -> dict[str, tuple[Setting, ...]]:
    return {arm.name: arm.settings for arm in arms}


def test_rates_that_differ_are_scaled_together() -> None:
    arms = settings(network_arms(sites("convolutional")))
    assert arms["none"] == (Setting(),)
    assert arms["as_is"] == (Setting(sites=SiteRates(scale=1.0)),)
    scales = [setting.sites.scale for setting in arms["dropout"] if setting.sites]
    assert scales == [0.5, 1.0, 1.5]  # twice 0.5 would drop everything
    assert arms["spatial"] == tuple(Setting(sites=SiteRates(scale, form="spatial")) for scale in scales)
    assert "locked" not in arms
    assert {*arms["dropout"], *arms["weight_decay"]} <= {*arms["cocktail"]}


def test_one_mask_is_an_arm_for_those_who_name_it() -> None:
    named = network_arms(sites("convolutional"), chosen=["dropout", "one_mask"])
    arms = settings(named)
    assert arms["one_mask"] == tuple(Setting(sites=SiteRates(s.sites.scale, form="one_mask")) for s in arms["dropout"])
    assert arms["one_mask"][0].label.endswith(", one mask for each mini-batch between linear layers")
    text = "Is one mask for each mini-batch better than one for each example?"
    assert text in [question.text for question in network_questions(named)]
    assert "one_mask" not in settings(network_arms(sites("convolutional")))
    with pytest.raises(InputError, match="got 'one_mask'; others need sites that the network does not have"):
        network_arms(sites("patches"), chosen=["one_mask"])


def test_one_rate_is_a_grid_and_as_it_is_trains_no_network_twice() -> None:
    arms = settings(network_arms(sites("patches")))
    assert arms["as_is"] == (Setting(dropout=0.1),)
    assert [setting.dropout for setting in arms["dropout"]] == [0.1, 0.2, 0.3, 0.5, 0.7]
    assert "without_fully_connected" not in arms
    (functional,) = settings(network_arms(sites("functional"), rates=[0.4, 0.2, 0.0], chosen=["dropout"]))["dropout"][
        :1
    ]
    assert functional == Setting(dropout=0.2)


def test_arms_that_train_the_same_networks_are_asked_about_once() -> None:
    """Of two groups, one off is the other alone; without names, the arm stays whose group is off, as a report shows."""
    both = ["without_attention_weights", "without_embeddings"]
    names = [arm.name for arm in network_arms(sites("patches"))]
    assert [name for name in names if name.startswith(("without_", "only_"))] == both
    words = {"attention weights": "embeddings", "embeddings": "attention weights"}
    expected = {f"dropout on {on} alone": f"no dropout on {off}" for off, on in words.items()}
    assert dict(duplicate_arms(sites("patches"))) == expected
    asked = [question.arm for question in network_questions(network_arms(sites("patches")))]
    assert {*both} <= {*asked}
    assert not [name for name in asked if name.startswith("only_")]
    named = [arm.name for arm in network_arms(sites("patches"), chosen=["only_embeddings"])]
    assert named == ["none", "only_embeddings"]
    assert duplicate_arms(sites("patches"), chosen=["only_embeddings"]) == ()


def test_one_rate_that_is_the_networks_own_is_asked_about_once() -> None:
    arms = network_arms(sites("patches"), chosen=["dropout", "as_is"], rates=[0.1])
    assert [arm.name for arm in arms] == ["none", "dropout"]
    assert duplicate_arms(sites("patches"), ["dropout", "as_is"], [0.1]) == (("dropout as it is", "dropout"),)
    mine = Arm("mine", "mine", (Setting(dropout=0.1), Setting(dropout=0.2)))
    again = Arm("again", "again", (Setting(sites=SiteRates(scale=2.0)), Setting(dropout=0.1)))
    assert [arm.name for arm in network_arms(sites("patches"), [mine, again])] == ["none", "mine"]


def test_a_group_without_a_rate_of_its_own_alone_is_no_dropout() -> None:
    found = sites("convolutional")
    off = tuple(site._replace(rate=0.0) if site.group == "convolutional" else site for site in found)
    assert dict(duplicate_arms(off))["dropout on convolutional features alone"] == "no regularisation"


def test_several_groups_are_turned_off_and_on_one_by_one() -> None:
    arms = settings(network_arms(sites("transformer")))
    groups = ["attention_weights", "residual_branches", "embeddings", "fully_connected", "drop_path"]
    assert [name for name in arms if name.startswith("without_")] == [f"without_{group}" for group in groups]
    assert [name for name in arms if name.startswith("only_")] == [f"only_{group}" for group in groups]
    assert arms["without_drop_path"] == (Setting(sites=SiteRates(1.0, off=("drop path",))),)
    assert arms["only_drop_path"] == (Setting(sites=SiteRates(1.0, groups=("drop path",))),)


def test_a_network_without_rates_is_not_left_as_it_is() -> None:
    off = tuple(site._replace(rate=0.0) for site in sites("patches"))
    arms = settings(network_arms(off))
    assert "as_is" not in arms
    assert [setting.dropout for setting in arms["without_attention_weights"]] == [0.1, 0.3]
    asked = {question.arm: question.against for question in network_questions(network_arms(off))}
    assert asked["without_embeddings"] == "dropout"


def test_without_sites_weight_decay_remains() -> None:
    arms = network_arms(())
    assert [arm.name for arm in arms] == ["none", "weight_decay", "cocktail"]
    assert [question.arm for question in network_questions(arms) if question.primary] == ["weight_decay"]


def test_locked_dropout_where_features_are_recurrent() -> None:
    arms = settings(network_arms(sites("sequence")))
    assert [setting.sites.form for setting in arms["locked"] if setting.sites] == ["locked"] * len(arms["dropout"])
    assert "spatial" not in arms


def test_learning_rates_are_crossed_with_all_settings() -> None:
    mine = Arm("mine", "mine", (Setting(dropout=0.2, learning_rate=0.5),))
    arms = settings(network_arms(sites("patches"), chosen=["dropout", mine], learning_rates=[0.01, 0.001]))
    assert [setting.learning_rate for setting in arms["none"]] == [0.001, 0.01]
    assert len(arms["dropout"]) == 10
    assert arms["mine"] == mine.settings
    grid = next(grid for grid in NETWORK_GRIDS if grid.name == "learning rate")
    assert {grid.value(setting) for setting in arms["dropout"]} == {0.001, 0.01}


def test_arms_are_chosen_by_name() -> None:
    mine = Arm("mine", "my rate", (Setting(dropout=0.2),))
    arms = network_arms(sites("convolutional"), chosen=["cocktail", "spatial", mine])
    assert [arm.name for arm in arms] == ["none", "spatial", "mine", "cocktail"]
    questions = network_questions(arms)
    assert {question.arm: question.against for question in questions} == dict.fromkeys(
        ("none", "spatial", "mine", "cocktail"), "none"
    )
    with pytest.raises(InputError, match=r"arms must be among none, dropout, .*; got 'locked'; others need sites"):
        network_arms(sites("convolutional"), chosen=["locked"])
    with pytest.raises(InputError, match="besides 'none' and a mix"):
        network_arms(sites("convolutional"), chosen=["cocktail"])
    with pytest.raises(InputError, match="'mine' must leave the network's structure; got batch norm"):
        network_arms((), chosen=[Arm("mine", "mine", (Setting(batch_norm="after"),))])
    with pytest.raises(InputError, match="'mine' occurs twice"):
        network_arms((), chosen=[mine, Arm("mine", "other", (Setting(dropout=0.3),))])


def test_questions_are_about_two_arms_of_the_study_and_dropout_is_primary() -> None:
    arms = network_arms(sites("transformer"))
    questions = network_questions(arms)
    names = {arm.name for arm in arms}
    assert all({question.arm, question.against} <= names for question in questions)
    assert {question.arm for question in questions} == names
    [primary] = [question for question in questions if question.primary]
    assert primary[:4] == ("dropout", "best", "none", "best")
    assert ("none", "end") in {(question.against, question.against_when) for question in questions}
    assert len({question.text for question in questions}) == len(questions)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sites": SiteRates(scale=1.0), "dropout": 0.1}, "one rate, or their own rates with a scale"),
        ({"learning_rate": 0.0}, "the learning rate must be a number above 0; got 0.0"),
    ],
)
def test_settings_that_mean_nothing_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Setting(**changes)  # type: ignore[arg-type]


def test_rates_of_sites_that_mean_nothing_are_refused() -> None:
    with pytest.raises(InputError, match="scale of rates must be a number of at least 0; got -1"):
        SiteRates(-1)
    with pytest.raises(InputError, match=r"groups of sites must be among 'attention weights', .*; got 'heads'"):
        SiteRates(off=("heads",))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="form must be None, 'spatial', 'locked' or 'one_mask'; got 'whole'"):
        SiteRates(form="whole")  # type: ignore[arg-type]


def test_the_page_about_the_design_has_a_row_for_each_arm_and_group() -> None:
    page = (Path(__file__).parents[4] / "docs" / "network-design.md").read_text()
    arms = {re.sub(r"^(without|only)_.*", r"\1_GROUP", arm.name) for name in CASES for arm in network_arms(sites(name))}
    assert set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == arms | {"one_mask"}
    groups = page.partition("| group |")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| ([a-z ]+) \|", groups, re.MULTILINE)) == set(GROUP_WORDS)
