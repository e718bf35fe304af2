"""The native trainer against torch, its oracle: losses of the same networks in pairs, and verdicts, in one run.

    python benchmarks/trainer_agreement.py [--networks 100] [--epochs 15] [--part losses|verdicts] [--tables churn ...]

Losses: every arm of the default plan, one setting of each, on 600 rows of the bundled churn data; as many networks as
are asked for, each with initial weights, order, masks and folds of its own, and each trained by both. What the two
leave on the test rows at the best epoch and at the end differs by rounding that training amplifies. Printed are the
root mean square of this difference, the largest and the mean, in standard deviations of the loss between networks of
one split with other seeds. "control" is the root mean square between the native trainer's own instruction sets, the one
in use and the portable one: the same program with sums in another order.

Verdicts: studies of tables, trained by both: the outcome, the recommended setting, and how far the improvements of
settings lie apart, in half widths of their intervals. Three have the default plan and one repeat. On two more, dropout
alone is studied, with two rates each, where there is an effect to find.
"""

import argparse
import dataclasses
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import pandas as pd
import torch
from sklearn.datasets import load_breast_cancer, load_diabetes, make_friedman1

from thinned import datasets
from thinned.kernels import native
from thinned.studies.analysis.analyse import make_results
from thinned.studies.cores import one_core
from thinned.studies.design.make_plan import make_plan
from thinned.studies.design.plan import Member, Plan
from thinned.studies.design.setting import Setting
from thinned.studies.design.splits import make_splits
from thinned.studies.results.file import Results
from thinned.studies.run_summary import finished_part, summarise_run
from thinned.studies.table.load import Table, load
from thinned.studies.training import cohort, jobs, native_cohort
from thinned.studies.training.config import TrainingConfig
from thinned.studies.training.encoded_splits import encode
from thinned.studies.training.engines.environment import instruction_set
from thinned.studies.training.engines.serial import Serial
from thinned.studies.training.jobs import build_network, outputs
from thinned.studies.training.store import Store

Train = Callable[..., list[cohort.Outcome]]


def train_portable(*arguments: Any, **named: Any) -> list[cohort.Outcome]:
    before = native.isa()
    native.use_isa("portable")
    try:
        return native_cohort.train(*arguments, **named)
    finally:
        native.use_isa(before)


TRAINERS: dict[str, Train] = {"torch": cohort.train, "native": native_cohort.train, "portable": train_portable}
HIDDEN, TOGETHER = (32, 32), 50


def final_losses(table: Table, plan: Plan, setting: Setting, data: cohort.Data, train: Train) -> np.ndarray:
    """Losses on the test rows, ``(networks, 2)``: at the best epoch and at the end; repeats are seeds on one split."""
    config = dataclasses.replace(TrainingConfig.of_plan(plan), settings=(setting,))
    build = partial(build_network, plan, data.x.shape[1], outputs(plan.task, len(table.classes)))
    found = []
    for start in range(0, plan.seeds, TOGETHER):
        members = [Member(repeat, 0, 0) for repeat in range(start, min(start + TOGETHER, plan.seeds))]
        y = data.y[data.test]
        for outcome in train(config, build, members, [data] * len(members)):
            ends = outcome.at_best.double(), outcome.at_end.double()
            found.append([float(cohort.losses(plan.task, end, y).mean()) for end in ends])
    return np.array(found)


def rms(apart: np.ndarray) -> np.ndarray:
    return np.asarray(np.sqrt((apart**2).mean(0)))


