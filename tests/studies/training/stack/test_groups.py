"""Which networks may train as one stack, and how many."""

from collections import Counter

import pytest
import torch
from network_cases import CASES

from thinned.studies.design.own_network.studied_sites import studied_sites
from thinned.studies.design.plan import Member
from thinned.studies.design.setting import Setting, SiteRates
from thinned.studies.training.stack.groups import member_stacks
from thinned.studies.training.stack.trial import StackSize, choose_size

SITES = studied_sites(CASES["convolutional"].build(), torch.zeros(2, 1, 8, 8), None).sites
SETTINGS = [
    *[Setting(dropout=rate / 10) for rate in range(9)],
    Setting(sites=SiteRates(scale=1.0, form="spatial")),
    Setting(dropout=0.5, learning_rate=0.1),
    Setting(dropout=0.2, learning_rate=0.1),
]
MEMBERS = [Member(repeat, fold, number) for number in range(len(SETTINGS)) for repeat in range(2) for fold in range(2)]


def test_a_stack_has_one_split_one_form_and_one_learning_rate() -> None:
    stacks = member_stacks(MEMBERS, SETTINGS, SITES, 8)
    assert sorted(member for stack in stacks for member in stack) == sorted(MEMBERS)
    for stack in stacks:
        assert len({(m.repeat, m.fold) for m in stack}) == 1
        assert len({SETTINGS[m.setting].learning_rate for m in stack}) == 1
        assert {m.setting for m in stack} == {9} or 9 not in {m.setting for m in stack}
    assert Counter(map(len, stacks)) == {5: 4, 4: 4, 2: 4, 1: 4}  # nine are five and four
    assert [len(stack) for stack in stacks] == sorted(map(len, stacks), reverse=True)


def test_one_member_leaves_each_network_alone_in_its_order() -> None:
    assert member_stacks(MEMBERS, SETTINGS, SITES, 1) == [(member,) for member in MEMBERS]


@pytest.mark.parametrize(
    ("speedups", "workers", "chosen"),
    [
        ({4: 1.5, 8: 2.0}, 1, StackSize(8, 2.0)),
        ({4: 1.5, 8: 2.0}, 4, StackSize(4, 1.5)),  # two jobs of eight would leave two workers idle
        ({4: 1.5, 8: 2.0}, 16, StackSize()),
        ({4: 0.9, 8: 0.8}, 1, StackSize()),
        ({8: 1.05}, 1, StackSize()),  # as a trial may say by chance
        ({}, 1, StackSize()),
    ],
)
def test_the_size_with_which_the_study_ends_first(speedups: dict[int, float], workers: int, chosen: StackSize) -> None:
    stage = {1: [1] * 16, 4: [4] * 4, 8: [8, 8]}
    found = choose_size(speedups, [stage], workers)
    assert found.members == chosen.members
    assert found.speedup == pytest.approx(chosen.speedup)
