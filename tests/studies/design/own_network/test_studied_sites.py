"""The sites of a network, or those that are put into one that has none."""

import copy

import pytest
import torch
from network_cases import CASES, output
from torch import nn

from thinned.errors import InputError
from thinned.studies.design.own_network.network_arms import network_arms
from thinned.studies.design.own_network.network_design import Insertion
from thinned.studies.design.own_network.studied_sites import studied_sites
from thinned.studies.design.setting import Setting, SiteRates
from thinned.studies.training.apply_setting import SettingApplication

X = torch.linspace(-1, 1, 128).view(2, 1, 8, 8)


def plain() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.ReLU(),
        nn.Conv2d(4, 4, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(64, 8),
        nn.ReLU(),
        nn.Linear(8, 2),
    )


def test_a_network_with_dropout_keeps_its_own() -> None:
    case = CASES["convolutional"]
    network = case.build()
    found = studied_sites(network, case.args)
    assert [site.name for site in found.sites] == ["drop1", "drop2", "", "drop3"]
    assert found.inserted is None
    off = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.0), nn.Linear(3, 2))
    assert studied_sites(off, torch.ones(2, 3)).inserted is None  # its author has said where


def test_a_network_without_dropout_gets_some() -> None:
    found = studied_sites(plain(), X)
    assert found.inserted == Insertion("hidden", ("2", "5", "7"))
    assert [(site.name, site.group, site.rate, site.form) for site in found.sites] == [
        ("2.input_dropout", "convolutional", 0.0, None),
        ("5.input_dropout", "fully connected", 0.0, None),
        ("7.input_dropout", "fully connected", 0.0, "one_mask"),
    ]
    arms = {arm.name: arm.settings for arm in network_arms(found.sites)}
    assert "as_is" not in arms
    assert [setting.dropout for setting in arms["dropout"]] == [0.1, 0.2, 0.3, 0.5, 0.7]


def test_each_fresh_network_gets_the_same_sites_and_its_rates() -> None:
    found = studied_sites(plain(), X)
    application = SettingApplication(found.sites, found.inserted, X)
    network = plain()
    expected = output(copy.deepcopy(network).eval(), CASES["convolutional"])
    dropped = application(copy.deepcopy(network), Setting(dropout=0.5)).train()
    assert not torch.allclose(dropped(X), expected)
    assert torch.equal(dropped.eval()(X), expected)
    assert torch.allclose(application(copy.deepcopy(network), Setting()).train()(X), expected)
    with pytest.raises(InputError, match="where must name layers of the network; got '7'"):
        application(plain()[:6], Setting())


def test_insertion_beside_own_dropout_is_asked_for() -> None:
    network = nn.Sequential(*plain()[:7], nn.Dropout(0.3), nn.Linear(8, 2))
    assert studied_sites(copy.deepcopy(network), X).inserted is None
    found = studied_sites(network, X, insert="hidden")
    assert found.inserted == Insertion("hidden", ("2", "5"))
    assert {site.name: site.rate for site in found.sites} == {"2.input_dropout": 0, "5.input_dropout": 0, "7": 0.3}
    arms = {arm.name: arm.settings for arm in network_arms(found.sites)}
    assert [setting.dropout for setting in arms["dropout"]] == [0.1, 0.2, 0.3, 0.5, 0.7]  # a scale leaves 0 at 0
    assert arms["as_is"] == (Setting(sites=SiteRates(scale=1.0)),)
    named = studied_sites(plain(), X, insert=["5"])
    assert named.inserted == Insertion("chosen layers", ("5",))
    with pytest.raises(InputError, match="where must name layers of the network; got 'nowhere'"):
        studied_sites(plain(), X, insert=["nowhere"])


def test_a_network_that_can_have_no_dropout_is_studied_without() -> None:
    found = studied_sites(nn.Sequential(nn.Linear(3, 2)), torch.ones(2, 3))
    assert found == ((), (), None)
