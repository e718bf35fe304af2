"""Makes the plan of a study from a table and the options that the user gave."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from thinned.errors import InputError, sentence
from thinned.import_path import source_digest
from thinned.studies.design.arms import Arm, choose_arms
from thinned.studies.design.budget import default_batch_size, default_epochs
from thinned.studies.design.plan import Plan
from thinned.studies.design.splits import VALIDATION
from thinned.studies.table.load import Table

__all__ = ["check_options", "make_plan"]

_WIDEST = 65_536
_SMALLEST = 32  # training rows of a study at several sizes


def check_options(rates: Any, hidden: Any, sizes: Any = (), **counts: Any) -> None:
    """Refuse options that no plan can be made of, before the table is read.

    Raises:
        InputError: a count is no whole number or too small; rates lie outside [0, 1) or are all 0; a width is
            too large; a size is too small.
    """
    for name, value in counts.items():
        least = {"folds": 2, "seed": 0}.get(name, 1)
        if value is not None and (type(value) is not int or value < least):
            raise InputError(sentence(f"{name} must be a whole number of at least {least}", f"got {value!r}"))
    if rates is not None and (not _all_numbers(rates) or not all(0 <= rate < 1 for rate in rates) or not any(rates)):
        raise InputError(sentence("rates must lie in [0, 1) and one must be above 0", f"got {rates!r}"))
    if hidden is not None and (not _all_numbers(hidden) or not hidden or not all(1 <= w <= _WIDEST for w in hidden)):
        seen = f"got {hidden!r}"
        raise InputError(sentence(f"hidden widths must lie between 1 and {_WIDEST:,}", seen, "give them as 64,64"))
    if not _all_numbers(sizes) or not all(type(size) is int and size >= _SMALLEST for size in sizes):
        seen = f"got {sizes!r}"
        raise InputError(sentence(f"sizes must be whole numbers of at least {_SMALLEST} rows", seen, "as 250,500,1000"))


def _all_numbers(values: Any) -> bool:
    return isinstance(values, Sequence) and all(isinstance(v, int | float) for v in values)


def make_plan(
    table: Table,
    *,
    arms: Sequence[str | Arm] | None = None,
    rates: Sequence[float] | None = None,
    folds: int = 5,
    seeds: int = 2,
    hidden: tuple[int, ...] | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    learning_rate: float = 1e-3,
    seed: int = 0,
    sizes: Sequence[int] = (),
    network: str | None = None,
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
    return Plan(
        arms=choose_arms(arms, rates, own_network=network is not None),
        folds=folds,
        seeds=seeds,
        hidden=hidden or (width, width),
        epochs=epochs or default_epochs(training),
        batch_size=min(batch_size or default_batch_size(training), training),
        learning_rate=learning_rate,
        seed=seed,
        task=table.task,
        data=table.sha256,
        rows=rows,
        sizes=tuple(sorted(set(sizes))),
        network=network,
        network_source=None if network is None else source_digest(network),
        group=table.group,
        time=table.time,
    )
