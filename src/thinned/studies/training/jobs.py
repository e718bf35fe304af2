"""Trains the networks of a plan: splits, encoded, in cohorts, whose records go into the store."""

import itertools
import math
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, SupportsFloat

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from thinned.errors import InputError, sentence
from thinned.studies import metrics
from thinned.studies.design.plan import Member, Plan
from thinned.studies.design.setting import Setting
from thinned.studies.design.splits import Split, make_splits
from thinned.studies.examples.weighted_scores import score_samples
from thinned.studies.table.load import Table
from thinned.studies.training import cohort, native_cohort, probes
from thinned.studies.training.config import TrainingConfig
from thinned.studies.training.drive import Progress, StudyJobs, drive
from thinned.studies.training.encoded_splits import Encoded, EncodedSplits, SplitKey
from thinned.studies.training.engines.choose import choose_engine, main_objects
from thinned.studies.training.engines.engine import Engine
from thinned.studies.training.engines.serial import Serial
from thinned.studies.training.network import MLP, load_network
from thinned.studies.training.records import Curves, Evaluation, TrainedNetwork
from thinned.studies.training.shard import Shard
from thinned.studies.training.store import Store

__all__ = ["Job", "Progress", "Training", "build_network", "make_jobs", "outputs", "run"]

# A cohort is large enough to spread the cost of a call and small enough for parameters and activations to stay near
# the core: this many networks, or this many weights between hidden layers.
_MEMBERS, _FEWEST_MEMBERS, _WEIGHTS = 80, 9, 600_000
_FEWEST_PARTS = 2  # a structure's splits are divided at least once, so that every core has work until the end
_SLOWER = 1.7  # a step with batch norm or wider inputs, against one without
# Above this many rows a split is a cohort of its own: the matrix products of few members fill a core by then, and no
# more encoded copies of the table are held than cohorts are trained at a time.
_ROWS_TOGETHER = 200_000
# Starting workers takes a few seconds: shorter work is done by the driver itself.
_FEW_SECONDS, _STEP_SECONDS, _ROWS_PER_SECOND = 4.0, 5e-4, 1.5e6


def outputs(task: str, classes: int) -> int:
    """Return the number of output units."""
    return classes if task == "multiclass" else 1


class Job(NamedTuple):
    """The networks of one cohort: settings of one structure, each on the same splits.

    Attributes:
        splits: the splits.
        settings: indices of the settings in the plan.
        size: number of training rows; 0 stands for all rows of a split.
    """

    splits: list[Split]
    settings: list[int]
    size: int

    @property
    def members(self) -> list[Member]:
        """The networks, split by split."""
        return [Member(split.repeat, split.fold, s, self.size) for split in self.splits for s in self.settings]


class Training:
    """The work of a study, which engines copy to their workers: job ``number`` trains a cohort."""

    def __init__(self, table: Table, plan: Plan, splits: Sequence[Split], jobs: Sequence[Job]) -> None:
        self._table, self._plan = table, plan
        places = {(split.repeat, split.fold): number for number, split in enumerate(splits)}
        # by number: row numbers of a split are written once, not for each of its jobs
        self._jobs = [(tuple(places[s.repeat, s.fold] for s in job.splits), job.settings, job.size) for job in jobs]
        needed = itertools.chain.from_iterable(map(self._needed, range(len(jobs))))
        self._encoded = EncodedSplits(table, list(splits), needed)

    def _needed(self, number: int) -> list[SplitKey]:
        places, settings, size = self._jobs[number]
        return [SplitKey(place, size, self._plan.settings[settings[0]].embedding) for place in places]

    def __call__(self, number: int, report: Callable[[int], None]) -> list[TrainedNetwork]:
        """Train a cohort; ``report`` is told the epochs of all its networks."""
        _, settings, size = self._jobs[number]
        with self._encoded.use(self._needed(number)) as encoded:
            return _train(self._table, self._plan.at_size(size), encoded, settings, size, report)