def compare_losses(table: Table, plan: Plan) -> None:
    split = make_splits(plan, table)[0]
    data = {embedding: encode(table, split, embedding).data for embedding in (None, "piecewise")}
    columns = f"{'arm':>24}{'sd of seeds':>13}{'rms':>9}{'largest':>9}{'mean':>9}{'control':>9}"
    print(f"{columns}   at the best epoch, then at the end")
    for arm in plan.arms:
        setting = arm.settings[len(arm.settings) // 2]
        one = partial(final_losses, table, plan, setting, data[setting.embedding])
        oracle, native_losses, portable = (one(train) for train in TRAINERS.values())
        spread, apart = oracle.std(0, ddof=1), native_losses - oracle
        parts = [spread, rms(apart) / spread, np.abs(apart).max(0) / spread, apart.mean(0) / spread]
        parts.append(rms(portable - native_losses) / spread)
        numbers = [
            "".join(f"{part[i]:{9 + 4 * (n == 0)}{'.4f' if n == 0 else '.0e'}}" for n, part in enumerate(parts))
            for i in range(2)
        ]
        print(f"{arm.name:>24}{'   '.join(numbers)}", flush=True)


def study(table: Table, plan: Plan, train: Train) -> Results:
    store = Store.in_memory(plan)
    with mock.patch.object(jobs.native_cohort, "train", train):
        jobs.run(table, plan, store, lambda step: None, engine=Serial())
    networks, finished = finished_part(store.networks(), plan)
    return make_results(table, plan, finished, networks, summarise_run(plan, finished, store, None), 1.0)


class Case(NamedTuple):
    """A table to study, and the options of its plan."""

    frame: pd.DataFrame
    target: str
    options: dict[str, Any]


def make_cases(epochs: int) -> dict[str, Case]:
    default = {"hidden": HIDDEN, "epochs": epochs, "seeds": 1}
    few, all_rows = datasets.churn().sample(600, random_state=0), datasets.churn()
    cancer, diabetes = (read(as_frame=True).frame for read in (load_breast_cancer, load_diabetes))
    x, y = make_friedman1(1500, noise=0.5, random_state=0)
    friedman = pd.DataFrame(x).add_prefix("x").assign(target=y)
    dropout = {"arms": ["dropout"], "seeds": 2, "epochs": 25}
    return {
        "churn, 600 rows": Case(few, "churn", default),
        "breast cancer": Case(cancer, "target", default),
        "diabetes": Case(diabetes, "target", default),
        "churn": Case(all_rows, "churn", dropout | {"hidden": (64, 64), "rates": [0.2, 0.3]}),
        "friedman": Case(friedman, "target", dropout | {"hidden": HIDDEN, "rates": [0.5, 0.7], "epochs": 40}),
    }


def compare_verdicts(cases: dict[str, Case]) -> None:
    for name, (frame, target, options) in cases.items():
        table = load(frame, target)
        plan = make_plan(table, **options)
        one, other = (study(table, plan, TRAINERS[name]) for name in ("torch", "native"))
        apart = [
            abs(a.improvement.best.mean - b.improvement.best.mean)
            / ((a.improvement.best.high - a.improvement.best.low) / 2)
            for a, b in zip(one.settings, other.settings, strict=True)
            if a.improvement.best.high > a.improvement.best.low
        ]
        verdicts = [result.verdict for result in (one, other)]
        said = [(v.outcome, one.settings[v.recommended.setting].label) for v in verdicts]
        words = "equal" if said[0] == said[1] else "DIFFERENT"
        print(
            f"{name}: {words}: {said[0]}; {said[1]}; improvements at most {max(apart):.3f} half widths apart",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--part", choices=["losses", "verdicts"], help="one of the two alone")
    parser.add_argument("--tables", nargs="*", help="of the verdicts; all, if none is named")
    args = parser.parse_args()
    began = time.process_time()
    churn = datasets.churn().sample(600, random_state=0)
    table = load(churn, "churn")
    plan = make_plan(table, hidden=HIDDEN, epochs=args.epochs, seeds=args.networks)
    print(f"{instruction_set()}, kernels {native.trainer_isa()}, torch {torch.__version__}; {args.networks} networks")
    with one_core():
        if args.part != "verdicts":
            compare_losses(table, plan)
        if args.part != "losses":
            cases = make_cases(args.epochs)
            compare_verdicts({name: cases[name] for name in args.tables or cases})
    print(f"{time.process_time() - began:.0f} s of the processor")


if __name__ == "__main__":
    main()
