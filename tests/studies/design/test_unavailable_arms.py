"""Arms that a network does not allow are named, each with the reason."""

import dataclasses

from study_cases import make_plan, own_plan

from thinned.studies.design.arms import ARMS
from thinned.studies.design.choose_arms import choose_arms
from thinned.studies.design.own_network.site_groups import NetworkSite
from thinned.studies.design.plan import Plan
from thinned.studies.design.unavailable_arms import unavailable_arms


def of_sites(*sites: NetworkSite) -> Plan:
    plan = own_plan()
    return dataclasses.replace(plan, own=dataclasses.replace(plan.network_design, sites=sites))


def test_a_table_with_the_studys_own_network_allows_every_arm() -> None:
    assert unavailable_arms(make_plan()) == {}


def test_each_arm_of_a_users_network_on_a_table_is_tried_or_named() -> None:
    tried = choose_arms(own_network=True)
    named = unavailable_arms(make_plan(["dropout"], network="mine:build"))
    assert {arm.label for arm in tried} | set(named) == {arm.label for arm in ARMS.values()}
    assert not {arm.label for arm in tried} & set(named)
    assert "structure" in named["batch norm"]


def test_a_network_with_sites_of_both_groups_lacks_locked_dropout_alone() -> None:
    assert list(unavailable_arms(own_plan())) == ["locked dropout"]


def test_one_site_without_a_rate_allows_no_arm_of_groups_or_forms() -> None:
    found = unavailable_arms(of_sites(NetworkSite("drop", "module", "fully connected", 0.0, (2, 16))))
    assert list(found) == [
        "dropout as it is",
        "dropout on some groups of layers alone",
        "spatial dropout",
        "locked dropout",
    ]
    assert "fully connected" in found["dropout on some groups of layers alone"]


def test_a_recurrent_site_allows_locked_dropout() -> None:
    site = NetworkSite("lstm", "rnn", "recurrent", 0.2, (2, 7, 16), "locked", (1,))
    assert "locked dropout" not in unavailable_arms(of_sites(site))


def test_an_arm_that_trains_the_networks_of_another_is_named_with_it() -> None:
    plan = own_plan()
    same = (("dropout on convolutional features alone", "no dropout on fully connected layers"),)
    plan = dataclasses.replace(plan, own=dataclasses.replace(plan.network_design, duplicates=same))
    assert unavailable_arms(plan)[same[0][0]] == f"it trains the same networks as {same[0][1]}"