def run(
    table: Table,
    plan: Plan,
    store: Store,
    progress: Callable[[Progress], None],
    minutes: float | None = None,
    *,
    engine: Engine | None = None,
    folder: Path | None = None,
    shard: Shard | None = None,
) -> None:
    """Train every network of the plan that the store does not hold yet; each finished cohort is stored at once.

    Args:
        table: the rows.
        plan: the networks to train.
        store: takes the records of the networks.
        progress: called a few times a second.
        minutes: no cohort starts after this time; None sets no limit.
        engine: trains the cohorts; None takes threads where the extension trains, and for a user's network processes on
            the cores of this machine, or this process for a few seconds' work.
        folder: for temporary files, best on a file system that all workers see; None makes one.
        shard: the part of the plan to train; None is all of it.

    Raises:
        InputError: the splits can't be made, a size exceeds the training rows of a split, or workers failed.
    """
    finished = {network.member for network in store.networks()}
    splits = make_splits(plan, table)
    least = min(len(split.train) for split in splits)
    if plan.sizes and plan.sizes[-1] > least:
        requirement = f"sizes must lie within the {least:,} training rows of a split"
        raise InputError(sentence(requirement, f"got {plan.sizes[-1]:,}"))
    jobs = make_jobs(plan, splits)
    if shard is not None:
        jobs = shard.part(jobs)
    jobs = [job for job in jobs if not finished.issuperset(job.members)]
    if not jobs:
        return

    def watch(epochs: Sequence[int]) -> None:
        progress(_progress(plan, jobs, epochs, len(finished)))

    def start_engine() -> Engine:
        native = native_cohort.trains_networks(plan.network)
        small = not native and _expected_seconds(plan, jobs) < _FEW_SECONDS
        return Serial() if small else choose_engine(main=main_objects(plan.network), native=native)

    work = StudyJobs(Training(table, plan, splits, jobs), len(jobs), watch, partial(_describe, plan, jobs))
    drive(work, store, minutes, engine, start_engine, folder)


def _describe(plan: Plan, jobs: Sequence[Job], number: int) -> str:
    job = jobs[number]
    split, label = job.splits[0], plan.settings[job.settings[0]].label
    first = f"{label} on repeat {split.repeat + 1}, fold {split.fold + 1}"
    return f"cohort {number + 1} of {len(jobs)} ({len(job.members)} networks, from {first})"


def _expected_seconds(plan: Plan, jobs: Sequence[Job]) -> float:
    """Rough training time of all jobs on one core: a fixed time for each step, and one for each row."""
    seconds = 0.0
    for job in jobs:
        sized = plan.at_size(job.size)
        rows = sized.epochs * (job.size or plan.rows)
        seconds += rows / sized.batch_size * _STEP_SECONDS + len(job.members) * rows / _ROWS_PER_SECOND
    return seconds


