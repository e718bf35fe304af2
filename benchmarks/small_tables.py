"""Steps and repeats that small tables need: studies of scikit-learn's tables and the churn table, with four repeats.

    python benchmarks/small_tables.py [--tables wine breast_cancer diabetes churn]

Arms "none", "dropout" (0.2, 0.5, 0.7) and "weight_decay" (0.1, 0.3, 1); on small tables 6,000 steps. Printed are, for
smaller budgets, the mean validation loss of each arm at its best epoch, and the share of splits on which that was among
the last 5 % of the budget; then, for each pair of arms, the mean width of the interval by one, two and four repeats.
"""

import argparse
import math
import time

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine

from thinned import datasets
from thinned.studies.analysis.selection import TrainedNetworks
from thinned.studies.analysis.statistics import resampled
from thinned.studies.design.arm import Arm
from thinned.studies.design.make_plan import make_plan
from thinned.studies.design.plan import Plan
from thinned.studies.design.setting import Setting
from thinned.studies.table.load import Table, load
from thinned.studies.training import jobs
from thinned.studies.training.engines.serial import Serial
from thinned.studies.training.store import Store

LOADERS = {"wine": load_wine, "breast_cancer": load_breast_cancer, "diabetes": load_diabetes}
DECAY = Arm("weight_decay", "weight decay", tuple(Setting(weight_decay=decay) for decay in (0.1, 0.3, 1.0)))
REPEATS, STEPS, BUDGETS = 4, 6000, (1000, 2000, 3000, 4000, 5000, 6000)


def load_table(name: str) -> Table:
    if name == "churn":
        return load(datasets.churn(), "churn")
    data = LOADERS[name](as_frame=True)
    target = data.target if name == "diabetes" else data.target.map("c{}".format)
    return load(data.data.assign(y=target), "y")


def study(table: Table, name: str) -> tuple[Plan, TrainedNetworks, int]:
    """The networks of a study, and the number of steps of an epoch."""
    steps = int(0.64 * len(table.target)) // make_plan(table).batch_size
    epochs = None if name == "churn" else math.ceil(STEPS / steps)
    plan = make_plan(table, arms=("dropout", DECAY), rates=(0.2, 0.5, 0.7), seeds=REPEATS, epochs=epochs)
    store = Store.in_memory(plan)
    jobs.run(table, plan, store, lambda step: None, engine=Serial())
    return plan, TrainedNetworks(store.networks(), plan), steps


def report_budgets(plan: Plan, trained: TrainedNetworks, steps: int) -> None:
    budgets = sorted({epochs for epochs in (50, *(math.ceil(b / steps) for b in BUDGETS)) if epochs <= plan.epochs})
    for arm in plan.arms:
        found = []
        for epochs in budgets:
            curves = [
                [split[s].curves.validation[:epochs] for s in plan.setting_indices(arm)] for split in trained.splits
            ]
            best = [np.unravel_index(np.argmin(split), np.shape(split)) for split in curves]
            loss = np.mean([np.min(split) for split in curves])
            late = np.mean([epoch + 1 > 0.95 * epochs for _, epoch in best])
            found.append(f"{epochs}: {loss:.4f} ({late:.2f})")
        print(f"  {arm.name:12} validation loss (share still improving) by epochs: {', '.join(found)}")


def report_repeats(trained: TrainedNetworks) -> None:
    for against, arm in (("none", "dropout"), ("none", "weight_decay"), ("weight_decay", "dropout")):
        gains = (trained.arm_scores(against, "best") - trained.arm_scores(arm, "best")).reshape(REPEATS, -1)
        widths = []
        for repeats in (1, 2, 4):
            intervals = [resampled(gains[i : i + repeats]).interval() for i in range(0, REPEATS, repeats)]
            widths.append(float(np.mean([interval.high - interval.low for interval in intervals])))
        shown = ", ".join(f"{width:.4f}" for width in widths)
        print(
            f"  {against} - {arm}: {gains.mean():+.4f}, width by 1, 2, 4 repeats {shown}; {widths[2] / widths[1]:.2f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", nargs="+", choices=(*LOADERS, "churn"), default=(*LOADERS, "churn"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    for name in args.tables:
        start, table = time.process_time(), load_table(name)
        plan, trained, steps = study(table, name)
        print(
            f"{name}: {plan.rows} rows, {plan.hidden}, {steps} steps an epoch, {plan.epochs} epochs, {plan.networks} "
            f"networks, {time.process_time() - start:.0f} s of the processor"
        )
        report_budgets(plan, trained, steps)
        report_repeats(trained)


if __name__ == "__main__":
    main()
