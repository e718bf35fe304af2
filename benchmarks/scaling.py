"""Ten thousand networks on 8 to 1,024 workers: a simulation with measured times of cohorts.

    python benchmarks/scaling.py [--seeds 40] [--epochs 3]

Every kind of cohort of the default plan on the churn table is trained for a few epochs on one core, and its processor
time taken to the plan's 50. What the driver does for a finished cohort, to commit it to SQLite, is measured too. The
simulation hands cohorts to workers as :func:`thinned.studies.training.engines.run_jobs.run_jobs` does. Assumed are:
times that vary by a tenth, one cohort in fifty that takes three times as long, one in a hundred that is lost half-way
and tried again at the end, workers that take 5 s to start, and 2 ms of the driver to hand a cohort over.
"""

import argparse
import heapq
import tempfile
import time
from collections import deque
from pathlib import Path

import numpy as np

from thinned import datasets
from thinned.studies.cores import one_core
from thinned.studies.design.make_plan import make_plan
from thinned.studies.design.options import StudyOptions
from thinned.studies.design.plan import Plan
from thinned.studies.design.splits import Split, make_splits
from thinned.studies.table.load import Table, load
from thinned.studies.training.jobs import Job, Training, make_jobs
from thinned.studies.training.records import TrainedNetwork
from thinned.studies.training.store import open_store

START, HAND_OVER = 5.0, 0.002  # seconds
NOISE, STRAGGLERS, SLOWER, LOST = 0.1, 0.02, 3.0, 0.01
WORKERS = (8, 32, 128, 512, 1024)
FULL_EPOCHS = 50


def measure(table: Table, plan: Plan) -> tuple[dict[object, float], float]:
    """Seconds a network of 50 epochs by structure, on one core; and seconds of a commit by the driver."""
    splits = make_splits(plan, table)
    jobs = make_jobs(plan, splits)
    seconds: dict[object, float] = {}
    networks: list[TrainedNetwork] = []
    for number, job in enumerate(jobs):
        structure = plan.settings[job.settings[0]].structure
        if structure in seconds:
            continue
        trained, taken = train(Training(table, plan, splits, jobs), number, plan.epochs)
        seconds[structure] = taken / len(job.members)
        networks = max(networks, trained, key=len)
    with tempfile.TemporaryDirectory() as folder, open_store(Path(folder), plan) as store:
        began = time.perf_counter()
        store.add(networks, 0.0)
        commit = time.perf_counter() - began
    return seconds, commit


def train(training: Training, number: int, epochs: int) -> tuple[list[TrainedNetwork], float]:
    """Train a cohort; and the seconds that it would take with 50 epochs."""
    marks = [time.process_time()]
    with one_core():
        networks = training(number, lambda done: marks.append(time.process_time()))
    epoch = (marks[-1] - marks[1]) / (len(marks) - 2)
    return networks, time.process_time() - marks[0] + epoch * (FULL_EPOCHS - epochs)


def simulate(durations: list[float], workers: int, commit: float, rng: np.random.Generator) -> tuple[float, int]:
    """Seconds until all cohorts are stored, and how many were lost on the way."""
    waiting = deque((number, 0) for number in range(len(durations)))
    free = [(START, worker) for worker in range(workers)]  # when each worker asks for work
    running: list[tuple[float, int, int, int, bool]] = []  # when it ends, worker, cohort, tries, lost
    driver, end, losses = 0.0, 0.0, 0
    heapq.heapify(free)
    while waiting or running:
        if waiting and free and (not running or free[0][0] <= running[0][0]):
            asked, worker = heapq.heappop(free)
            number, tries = waiting.popleft()
            driver = max(driver, asked) + HAND_OVER
            lost = rng.random() < LOST
            seconds = durations[number] * rng.lognormal(0, NOISE) * (SLOWER if rng.random() < STRAGGLERS else 1)
            heapq.heappush(running, (driver + seconds * (0.5 if lost else 1), worker, number, tries, lost))
            continue
        ended, worker, number, tries, lost = heapq.heappop(running)
        if lost:
            losses += 1
            waiting.append((number, tries + 1))
        else:
            driver = max(driver, ended) + commit
            end = driver
        heapq.heappush(free, (max(ended, driver) + (START if lost else 0), worker))
    return end, losses


def expected(plan: Plan, job: Job, seconds: dict[object, float]) -> float:
    return seconds[plan.settings[job.settings[0]].structure] * len(job.members)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=40, help="repeats of the simulated study; 40 are 10,800 networks")
    parser.add_argument("--epochs", type=int, default=3, help="that are measured")
    args = parser.parse_args()
    table = load(datasets.churn(), "churn")
    seconds, commit = measure(table, make_plan(table, StudyOptions(epochs=args.epochs)))
    for structure, value in seconds.items():
        print(f"{value:6.2f} s a network of {FULL_EPOCHS} epochs: {structure}")
    print(f"{1000 * commit:6.1f} ms of the driver a cohort")
    plan = make_plan(table, StudyOptions(seeds=args.seeds))
    empty = np.empty(0, dtype=np.int64)
    splits = [Split(repeat, fold, empty, empty, empty) for repeat in range(plan.seeds) for fold in range(plan.folds)]
    jobs = make_jobs(plan, splits)
    durations = [expected(plan, job, seconds) for job in jobs]
    print(
        f"\n{plan.networks:,} networks in {len(jobs)} cohorts of {min(durations):.0f} to {max(durations):.0f} s, "
        f"{sum(durations) / 3600:.1f} hours of one core"
    )
    for workers in WORKERS:
        runs = [simulate(durations, workers, commit, np.random.default_rng(number)) for number in range(20)]
        took = float(np.median([run[0] for run in runs]))
        print(
            f"{workers:5} workers: {took:7.0f} s (of 20: {min(runs)[0]:.0f} to {max(runs)[0]:.0f}), "
            f"{sum(durations) / took / workers:4.0%} of the workers' time, {np.mean([run[1] for run in runs]):.1f} lost"
        )


if __name__ == "__main__":
    main()
