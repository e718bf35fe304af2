"""Jobs for tests of engines; workers import them by name."""

import importlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

Report = Callable[[int], None]


def square(number: int, report: Report) -> int:
    report(number)
    return number * number


class Recorder:
    """Leaves a file for each job that was begun, with what its process sees."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def begin(self, number: int) -> int:
        """How often the job was begun before."""
        before = len(list(self.folder.glob(f"{number}-*")))
        (self.folder / f"{number}-{before}").write_text(
            f"{os.getpid()} {os.environ.get('CUDA_VISIBLE_DEVICES')} {os.environ.get('OMP_NUM_THREADS')}"
        )
        return before

    def __call__(self, number: int, report: Report) -> int:
        self.begin(number)
        report(1)
        return number * number


class Killer(Recorder):
    """Its process is killed in some jobs, as often as they say."""

    def __init__(self, folder: Path, kills: dict[int, int]) -> None:
        super().__init__(folder)
        self.kills = kills

    def __call__(self, number: int, report: Report) -> int:
        if self.begin(number) < self.kills.get(number, 0):
            os.kill(os.getpid(), signal.SIGKILL)
        return number * number


class Faulty(Recorder):
    """Raises an error in some jobs, as often as they say."""

    def __init__(self, folder: Path, faults: dict[int, int], error: Exception) -> None:
        super().__init__(folder)
        self.faults, self.error = faults, error

    def __call__(self, number: int, report: Report) -> int:
        if self.begin(number) < self.faults.get(number, 0):
            raise self.error
        return number * number


class Slow(Recorder):
    """Reports for a minute, unless it is stopped; job 0 is done at once."""

    def __call__(self, number: int, report: Report) -> int:
        self.begin(number)
        for step in range(1, 600 if number else 2):
            report(step)
            time.sleep(0.1)
        return number * number


class Pair(Recorder):
    """A job waits until another one runs at the same time, so that two workers take part."""

    def __call__(self, number: int, report: Report) -> int:
        self.begin(number)
        partner = self.folder / f"{number ^ 1}-0"
        deadline = time.monotonic() + 60
        while not partner.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        return number * number


class Greedy(Recorder):
    """Job 1 asks a library for a petabyte."""

    def __init__(self, folder: Path, library: str) -> None:
        super().__init__(folder)
        self.library = library

    def __call__(self, number: int, report: Report) -> int:
        self.begin(number)
        if number == 1:
            importlib.import_module(self.library).ones(2**47)
        return number * number


class Rows(Recorder):
    """Holds an array; a job tells whether its process mapped it from a file, and how many cores torch takes."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.rows = np.arange(1000, dtype=np.float64)

    def __call__(self, number: int, report: Report) -> tuple[bool, bool, int, float]:
        import torch

        mapped = isinstance(self.rows, np.memmap)
        return mapped, self.rows.flags.writeable, torch.get_num_threads(), float(self.rows.sum())


class TwoArgumentsError(Exception):
    """An error that pickle can't make again."""

    def __init__(self, text: str, other: int) -> None:
        super().__init__(text)


class KilledTraining:
    """A study's training, of which the process that does job 2 is killed once, after that job's first epoch."""

    def __init__(self, folder: Path, training: Callable[[int, Report], object]) -> None:
        self.recorder, self.training = Recorder(folder), training

    def __call__(self, number: int, report: Report) -> object:
        before = self.recorder.begin(number)

        def report_or_die(value: int) -> None:
            report(value)
            if number == 2 and not before:
                os.kill(os.getpid(), signal.SIGKILL)

        return self.training(number, report_or_die)


def devices_of_processes(folder: Path) -> dict[str, set[str]]:
    """The devices that each process saw while it did jobs of :class:`Recorder`."""
    devices: dict[str, set[str]] = {}
    for path in folder.iterdir():
        process, device = path.read_text().split()[:2]
        devices.setdefault(process, set()).add(device)
    return devices
