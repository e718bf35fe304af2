"""Default training budgets, by the number of training rows."""

import numpy as np

__all__ = ["default_batch_size", "default_epochs"]


def default_epochs(training: int) -> int:
    """50 epochs, fewer from 5,000 training rows on, but at least 10."""
    return int(np.clip(round(50 * (5000 / training) ** 0.5), 10, 50))


def default_batch_size(training: int) -> int:
    """About 100 steps an epoch, with a power of two between 16 and 512 rows each."""
    return int(np.clip(2 ** int(np.log2(max(training / 100, 1))), 16, 512))
