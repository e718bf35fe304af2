"""Random streams of a study: one for each purpose, all derived from the study's seed."""

import numpy as np

from thinned import philox

__all__ = ["stream", "stream_key"]


def stream(seed: int, *path: int | str) -> np.random.Generator:
    """Return the random stream of one purpose: its key is the study's seed with the path folded in.

    Args:
        seed: seed of the study.
        path: the purpose and its numbers, as ``"order", repeat, fold, epoch``.
    """
    return np.random.Generator(np.random.Philox(key=stream_key(seed, *path)))


def stream_key(seed: int, *path: int | str) -> int:
    """Return the 64-bit key of a stream."""
    key = seed
    for step in path:
        key = philox.fold_in(key, philox.site_number(step) if isinstance(step, str) else step)
    return key
