"""The native trainer against the batched program of torch: a step, and the training of a small study, in one run.

    python benchmarks/native_cohort.py [--repeats 3] [--members 4] [--epochs 3] [--study-epochs 20]

A step is one member's share of a training step, evaluation after each epoch included, on one core, from the second
epoch on: binary, 75 columns, batches of 32 of 3,200 rows, dropout 0.3, or 0.5 with one mask for a batch. The batched
program trains as many members at a time as a study gives it, on two splits. The study is of the bundled churn data,
arms "none", "dropout" and "batch_norm" on one repeat, trained in this process, with encoding, scores and probes. The
two take turns; times are of the processor, medians of the repeats.
"""

import argparse
import dataclasses
import statistics
import time
from collections.abc import Callable
from functools import partial
from unittest import mock

import numpy as np
import torch

from thinned import datasets
from thinned.kernels import native
from thinned.studies.cores import one_core
from thinned.studies.design.arm import Arm
from thinned.studies.design.make_plan import make_plan
from thinned.studies.design.plan import Member
from thinned.studies.design.setting import Setting
from thinned.studies.table.load import load
from thinned.studies.training import cohort, jobs, native_cohort
from thinned.studies.training.config import TrainingConfig
from thinned.studies.training.engines.environment import instruction_set
from thinned.studies.training.engines.serial import Serial
from thinned.studies.training.network import MLP
from thinned.studies.training.store import Store

COLUMNS, ROWS, TRAINING, VALIDATION, BATCH = 75, 4800, 3200, 800, 32
SETTINGS = {
    "": Setting(dropout=0.3),
    "batch norm ": Setting(dropout=0.3, batch_norm="after"),
    "one mask 0.5 ": Setting(dropout=0.5, one_mask=True),
}
TRAINERS: dict[str, Callable[..., list[cohort.Outcome]]] = {"torch": cohort.train, "native": native_cohort.train}


def make_data() -> cohort.Data:
    rng = np.random.default_rng(0)
    x = torch.tensor(rng.normal(size=(ROWS, COLUMNS)), dtype=torch.float32)
    y = torch.tensor(rng.random(ROWS) < torch.sigmoid(2 * x[:, 0] - x[:, 1]).numpy()).long()
    parts = torch.split(torch.arange(ROWS), [TRAINING, VALIDATION, ROWS - TRAINING - VALIDATION])
    return cohort.Data(x, y, *parts)


def steps(width: int, setting: Setting, args: argparse.Namespace) -> dict[str, Callable[[], float]]:
    """For each trainer, a function that gives the seconds of a member's step."""
    table = load(datasets.churn(), "churn")
    plan = make_plan(table, hidden=(width, width), epochs=args.epochs, batch_size=BATCH)
    plan = dataclasses.replace(plan, arms=(Arm("one", "one", (setting,)),))
    together = max(jobs._FEWEST_MEMBERS, min(jobs._MEMBERS, jobs._WEIGHTS // width**2))
    config, data = TrainingConfig.of_plan(plan), make_data()
    build = partial(MLP, COLUMNS, (width, width), 1)

    def seconds(name: str) -> float:
        members = [Member(0, m % 2, 0) for m in range(together if name == "torch" else args.members)]
        ends: list[float] = []
        TRAINERS[name](config, build, members, [data] * len(members), lambda epoch: ends.append(time.process_time()))
        return (ends[-1] - ends[0]) / (len(members) * (args.epochs - 1) * (TRAINING // BATCH))

    return {name: partial(seconds, name) for name in TRAINERS}


def study(args: argparse.Namespace) -> dict[str, Callable[[], float]]:
    """For each trainer, a function that gives the seconds of a study's training."""
    table = load(datasets.churn(), "churn")
    plan = make_plan(table, arms=("none", "dropout", "batch_norm"), epochs=args.study_epochs)
    plan = dataclasses.replace(plan, seeds=1)

    def seconds(name: str) -> float:
        start = time.process_time()
        with mock.patch.object(jobs.native_cohort, "train", TRAINERS[name]):
            jobs.run(table, plan, Store.in_memory(plan), lambda step: None, engine=Serial())
        return time.process_time() - start

    return {name: partial(seconds, name) for name in TRAINERS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--members", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--study-epochs", type=int, default=20)
    args = parser.parse_args()
    print(f"{instruction_set()}, kernels {native.isa()}; epochs {args.epochs}, medians of {args.repeats}")
    cases = {
        f"{words}{width}–{width}, µs a step": (steps(width, setting, args), 1e6)
        for width in (16, 64, 256)
        for words, setting in SETTINGS.items()
    }
    cases["churn study, s"] = (study(args), 1.0)
    with one_core():
        for case, (trainers, unit) in cases.items():
            taken: dict[str, list[float]] = {name: [] for name in trainers}
            for _ in range(args.repeats):
                for name, seconds in trainers.items():
                    taken[name].append(seconds() * unit)
            median = {name: statistics.median(times) for name, times in taken.items()}
            ratio = statistics.median(t / n for t, n in zip(*taken.values(), strict=True))
            print(f"{case:>32}: torch {median['torch']:8.2f}, native {median['native']:8.2f}, {ratio:5.1f} x")


if __name__ == "__main__":
    main()
