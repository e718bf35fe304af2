"""Width and training budget of a study's networks, and repeats, by the number of rows."""

import math
from typing import NamedTuple

import numpy as np

__all__ = ["Budget", "choose_budget", "default_batch_size", "default_epochs", "default_repeats", "table_epochs"]

_FEW_ROWS = 2000  # a study of fewer takes a minute or two with four repeats
_LEAST_STEPS = 5000  # of Adam, whose steps are small: 50 epochs of a few hundred rows leave networks half trained


class Budget(NamedTuple):
    """Widths of the hidden layers, epochs, and rows of a step."""

    hidden: tuple[int, ...]
    epochs: int
    batch_size: int


def choose_budget(
    rows: int,
    training: int,
    hidden: tuple[int, ...] | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
) -> Budget:
    """Fill in what the user left open.

    Args:
        rows: number of rows of the table.
        training: number of rows that a network is trained on.
        hidden: None takes two layers of the power of two nearest to √rows, between 16 and 256.
        epochs: None takes :func:`table_epochs`.
        batch_size: None takes :func:`default_batch_size`; never more than the training rows.
    """
    width = int(np.clip(2 ** round(np.log2(rows) / 2), 16, 256))
    batch_size = min(batch_size or default_batch_size(training), training)
    return Budget(hidden or (width, width), epochs or table_epochs(training, batch_size), batch_size)


def table_epochs(training: int, batch_size: int) -> int:
    """:func:`default_epochs`, but on small tables so many that there are at least 5,000 steps."""
    return max(default_epochs(training), math.ceil(_LEAST_STEPS / max(1, training // batch_size)))


def default_repeats(rows: int) -> int:
    """4 repeats of small tables, where intervals are wide and training is quick (``benchmarks/repeats.py``), or 2."""
    return 4 if rows <= _FEW_ROWS else 2


def default_epochs(training: int) -> int:
    """50 epochs, fewer from 5,000 training rows on, but at least 10."""
    return int(np.clip(round(50 * (5000 / training) ** 0.5), 10, 50))


def default_batch_size(training: int) -> int:
    """About 100 steps an epoch, with a power of two between 16 and 512 rows each."""
    return int(np.clip(2 ** int(np.log2(max(training / 100, 1))), 16, 512))
