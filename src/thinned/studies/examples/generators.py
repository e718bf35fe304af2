"""The random generators that code of a user's own draws from, seeded for a while and then set back."""

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

__all__ = ["seed_generators", "seeded_generators"]

_LOCK = threading.RLock()  # the default generators are those of all threads


def seed_generators(key: int, device: torch.device | None = None) -> None:
    """Seed the default generators of torch (on the CPU and on ``device``), NumPy and Python with a 64-bit key."""
    seed = key >> 1  # torch takes 64 bits with a sign
    # not torch.manual_seed: it formats a stack of every call where CUDA was not initialised yet
    torch.default_generator.manual_seed(seed)
    if device is not None and device.type != "cpu":
        torch.get_device_module(device).manual_seed(seed)
    np.random.seed(seed & 0xFFFFFFFF)  # noqa: NPY002 - the one that a user's augmentation draws from
    random.seed(seed)


@contextmanager
def seeded_generators(key: int, device: torch.device | None = None) -> Iterator[None]:
    """Within, the default generators start from a key, and no other thread draws; afterwards they are as before."""
    backend = None if device is None or device.type == "cpu" else torch.get_device_module(device)
    with _LOCK:
        before = torch.default_generator.get_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
        # torch.mps has one device, and takes none
        there = () if device is None or device.type == "mps" else (device,)
        before_there = None if backend is None else backend.get_rng_state(*there)
        try:
            seed_generators(key, device)
            yield
        finally:
            torch.default_generator.set_state(before[0])
            np.random.set_state(before[1])  # noqa: NPY002
            random.setstate(before[2])
            if backend is not None:
                backend.set_rng_state(before_there, *there)
