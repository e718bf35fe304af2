"""The two stages of a study of costly networks: a pilot chooses each arm's setting, fresh networks confirm."""

import dataclasses
from collections.abc import Mapping

from thinned.studies.design.plan import Plan
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

    Args:
        plan: the plan that :func:`pilot_plan` was made from, with the folds and seeds of the confirmation.
        chosen: the setting of each arm, by its name; an arm that diverged in the pilot is left out.
        pilot: digest of the pilot's plan.
    """
    own = plan.network_design
    arms = tuple(dataclasses.replace(arm, settings=(chosen[arm.name],)) for arm in plan.arms if arm.name in chosen)
    names = {arm.name for arm in arms}
    questions = tuple(q for q in own.questions if {q.arm, q.against} <= names)
    return dataclasses.replace(
        plan,
        arms=arms,
        own=dataclasses.replace(own, stage="confirm", division_seed=plan.seed, questions=questions, pilot=pilot),
    )