def make_jobs(plan: Plan, splits: Sequence[Split]) -> list[Job]:
    """Divide a plan into cohorts: settings of one structure, on nearly equal numbers of splits.

    Cohorts with the first setting come first, because the primary question needs it. Then the longest come first, so
    that no core waits long for another at the end.
    """
    weights = sum(before * after for before, after in itertools.pairwise(plan.hidden)) or 1
    most = max(_FEWEST_MEMBERS, min(_MEMBERS, _WEIGHTS // weights))
    structures: dict[tuple[int, tuple[Hashable, ...]], list[int]] = {}
    for size in (0, *plan.sizes):
        for index, setting in enumerate(plan.settings):
            if not size or setting in plan.sized:
                structures.setdefault((size, setting.structure), []).append(index)
    jobs = []
    for (size, _), settings in structures.items():
        splits_together = 1 if plan.rows > _ROWS_TOGETHER else max(1, most // len(settings))
        parts = max(math.ceil(len(splits) / splits_together), min(_FEWEST_PARTS, len(splits)))
        for split_indices in np.array_split(np.arange(len(splits)), parts):
            jobs += [
                Job([splits[i] for i in split_indices], [settings[i] for i in setting_indices], size)
                for setting_indices in np.array_split(np.arange(len(settings)), math.ceil(len(settings) / most))
            ]

    def priority(job: Job) -> tuple[bool, float]:
        norm, _, embedding = plan.settings[job.settings[0]].structure
        cost = len(job.members) * (job.size or plan.rows) * (_SLOWER if norm or embedding else 1)
        return job.size > 0 or 0 not in job.settings, -cost

    return sorted(jobs, key=priority)


def _progress(plan: Plan, jobs: Sequence[Job], epochs: Sequence[int], finished: int) -> Progress:
    """The state of the study; ``epochs`` counts, for each job, the epochs that all its networks have trained."""
    budgets = [len(job.members) * plan.at_size(job.size).epochs for job in jobs]
    doing = f"training {plan.networks} networks" if any(epochs) else "preparing the table"
    trained = sum(len(job.members) * e / b for job, e, b in zip(jobs, epochs, budgets, strict=True))
    return Progress(doing, finished + trained)


def _train(
    table: Table,
    plan: Plan,
    splits: Sequence[Encoded],
    settings: Sequence[int],
    size: int,
    report_epochs: Callable[[int], None],
) -> list[TrainedNetwork]:
    """Train one cohort; splits whose encodings differ in shape make separate batched programs."""
    by_shape: dict[tuple[int, ...], list[Encoded]] = {}
    for encoded in splits:
        by_shape.setdefault(encoded.data.shape, []).append(encoded)
    networks: list[TrainedNetwork] = []
    for (columns, *_), same in by_shape.items():
        of_members = [encoded for encoded in same for _ in settings]
        members = [Member(encoded.split.repeat, encoded.split.fold, s, size) for encoded in same for s in settings]
        build = partial(build_network, plan, columns, outputs(plan.task, len(table.classes)))
        report = partial(_report_epoch, report_epochs, len(networks) * plan.epochs, len(members))
        data = [encoded.data for encoded in of_members]
        config, probe = TrainingConfig.of_plan(plan), partial(probes.probe, plan, members, data)
        outcomes = native_cohort.train(config, build, members, data, report, probe)
        networks += [_record(table, m, e, o) for m, e, o in zip(members, of_members, outcomes, strict=True)]
    return networks


def build_network(plan: Plan, columns: int, outputs: int, setting: Setting) -> nn.Module:
    """Build the network that the plan trains with a setting."""
    if plan.network is not None:
        return load_network(plan.network, columns, outputs)
    return MLP(columns, plan.hidden, outputs, setting)


def _report_epoch(report_epochs: Callable[[int], None], before: int, members: int, epoch: int) -> None:
    report_epochs(before + epoch * members)


def _record(table: Table, member: Member, encoded: Encoded, outcome: cohort.Outcome) -> TrainedNetwork:
    """The record of a network: curves, and losses and scores at its best validation epoch and at the end."""
    truth, target = encoded.data.y[encoded.data.test], table.target[encoded.split.test]

    def evaluate(epoch: int, output: torch.Tensor) -> Evaluation:
        if not output.isfinite().all():  # the network diverged: the analysis leaves its setting out, and says so
            return Evaluation(None, None, None, dict.fromkeys(metrics.names(table.task)))
        predicted = metrics.predictions(table.task, output.double().numpy(), encoded.center, encoded.spread)
        return Evaluation(
            train=_finite(outcome.train_loss[epoch]),
            validation=_finite(outcome.validation_loss[epoch]),
            test=_finite(cohort.losses(table.task, output.double(), truth).mean()),
            scores=_scores(table.task, predicted, target),
        )

    return TrainedNetwork(
        **member._asdict(),
        best_epoch=outcome.best_epoch + 1,
        best=evaluate(outcome.best_epoch, outcome.at_best),
        end=evaluate(-1, outcome.at_end),
        curves=Curves(tuple(map(_finite, outcome.train_loss)), tuple(map(_finite, outcome.validation_loss))),
        probes=outcome.probes,
    )


def _scores(task: str, predicted: npt.NDArray[np.float64], target: npt.NDArray[np.generic]) -> dict[str, float | None]:
    """The scores of :func:`thinned.studies.metrics.score`, in a twentieth of its time."""
    once = np.ones((1, len(target)), dtype=np.int64)
    scores = score_samples(task, predicted, target, once)
    return {name: float(scores[name][0]) for name in metrics.names(task)}


def _finite(loss: SupportsFloat) -> float | None:
    return float(loss) if math.isfinite(loss) else None
