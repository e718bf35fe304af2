"""Networks per second: a cohort against a plain PyTorch loop over the same networks, in one run.

    python benchmarks/cohort.py [--hidden 64] [--epochs 10] [--repeats 5]

The loop trains one network at a time as a PyTorch user writes it: nn.Linear, nn.ReLU, nn.Dropout, torch.optim.Adam with
its defaults, the same rows, batch size and number of steps. Both evaluate training and validation loss after each
epoch; the cohorts' time also holds encoding, held-out scores and storing. The ratio is also given for
Adam(fused=True) in the loop, which a careful user might pass.
"""

import argparse
import itertools
import statistics
import time

import torch
from torch import nn

from thinned import datasets
from thinned.studies import cohort
from thinned.studies.plan import Member, Plan, make_plan
from thinned.studies.run import encode, run
from thinned.studies.splits import make_splits
from thinned.studies.store import Store
from thinned.studies.table import load


def loop(plan: Plan, members: list[Member], data: list[cohort.Data], fused: bool | None) -> None:
    for member, d in zip(members, data, strict=True):
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise([d.x.shape[1], *plan.hidden]):
            layers += [nn.Linear(before, after), nn.ReLU(), nn.Dropout(member.rate)]
        network = nn.Sequential(*layers, nn.Linear(plan.hidden[-1], 1))
        optimizer = torch.optim.Adam(network.parameters(), lr=plan.learning_rate, fused=fused)
        loss = nn.BCEWithLogitsLoss()
        kept = len(d.train) // plan.batch_size * plan.batch_size
        for _ in range(plan.epochs):
            network.train()
            for rows in d.train[torch.randperm(len(d.train))[:kept]].split(plan.batch_size):
                optimizer.zero_grad()
                loss(network(d.x[rows])[:, 0], d.y[rows].float()).backward()
                optimizer.step()
            network.eval()
            with torch.inference_mode():
                for rows in (d.train[: len(d.validation)], d.validation):
                    loss(network(d.x[rows])[:, 0], d.y[rows].float()).item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    table = load(datasets.churn(), "churn")
    plan = make_plan(table, hidden=(args.hidden, args.hidden), epochs=args.epochs)
    looped = [Member(s.repeat, s.fold, 0.5) for s in make_splits(plan, table)[:3]]
    data = [encode(table, split).data for split in make_splits(plan, table)[:3]]

    def study() -> None:
        run(table, plan, Store.in_memory(plan), lambda step: None)

    runs = {
        "cohorts": study,
        "loop": lambda: loop(plan, looped, data, None),
        "loop, fused Adam": lambda: loop(plan, looped, data, True),
    }
    networks = {"cohorts": plan.networks, "loop": len(looped), "loop, fused Adam": len(looped)}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(args.repeats):
        for name, task in runs.items():
            start = time.perf_counter()
            task()
            seconds[name].append((time.perf_counter() - start) / networks[name])
    median = {name: statistics.median(times) for name, times in seconds.items()}
    print(
        f"hidden {args.hidden}-{args.hidden}, {data[0].x.shape[1]} columns, batch {plan.batch_size}, "
        f"{args.epochs} epochs, {plan.networks} networks, {torch.get_num_threads()} threads; medians of {args.repeats}"
    )
    for name, value in median.items():
        print(f"{name:>18}: {1 / value:7.2f} networks/s, {value / median['cohorts']:5.1f} x the cohorts' time")


if __name__ == "__main__":
    main()
