"""Width and training budget of a study's networks, by the number of rows."""

from typing import NamedTuple

import numpy as np

__all__ = ["Budget", "choose_budget", "default_batch_size", "default_epochs"]


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
        epochs: None takes :func:`default_epochs`.
        batch_size: None takes :func:`default_batch_size`; never more than the training rows.
    """
    width = int(np.clip(2 ** round(np.log2(rows) / 2), 16, 256))
    return Budget(
        hidden or (width, width),
        epochs or default_epochs(training),
        min(batch_size or default_batch_size(training), training),
    )


def default_epochs(training: int) -> int:
    """50 epochs, fewer from 5,000 training rows on, but at least 10."""
    return int(np.clip(round(50 * (5000 / training) ** 0.5), 10, 50))


def default_batch_size(training: int) -> int:
    """About 100 steps an epoch, with a power of two between 16 and 512 rows each."""
    return int(np.clip(2 ** int(np.log2(max(training / 100, 1))), 16, 512))
