"""Trains the networks of a plan for a network of one's own; each finished network is stored at once."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from thinned.studies.design.own_network.pilot import network_splits
from thinned.studies.design.plan import Member, Plan
from thinned.studies.examples.examples import ExampleSet
from thinned.studies.training.apply_setting import SettingApplication
from thinned.studies.training.drive import Progress, StudyJobs, drive
from thinned.studies.training.engines.choose import choose_engine
from thinned.studies.training.engines.engine import Engine
from thinned.studies.training.loop.config import NetworkConfig
from thinned.studies.training.loop.functions import NetworkFunctions
from thinned.studies.training.network_job import Checkpoints, NetworkTraining, network_members
from thinned.studies.training.shard import Shard
from thinned.studies.training.stack.groups import member_stacks
from thinned.studies.training.store import CHECKPOINTS, Store

__all__ = ["NetworkStudy", "run_networks"]


class NetworkStudy(NamedTuple):
    """What the networks of a study are trained from.

    Attributes:
        functions: those of the user.
        application: makes the network of a setting.
        examples: the examples.
        config: how to train.
        members: so many networks of a split train as one program at most, as :class:`StackSize` has it.
    """

    functions: NetworkFunctions
    application: SettingApplication
    examples: ExampleSet
    config: NetworkConfig
    members: int = 1


def run_networks(
    study: NetworkStudy,
    plan: Plan,
    store: Store,
    progress: Callable[[Progress], None],
    *,
    engine: Engine | None = None,
    folder: Path | None = None,
    shard: Shard | None = None,
) -> None:
    """Train every network of the plan that the store does not hold yet.

    Args:
        study: what they are trained from.
        plan: the networks to train.
        store: takes their records.
        progress: called a few times a second.
        engine: trains the networks; None takes the cores of this machine.
        folder: for temporary files; None makes one.
        shard: the part of the plan to train; None is all of it.

    Raises:
        InputError: the splits can't be made, or workers failed.
    """
    finished = {network.member for network in store.networks()}
    splits = network_splits(plan, study.examples)
    members = network_members(plan.settings, splits)
    if shard is not None:
        members = shard.part(members, "networks")
    # divided before what is finished goes, so that an interrupted study goes on with the same stacks
    stacks = member_stacks(members, plan.settings, study.application.sites, study.members)
    left = [tuple(member for member in stack if member not in finished) for stack in stacks]
    unfinished = [stack for stack in left if stack]
    if not unfinished:
        return
    work = NetworkTraining(
        study.functions,
        study.application,
        study.examples,
        plan.settings,
        splits,
        unfinished,
        study.config,
        plan.seed,
        Checkpoints(store.folder / CHECKPOINTS, plan.digest),
    )
    watch = partial(_watch, plan, progress, len(finished), [len(stack) for stack in unfinished])
    jobs = StudyJobs(work, len(unfinished), watch, partial(_describe, plan, unfinished))
    drive(jobs, store, None, engine, choose_engine, folder)


def _watch(
    plan: Plan, progress: Callable[[Progress], None], finished: int, sizes: Sequence[int], epochs: Sequence[int]
) -> None:
    trained = sum(size * epoch / plan.epochs for size, epoch in zip(sizes, epochs, strict=True))
    stage = "pilot: " if plan.network_design.stage == "pilot" else ""
    doing = f"{stage}training {plan.networks} networks" if any(epochs) else f"{stage}preparing the examples"
    progress(Progress(doing, finished + trained))


def _describe(plan: Plan, jobs: Sequence[Sequence[Member]], number: int) -> str:
    members = jobs[number]
    place = f"repeat {members[0].repeat + 1}, fold {members[0].fold + 1}"
    if len(members) > 1:
        return f"job {number + 1} of {len(jobs)} ({len(members)} networks on {place})"
    return f"network {number + 1} of {len(jobs)} ({plan.settings[members[0].setting].label} on {place})"
