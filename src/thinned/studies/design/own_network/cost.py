"""What a study of a network of one's own costs, and a design that fits a time. Functions of measured numbers alone."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from thinned.studies.design.arm import Arm
from thinned.studies.design.own_network.network_arms import network_questions
from thinned.studies.design.own_network.stages import confirm_plan, pilot_plan
from thinned.studies.design.plan import Plan
from thinned.studies.design.setting import Setting
from thinned.studies.design.splits import VALIDATION

__all__ = [
    "Cost",
    "FittedPlan",
    "StageCost",
    "Timing",
    "cost_of",
    "describe_cost",
    "describe_fitted",
    "describe_nested_cost",
    "fit_to_minutes",
]

_FEWEST_FOLDS, _FEWEST_SEEDS = 3, 5  # of test folds, and of a given test set
#: arms that a shorter study leaves out, the first first
_LEFT_OUT = ("only_", "dropout_weight_decay", "locked", "spatial", "without_", "as_is", "weight_decay")


class Timing(NamedTuple):
    """Measured times, in seconds.

    Attributes:
        train: of one training example, forward, backward and step.
        evaluate: of one example, forward with dropout off.
        start: of the begin of a network: it is built, converted and moved to its device.
        processes: networks that train at a time.
    """

    train: float
    evaluate: float
    start: float = 0.0
    processes: int = 1


class StageCost(NamedTuple):
    """Number of networks of a stage, and the time that they take together."""

    networks: int
    seconds: float


class Cost(NamedTuple):
    """The cost of choosing on a pilot and confirming, that of the full nested design, and of the network to use.

    Each design is followed by one network of the recommended setting on all examples.
    """

    pilot: StageCost
    confirm: StageCost
    nested: StageCost
    recommended: StageCost

    @property
    def seconds(self) -> float:
        """Time of both stages and of the recommended network."""
        return self.pilot.seconds + self.confirm.seconds + self.recommended.seconds

    @property
    def nested_seconds(self) -> float:
        """Time of the full nested design and of the recommended network."""
        return self.nested.seconds + self.recommended.seconds

    @property
    def networks(self) -> int:
        """Networks of both stages, and the recommended one."""
        return self.pilot.networks + self.confirm.networks + self.recommended.networks


class FittedPlan(NamedTuple):
    """A plan that was made smaller.

    Attributes:
        plan: the plan, all of whose settings are left to a pilot.
        cost: what it costs.
        changes: in words, what was left out or made smaller; empty where nothing was.
    """

    plan: Plan
    cost: Cost
    changes: tuple[str, ...]


def cost_of(plan: Plan, timing: Timing) -> Cost:
    """The cost of a plan with all its settings, by the networks that each design trains.

    The confirmation's networks are an upper limit: arms whose pilot chooses the same setting share their networks. All
    networks are counted with their whole budget, although patience may end some early.

    Args:
        plan: the plan that the stages are made from.
        timing: measured times.
    """
    # a mix chooses among the settings of the others: its networks are those of another arm
    arms = [arm for arm in plan.arms if arm.kind != "mix"]
    first = {arm.name: arm.settings[0] for arm in arms}
    confirmed = len(arms) * plan.folds * plan.seeds
    pilot = pilot_plan(plan)
    return Cost(
        _stage(pilot, pilot.networks, timing),
        _stage(confirm_plan(plan, first, ""), confirmed, timing),
        _stage(plan, plan.networks, timing),
        StageCost(1, timing.start + plan.epochs * plan.rows * timing.train),
    )


def _stage(plan: Plan, networks: int, timing: Timing) -> StageCost:
    outside = plan.rows_outside_test
    validation = VALIDATION * outside
    # the training loss is measured on as many examples as there are validation examples
    epoch = (outside - validation) * timing.train + 2 * validation * timing.evaluate
    own = plan.network_design
    tested = validation if own.stage == "pilot" else own.test_examples or plan.rows - outside
    each = timing.start + plan.epochs * epoch + 2 * tested * timing.evaluate  # at the best epoch and at the end
    return StageCost(networks, math.ceil(networks / timing.processes) * each)


def describe_cost(plan: Plan, timing: Timing) -> tuple[str, ...]:
    """Sentences about what a study costs, and how to make it shorter."""
    cost = cost_of(plan, timing)
    half = "the training examples" if plan.network_design.test_examples else "half of the examples"
    processes = f" in {timing.processes} processes" if timing.processes > 1 else ""
    saved = 1 - cost.seconds / cost.nested_seconds
    saving = f"{saved:.0%} less than" if saved > 0 else "no less than"
    counts = (
        f"{cost.pilot.networks} networks on {half} choose the setting of each of {len(plan.arms)} arms, and up to "
        f"{cost.confirm.networks} fresh ones compare them. One more trains on all examples, for use."
    )
    times = (
        f"That takes about {_duration(cost.seconds)}{processes}, {saving} the {cost.nested.networks} networks of the "
        f"full nested design ({_duration(cost.nested_seconds)})."
    )
    epochs = "epochs, " if plan.network_design.trains_itself else ""
    if saved <= 0:
        times += " With so few splits or settings, design nested costs no more."
    shorter = f"A time limit chooses a smaller design; fewer arms, rates, {epochs}folds or seeds make it shorter, too."
    return counts, times, shorter


def describe_fitted(fitted: FittedPlan, timing: Timing, minutes: float) -> tuple[str, ...]:
    """Sentences about a plan that was made smaller: what has changed, what it costs, and whether that fits the time."""
    counts, times, _ = describe_cost(fitted.plan, timing)
    changes = (f"To fit {minutes:g} minutes: {', '.join(fitted.changes)}.",) if fitted.changes else ()
    if fitted.cost.seconds <= 60 * minutes:
        return *changes, counts, times
    shorter = "fewer epochs, or arms that you name, are shorter"
    if not fitted.plan.network_design.trains_itself:
        shorter = "arms that you name are shorter"
    too_long = f"No smaller design is left for {minutes:g} minutes: {shorter}."
    return *changes, counts, times, too_long


def describe_nested_cost(plan: Plan, timing: Timing) -> str:
    """A sentence about what the full nested design of a plan costs."""
    cost = cost_of(plan, timing)
    processes = f" in {timing.processes} processes" if timing.processes > 1 else ""
    networks = f"{cost.nested.networks} networks train every setting on every split, and one on all examples, for use."
    return f"{networks} That takes about {_duration(cost.nested_seconds)}{processes}."


def fit_to_minutes(plan: Plan, timing: Timing, minutes: float, *, keep_arms: bool = False) -> FittedPlan:
    """The largest of a series of ever smaller designs that fits a time, or the smallest where none does.

    Grids are thinned first, then arms are left out, groups of sites one by one at first, then folds or seeds become
    fewer. "none" and "dropout" always stay, and so does the number of epochs, on which the answer depends.

    Args:
        plan: the plan with all settings.
        timing: measured times.
        minutes: time of both stages and of the recommended network.
        keep_arms: leave out no arm, as where the user named them.
    """
    changes: list[str] = []
    fitted = FittedPlan(plan, cost_of(plan, timing), ())
    for smaller, change in _smaller(plan, () if keep_arms else _LEFT_OUT):
        if fitted.cost.seconds <= 60 * minutes:
            break
        changes.append(change)
        fitted = FittedPlan(smaller, cost_of(smaller, timing), tuple(changes))
    return fitted


def _smaller(plan: Plan, left_out: Sequence[str]) -> Iterator[tuple[Plan, str]]:
    """Ever smaller plans, each with what has changed since the last."""
    thinned = _with_arms(plan, [_thinned(arm) for arm in plan.arms])
    if thinned.settings != plan.settings:
        yield thinned, f"{len(thinned.settings)} settings instead of {len(plan.settings)}"
    plan = thinned
    for start in left_out:
        kept = [
            arm for arm in plan.arms if not (arm.name == start or (start[-1] == "_" and arm.name.startswith(start)))
        ]
        if len(kept) < len(plan.arms) and sum(arm.kind == "method" for arm in kept):
            labels = [f"“{arm.label}”" for arm in plan.arms if arm not in kept]
            plan = _with_arms(plan, kept)
            yield plan, f"without {', '.join(labels)}"
    fewer: tuple[tuple[str, int, Callable[[Plan], Plan]], ...] = (
        ("folds", _FEWEST_FOLDS, lambda plan: dataclasses.replace(plan, folds=_FEWEST_FOLDS)),
        ("seeds", _FEWEST_SEEDS, lambda plan: dataclasses.replace(plan, seeds=_FEWEST_SEEDS)),
    )
    for name, least, reduce in fewer:
        if getattr(plan, name) > least:
            changed = f"{least} {name} instead of {getattr(plan, name)}"
            plan = reduce(plan)
            yield plan, changed


def _thinned(arm: Arm) -> Arm:
    """Every other setting of a grid of four or more, with its ends; those of a mix follow from the other arms."""
    if arm.kind == "mix" or len(arm.settings) < 4:
        return arm
    last = len(arm.settings) - 1
    return dataclasses.replace(arm, settings=tuple(s for n, s in enumerate(arm.settings) if n % 2 == 0 or n == last))


def _with_arms(plan: Plan, arms: Sequence[Arm]) -> Plan:
    """The plan with these arms, whose mix chooses among their settings, and the questions about them."""
    union: dict[Setting, None] = dict.fromkeys(s for arm in arms if arm.kind != "mix" for s in arm.settings)
    changed = tuple(
        dataclasses.replace(arm, settings=tuple(s for s in arm.settings if s in union)) if arm.kind == "mix" else arm
        for arm in arms
    )
    own = plan.network_design
    questions = network_questions(changed, trains_itself=own.trains_itself)
    design = dataclasses.replace(own, questions=questions)
    return dataclasses.replace(plan, arms=changed, own=design)


def _duration(seconds: float) -> str:
    """A time in words of two digits."""
    for name, size in (("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 1.5 * size:
            value = seconds / size
            return f"{value:.0f} {name}" if value >= 9.5 else f"{value:.1f} {name}"
    return f"{max(1, round(seconds))} s"
