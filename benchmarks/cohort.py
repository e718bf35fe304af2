"""Networks per second: a cohort against a plain PyTorch loop over the same networks, in one run.

    python benchmarks/cohort.py [--hidden 64] [--epochs 3] [--repeats 5]

The loop trains one network at a time as a PyTorch user writes it: nn.Linear, nn.ReLU, nn.Dropout, torch.optim.Adam with
its defaults, the same rows, batch size and number of steps. Both evaluate training and validation loss after each
epoch. The ratio is also given for Adam(fused=True) in the loop, which a careful user might pass.
"""

import argparse
import itertools
import statistics
import time

import torch
from torch import nn

from thinned import datasets
from thinned.studies import cohort
from thinned.studies.network import MLP
from thinned.studies.plan import RATES, Member, Plan, make_plan, make_splits
from thinned.studies.run import encode
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
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    table = load(datasets.churn(), "churn")
    plan = make_plan(table, hidden=(args.hidden, args.hidden), epochs=args.epochs, seeds=1)
    encoded = [encode(table, split) for split in make_splits(plan, table)]
    members = [Member(0, fold, rate) for fold in range(plan.folds) for rate in RATES]
    data = [encoded[m.fold].data for m in members]

    def build() -> nn.Module:
        return MLP(data[0].x.shape[1], plan.hidden, 1)

    runs = {
        "cohort": lambda: cohort.train(plan, build, members, data),
        "loop": lambda: loop(plan, members[::9], data[::9], None),  # one of nine: its time is proportional
        "loop, fused Adam": lambda: loop(plan, members[::9], data[::9], True),
    }
    networks = {"cohort": len(members), "loop": len(members[::9]), "loop, fused Adam": len(members[::9])}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(args.repeats + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            seconds[name].append((time.perf_counter() - start) / networks[name])
    median = {name: statistics.median(times[1:]) for name, times in seconds.items()}
    print(f"hidden {args.hidden}-{args.hidden}, {data[0].x.shape[1]} columns, batch {plan.batch_size}, "
          f"{len(members)} members, {torch.get_num_threads()} threads, {args.epochs} epochs")
    for name, value in median.items():
        print(f"{name:>18}: {1 / value:7.2f} networks/s, {value / median['cohort']:5.1f} x the cohort's time")


if __name__ == "__main__":
    main()
