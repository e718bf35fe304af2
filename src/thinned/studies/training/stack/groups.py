"""Which networks of a plan may train as one stack."""

import itertools
from collections import defaultdict
from collections.abc import Hashable, Sequence

from thinned.studies.design.own_network.site_groups import NetworkSite
from thinned.studies.design.plan import Member
from thinned.studies.design.setting import Setting
from thinned.studies.training.apply_setting import site_overrides

__all__ = ["member_stacks", "stack_key"]


def stack_key(setting: Setting, sites: Sequence[NetworkSite]) -> Hashable:
    """Settings of one key fit into one stack: they have one learning rate, and each site has one form of masks.

    Args:
        setting: the setting.
        sites: the sites whose rates the study varies.
    """
    forms = tuple(override.shared for override in site_overrides(setting, sites).values())
    return setting.learning_rate, forms


def member_stacks(
    members: Sequence[Member], settings: Sequence[Setting], sites: Sequence[NetworkSite], most: int
) -> list[tuple[Member, ...]]:
    """Divide networks into stacks, the largest first; members of a stack have one split.

    Args:
        members: the networks.
        settings: of the plan.
        sites: the sites whose rates the study varies.
        most: largest number of members of a stack; 1 leaves each network alone, in the order of ``members``.
    """
    if most == 1:
        return [(member,) for member in members]
    groups: defaultdict[Hashable, list[Member]] = defaultdict(list)
    for member in members:
        key = stack_key(settings[member.setting], sites)
        groups[member.repeat, member.fold, key].append(member)
    stacks = [stack for group in groups.values() for stack in _divided(group, most)]
    return sorted(stacks, key=len, reverse=True)


def _divided(group: Sequence[Member], most: int) -> list[tuple[Member, ...]]:
    """As few parts of at most so many as there can be, about equally long."""
    parts = -(-len(group) // most)
    ends = [len(group) * number // parts for number in range(parts + 1)]
    return [tuple(group[start:end]) for start, end in itertools.pairwise(ends)]
