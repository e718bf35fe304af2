"""Runs a study: the table's splits, encoded, trained in cohorts, stored, analysed."""

import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from thinned._checks import InputError, sentence
from thinned.studies import cohort, metrics
from thinned.studies.encoding import Encoder
from thinned.studies.network import MLP
from thinned.studies.plan import Member, Plan
from thinned.studies.splits import Split, make_splits
from thinned.studies.store import Store
from thinned.studies.table import Table
from thinned.studies.workers import run_jobs

__all__ = ["Progress", "encode", "outputs", "record", "run", "standardised"]

# A cohort is small enough for its activations to stay in the cache, and large enough to spread the cost of a call.
_MEMBERS = 27
# Above this many rows a split is a cohort of its own: the matrix products of few members fill a core by then, and no
# more encoded copies of the table are held than cohorts are trained at a time.
_ROWS_TOGETHER = 200_000


class Progress(NamedTuple):
    """How far a study is: what it is doing, and how many networks' worth of training is done."""

    doing: str
    networks: float


def outputs(task: str, classes: int) -> int:
    """Output units of the network."""
    return classes if task == "multiclass" else 1


class Encoded(NamedTuple):
    """A split's rows as tensors, and the target's scale."""

    split: Split
    data: cohort.Data
    center: float
    spread: float


def encode(table: Table, split: Split) -> Encoded:
    """Fit the encoding on the split's training rows, and apply it to all rows."""
    encoder = Encoder().fit(table.features.iloc[split.train])
    y, center, spread = standardised(table, split.train)
    rows = [torch.from_numpy(np.asarray(part, dtype=np.int64)) for part in (split.train, split.validation, split.test)]
    return Encoded(split, cohort.Data(torch.from_numpy(encoder.transform(table.features)), y, *rows), center, spread)


def standardised(table: Table, train: npt.NDArray[np.int64]) -> tuple[torch.Tensor, float, float]:
    """Class codes as they are; values by the mean and standard deviation of the training rows."""
    if table.task != "regression":
        return torch.from_numpy(table.target), 0.0, 1.0
    values = table.target.astype(np.float64)
    center, spread = float(values[train].mean()), float(values[train].std()) or 1.0
    return torch.from_numpy(((values - center) / spread).astype(np.float32)), center, spread


def run(table: Table, plan: Plan, store: Store, progress: Callable[[Progress], None]) -> None:
    """Train every network of the plan that the store does not hold yet; finished cohorts are stored as they come."""
    done = {Member(r["repeat"], r["fold"], r["rate"]) for r in store.records()}
    jobs = [job for job in _jobs(plan, make_splits(plan, table)) if not done.issuperset(_members(plan, job))]

    def work(number: int, tell: Callable[[int], None]) -> list[dict[str, Any]]:
        return _train(table, plan, jobs[number], tell)

    def watch(trained: Sequence[int]) -> None:
        progress(_progress(plan, jobs, trained, len(done)))

    began = time.perf_counter()
    for _, records in run_jobs(work, len(jobs), watch):
        store.add(records, time.perf_counter() - began)
        began = time.perf_counter()


def _jobs(plan: Plan, splits: Sequence[Split]) -> list[list[Split]]:
    """The splits of each cohort: parts of a repeat, of nearly equal size."""
    jobs = []
    for repeat in range(plan.seeds):
        own = [split for split in splits if split.repeat == repeat]
        parts = len(own) if plan.rows > _ROWS_TOGETHER else math.ceil(len(own) * len(plan.rates) / _MEMBERS)
        jobs += [[own[i] for i in part] for part in np.array_split(np.arange(len(own)), min(parts, len(own)))]
    return jobs


def _members(plan: Plan, splits: Sequence[Split]) -> list[Member]:
    return [Member(split.repeat, split.fold, rate) for split in splits for rate in plan.rates]


def _progress(plan: Plan, jobs: Sequence[Sequence[Split]], trained: Sequence[int], done: int) -> Progress:
    """``trained`` counts, for each job, the epochs of all its networks."""
    whole = [len(_members(plan, job)) * plan.epochs for job in jobs]
    running = [f"{n + 1} at {100 * t // w} %" for n, (t, w) in enumerate(zip(trained, whole, strict=True)) if 0 < t < w]
    if not any(trained):
        doing = "preparing the table"
    else:
        doing = f"training {plan.networks} networks in {len(jobs)} cohorts"
        doing += f" (cohort {', '.join(running[:4])})" if running else ""
    return Progress(doing, done + sum(trained) / plan.epochs)


def _train(table: Table, plan: Plan, splits: Sequence[Split], tell: Callable[[int], None]) -> list[dict[str, Any]]:
    """The records of one cohort; splits whose encodings differ in shape are batched apart."""
    shapes: dict[tuple[int, int, int], list[Encoded]] = {}
    for encoded in (encode(table, split) for split in splits):
        shapes.setdefault(encoded.data.shape, []).append(encoded)
    records: list[dict[str, Any]] = []
    for (columns, *_), same in shapes.items():
        own = [encoded for encoded in same for _ in plan.rates]
        members = _members(plan, [encoded.split for encoded in same])
        network = partial(MLP, columns, plan.hidden, outputs(plan.task, len(table.classes)))
        tell_epochs = partial(_tell_epochs, tell, len(records) * plan.epochs, len(members))
        outcomes = cohort.train(plan, network, members, [encoded.data for encoded in own], tell_epochs)
        diverged = sum(not np.isfinite([o.train_loss, o.validation_loss]).all() for o in outcomes)
        if diverged:
            seen = f"those of {diverged} of {len(members)} networks are not"
            remedy = "look for extreme values in the target, or lower the learning rate"
            raise InputError(sentence("losses must stay finite", seen, remedy))
        records += [record(table, m, e, o) for m, e, o in zip(members, own, outcomes, strict=True)]
    return records


def _tell_epochs(tell: Callable[[int], None], before: int, members: int, epoch: int) -> None:
    tell(before + epoch * members)


def record(table: Table, member: Member, encoded: Encoded, outcome: cohort.Outcome) -> dict[str, Any]:
    """What is kept of a network: curves, and losses and scores at its best validation epoch and at the end."""
    truth, target = encoded.data.y[encoded.data.test], table.target[encoded.split.test]

    def at(epoch: int, output: torch.Tensor) -> dict[str, Any]:
        predicted = metrics.predictions(table.task, output.double().numpy(), encoded.center, encoded.spread)
        return {
            "train": float(outcome.train_loss[epoch]),
            "validation": float(outcome.validation_loss[epoch]),
            "test": float(cohort.losses(table.task, output.double(), truth).mean()),
            "scores": metrics.score(table.task, predicted, target, len(table.classes)),
        }

    return {
        **member._asdict(),
        "best_epoch": outcome.best_epoch + 1,
        "best": at(outcome.best_epoch, outcome.at_best),
        "end": at(-1, outcome.at_end),
        "curves": {"train": outcome.train_loss.tolist(), "validation": outcome.validation_loss.tolist()},
    }
