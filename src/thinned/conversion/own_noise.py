"""Copies and workers of an addressed model, whose masks must not be those of the model itself.

Their seed is ``fold_in(seed, site_number(name))`` with the names "copy 1", "copy 2" … and "worker 0", "worker 1" …;
then the address of a mask follows from it as in every addressed model.
"""

import sys
from types import FrameType

import torch.utils.data
from torch import nn

from thinned import philox

__all__ = ["copy_seed", "in_constructor", "worker_number", "worker_seed"]


def copy_seed(seed: int, number: int) -> int:
    """The seed of the copy that a module such as ``AveragedModel`` makes of an addressed model."""
    return philox.fold_in(seed, philox.site_number(f"copy {number}"))


def worker_seed(seed: int, number: int) -> int:
    """The seed of an addressed model in a worker of a ``DataLoader``."""
    return philox.fold_in(seed, philox.site_number(f"worker {number}"))


def worker_number() -> int | None:
    """The number of the ``DataLoader`` worker that this process is; None for another process."""
    info = torch.utils.data.get_worker_info()
    return None if info is None else info.id


def in_constructor() -> bool:
    """Tell whether a module is being made: a copy made now is its part, and runs beside the original."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == "__init__" and isinstance(frame.f_locals.get("self"), nn.Module):
            return True
        frame = frame.f_back
    return False
