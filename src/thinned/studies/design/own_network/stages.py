"""The two stages of a study of costly networks: a pilot chooses each arm's setting, fresh networks confirm."""

import dataclasses
from collections.abc import Mapping, Sequence

from thinned.studies.design.own_network.site_groups import NetworkSite
from thinned.studies.design.own_network.site_rates import trained_network
from thinned.studies.design.plan import Plan
from thinned.studies.design.questions import Question
from thinned.studies.design.setting import Setting
from thinned.studies.design.streams import stream_key

__all__ = ["PILOT_SEEDS", "confirm_plan", "pilot_plan"]

#: networks of each setting in the pilot
PILOT_SEEDS = 2


def pilot_plan(plan: Plan, seeds: int = PILOT_SEEDS) -> Plan:
    """The pilot of a plan that has all settings: one deal into training and validation for each seed, no test fold.

    Its seed differs from the plan's, so that no initial weights, order or masks come back in the confirmation.
    """
    own = plan.network_design
    return dataclasses.replace(
        plan,
        folds=1,
        seeds=seeds,
        seed=stream_key(plan.seed, "pilot") % 2**31,
        own=dataclasses.replace(own, stage="pilot", division_seed=plan.seed, questions=()),
    )


def confirm_plan(plan: Plan, chosen: Mapping[str, Setting], pilot: str) -> Plan:
    """The plan of the confirmation: each arm has the one setting that the pilot chose.

    Where arms have one setting, a question about them is asked once, and none compares a network with itself.

    Args:
        plan: the plan that :func:`pilot_plan` was made from, with the folds and seeds of the confirmation.
        chosen: the setting of each arm, by its name; an arm that diverged in the pilot is left out.
        pilot: digest of the pilot's plan.
    """
    own = plan.network_design
    arms = tuple(dataclasses.replace(arm, settings=(chosen[arm.name],)) for arm in plan.arms if arm.name in chosen)
    names = {arm.name for arm in arms}
    questions = _distinct([q for q in own.questions if {q.arm, q.against} <= names], chosen, own.sites)
    return dataclasses.replace(
        plan,
        arms=arms,
        own=dataclasses.replace(own, stage="confirm", division_seed=plan.seed, questions=questions, pilot=pilot),
    )


def _distinct(
    questions: Sequence[Question], chosen: Mapping[str, Setting], sites: Sequence[NetworkSite]
) -> tuple[Question, ...]:
    """The questions that compare different networks, each pair of them once; the primary one is kept."""
    kept: dict[tuple[object, ...], Question] = {}
    for question in sorted(questions, key=lambda question: not question.primary):
        one = trained_network(chosen[question.arm], sites), question.when
        two = trained_network(chosen[question.against], sites), question.against_when
        if one != two:
            kept.setdefault((one, two), question)
    return tuple(question for question in questions if question in kept.values())
