"""The plan of a study: everything that its numbers follow from, frozen and hashable."""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from thinned import philox
from thinned._checks import InputError, sentence
from thinned.studies.table import Table

__all__ = ["RATES", "VALIDATION", "Member", "Plan", "check_options", "make_plan", "stream"]

RATES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
_WIDEST = 65_536
VALIDATION = 0.2  # of the rows outside the test fold


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is trained: every rate on every fold of every repeat.

    Attributes:
        rates: dropout rates on the hidden layers; 0 is "no regularisation" and always present.
        folds: outer test folds.
        seeds: repeats. Each shuffles the folds anew, and has its own initial weights, data order and masks.
        hidden: widths of the hidden layers.
        epochs: training budget of every network.
        batch_size: rows a step; an incomplete last batch is left out, and the rows are in new order every epoch.
        learning_rate: of Adam.
        seed: the number that everything random follows from.
        task: "binary", "multiclass" or "regression".
        data: SHA-256 of the table.
        rows: of the table.
        group: column whose groups stay on one side of each split.
        time: column by which rows are trained on before those they are tested on.
    """

    rates: tuple[float, ...]
    folds: int
    seeds: int
    hidden: tuple[int, ...]
    epochs: int
    batch_size: int
    learning_rate: float
    seed: int
    task: str
    data: str
    rows: int
    group: str | None = None
    time: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON types."""
        return json.loads(json.dumps(dataclasses.asdict(self)))  # type: ignore[no-any-return]

    @property
    def digest(self) -> str:
        """Hexadecimal hash by which a finished run is recognised."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:16]

    @property
    def networks(self) -> int:
        """How many networks the study trains."""
        return len(self.rates) * self.folds * self.seeds


class Member(NamedTuple):
    """One network of the study."""

    repeat: int
    fold: int
    rate: float


def check_options(rates: Any, hidden: Any, **counts: Any) -> None:
    """Refuse options that no plan can be made of, before the table is read.

    Raises:
        InputError: a count is no whole number or too small; rates lie outside [0, 1) or are all 0; a width is
            too large.
    """
    for name, value in counts.items():
        least = {"folds": 2, "seed": 0}.get(name, 1)
        if value is not None and (type(value) is not int or value < least):
            raise InputError(sentence(f"{name} must be a whole number of at least {least}", f"got {value!r}"))
    if not _all_numbers(rates) or not all(0 <= rate < 1 for rate in rates) or not any(rates):
        raise InputError(sentence("rates must lie in [0, 1) and one must be above 0", f"got {rates!r}"))
    if hidden is not None and (not _all_numbers(hidden) or not hidden or not all(1 <= w <= _WIDEST for w in hidden)):
        seen = f"got {hidden!r}"
        raise InputError(sentence(f"hidden widths must lie between 1 and {_WIDEST:,}", seen, "give them as 64,64"))


def _all_numbers(values: Any) -> bool:
    return isinstance(values, Sequence) and all(isinstance(v, int | float) for v in values)


def make_plan(
    table: Table,
    *,
    rates: tuple[float, ...] = RATES,
    folds: int = 5,
    seeds: int = 2,
    hidden: tuple[int, ...] | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    learning_rate: float = 1e-3,
    seed: int = 0,
) -> Plan:
    """Fill in what the user left open from the size of the table.

    Two hidden layers of the power of two nearest to √rows, between 16 and 256; about 100 steps an epoch with batches
    between 16 and 512 rows; 50 epochs, fewer from 5,000 training rows on.

    Raises:
        InputError: a value can't be used.
    """
    if not learning_rate > 0:
        raise InputError(sentence("the learning rate must be positive", f"got {learning_rate}"))
    rows = len(table.target)
    outside = 1 / 2 if table.time else 1 - 1 / folds  # of a test fold; by time, in the mean over growing windows
    training = int(rows * outside * (1 - VALIDATION))
    width = int(np.clip(2 ** round(np.log2(rows) / 2), 16, 256))
    batch = batch_size or int(np.clip(2 ** int(np.log2(max(training / 100, 1))), 16, 512))
    return Plan(
        rates=tuple(sorted({0.0, *rates})),
        folds=folds,
        seeds=seeds,
        hidden=hidden or (width, width),
        epochs=epochs or int(np.clip(round(50 * (5000 / training) ** 0.5), 10, 50)),
        batch_size=min(batch, training),
        learning_rate=learning_rate,
        seed=seed,
        task=table.task,
        data=table.sha256,
        rows=rows,
        group=table.group,
        time=table.time,
    )


def stream(plan: Plan, *path: int | str) -> np.random.Generator:
    """A random stream of its own for each purpose: its key is the study's seed with the path folded in."""
    return np.random.Generator(np.random.Philox(key=stream_key(plan, *path)))


def stream_key(plan: Plan, *path: int | str) -> int:
    """The 64-bit key of a stream."""
    key = plan.seed
    for step in path:
        key = philox.fold_in(key, philox.site_number(step) if isinstance(step, str) else step)
    return key
