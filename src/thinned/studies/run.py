"""Runs a study: the table's splits, encoded, trained in cohorts, stored, analysed."""

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
from thinned.studies.plan import Member, Plan, Split, make_splits
from thinned.studies.store import Store
from thinned.studies.table import Table

__all__ = ["Progress", "encode", "outputs", "record", "run", "standardised"]

# Above this many rows each split is a cohort of its own: one encoded copy of the table at a time is enough then, since
# the matrix products of few members already fill the machine.
_ROWS_TOGETHER = 200_000


class Progress(NamedTuple):
    """How far a study is: called for after every epoch of every cohort."""

    doing: str
    networks: int
    epoch: int


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
    """Train every network of the plan that the store does not hold yet."""
    splits = make_splits(plan, table)
    together = plan.folds if plan.rows <= _ROWS_TOGETHER else 1
    done = {(r["repeat"], r["fold"], r["rate"]) for r in store.records()}
    for start in range(0, len(splits), together):
        part = splits[start : start + together]
        if all((s.repeat, s.fold, rate) in done for s in part for rate in plan.rates):
            continue
        progress(Progress("preparing the table", len(done), 0))
        shapes: dict[tuple[int, int, int], list[Encoded]] = {}
        for encoded in (encode(table, split) for split in part):
            shapes.setdefault(encoded.data.shape, []).append(encoded)
        for same in shapes.values():
            members = [Member(e.split.repeat, e.split.fold, rate) for e in same for rate in plan.rates]
            if done.issuperset(members):
                continue
            began = time.perf_counter()
            records = _train(table, plan, same, members, partial(_report, progress, members, plan, len(done)))
            store.add(records, time.perf_counter() - began)
            done.update(members)


def _report(progress: Callable[[Progress], None], members: Sequence[Member], plan: Plan, done: int, epoch: int) -> None:
    repeat = f"repeat {members[0].repeat + 1} of {plan.seeds}, " if plan.seeds > 1 else ""
    doing = f"training networks {done + 1}-{done + len(members)} of {plan.networks} ({repeat}epoch {epoch} of {plan.epochs})"
    progress(Progress(doing, done + len(members) * epoch // plan.epochs, epoch))


def _train(
    table: Table, plan: Plan, splits: Sequence[Encoded], members: Sequence[Member], progress: Callable[[int], None]
) -> list[dict[str, Any]]:
    columns = splits[0].data.x.shape[1]
    of = {(e.split.repeat, e.split.fold): e for e in splits}
    own = [of[member.repeat, member.fold] for member in members]
    outcomes = cohort.train(
        plan,
        lambda: MLP(columns, plan.hidden, outputs(plan.task, len(table.classes))),
        members,
        [encoded.data for encoded in own],
        progress,
    )
    diverged = sum(not np.isfinite([o.train_loss, o.validation_loss]).all() for o in outcomes)
    if diverged:
        raise InputError(
            sentence("losses must stay finite", f"{diverged} of {len(members)} networks diverged", "lower the learning rate")
        )
    return [record(table, m, e, o) for m, e, o in zip(members, own, outcomes, strict=True)]


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
