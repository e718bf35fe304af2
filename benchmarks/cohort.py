"""Networks per second: a study's cohorts against loops over the same plan, in one run.

    python benchmarks/cohort.py [--hidden 64] [--epochs 10] [--repeats 3] [--sample 12]

The plan is the default one: all arms on the bundled churn data. The loops train one network at a time, on a sample of
the plan's networks drawn at random, as a PyTorch user writes it (nn.Linear, nn.ReLU, nn.Dropout, nn.BatchNorm1d,
torch.optim.AdamW with its defaults) or with skorch's NeuralNetBinaryClassifier: the same rows, batch size and number of
steps, and after each epoch the training and the validation loss. The cohorts' time also holds encoding, held-out scores
and storing. The plain loop is also run with AdamW(fused=True), which a careful user might pass.
"""

import argparse
import math
import random
import statistics
import time
from collections.abc import Callable

import torch
from skorch import NeuralNetBinaryClassifier
from skorch.dataset import Dataset
from skorch.helper import predefined_split
from torch import nn

from thinned import datasets
from thinned.studies.design.make_plan import make_plan
from thinned.studies.design.plan import Member, Plan
from thinned.studies.design.setting import Setting
from thinned.studies.design.splits import make_splits
from thinned.studies.table.load import load
from thinned.studies.training import cohort
from thinned.studies.training.encoded_splits import encode
from thinned.studies.training.jobs import run
from thinned.studies.training.store import Store


class OneMask(nn.Dropout):
    """One mask for the mini-batch, as one writes it by hand."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.bernoulli(torch.full_like(x[:1], 1 - self.p)) / (1 - self.p) if self.training else x


class Network(nn.Sequential):
    """The network of a setting."""

    def __init__(self, inputs: int, hidden: tuple[int, ...], setting: Setting) -> None:
        rate = setting.dropout
        drop = OneMask if setting.one_mask else nn.Dropout
        layers: list[nn.Module] = [nn.Dropout(rate)] if setting.where == "input" else []
        for number, units in enumerate(hidden):
            here = {"hidden": True, "first": number == 0, "last": number == len(hidden) - 1}.get(setting.where, False)
            layers.append(nn.Linear(inputs, units, bias=setting.batch_norm is None))
            layers += [drop(rate)] if here and rate and setting.batch_norm == "before" else []
            layers += [nn.BatchNorm1d(units)] if setting.batch_norm else []
            layers.append(nn.ReLU())
            layers += [drop(rate)] if here and rate and setting.batch_norm != "before" else []
            inputs = units
        layers.append(nn.Linear(inputs, 1))
        layers += [nn.Dropout(rate)] if setting.where == "output" else []
        super().__init__(*layers)


def schedule(network: nn.Module, setting: Setting, epoch: int, epochs: int) -> None:
    """Early and late dropout."""
    switch = math.ceil(epochs / 6)
    rates = {"early": setting.dropout * max(0.0, 1 - epoch / switch), "late": setting.dropout * (epoch >= switch)}
    for module in network.modules():
        if isinstance(module, nn.Dropout) and setting.schedule in rates:
            module.p = rates[setting.schedule]


def plain(plan: Plan, setting: Setting, d: cohort.Data, fused: bool | None) -> None:
    network = Network(d.x.shape[1], plan.hidden, setting)
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=plan.learning_rate, weight_decay=setting.weight_decay, fused=fused
    )
    hidden = [m for m in network.modules() if isinstance(m, nn.Linear)][:-1]
    loss = nn.BCEWithLogitsLoss()
    kept = len(d.train) // plan.batch_size * plan.batch_size
    for epoch in range(plan.epochs):
        network.train()
        schedule(network, setting, epoch, plan.epochs)
        for rows in d.train[torch.randperm(len(d.train))[:kept]].split(plan.batch_size):
            optimizer.zero_grad()
            loss(network(d.x[rows])[:, 0], d.y[rows].float()).backward()
            optimizer.step()
            if setting.max_norm is not None:
                with torch.no_grad():
                    for linear in hidden:
                        linear.weight.copy_(torch.renorm(linear.weight, 2, 0, setting.max_norm))
        network.eval()
        with torch.inference_mode():
            for rows in (d.train[: len(d.validation)], d.validation):
                loss(network(d.x[rows])[:, 0], d.y[rows].float()).item()


def with_skorch(plan: Plan, setting: Setting, d: cohort.Data) -> None:
    """Max-norm and schedules are left out: skorch has none."""
    y = d.y.float()
    net = NeuralNetBinaryClassifier(
        Network(d.x.shape[1], plan.hidden, setting),
        optimizer=torch.optim.AdamW,
        optimizer__weight_decay=setting.weight_decay,
        lr=plan.learning_rate,
        max_epochs=plan.epochs,
        batch_size=plan.batch_size,
        iterator_train__shuffle=True,
        iterator_train__drop_last=True,
        iterator_valid__batch_size=4096,
        train_split=predefined_split(Dataset(d.x[d.validation], y[d.validation])),
        verbose=0,
    )
    net.fit(d.x[d.train], y[d.train])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--sample", type=int, default=12)
    args = parser.parse_args()
    table = load(datasets.churn(), "churn")
    plan = make_plan(table, hidden=(args.hidden, args.hidden), epochs=args.epochs)
    splits = {(s.repeat, s.fold): s for s in make_splits(plan, table)}
    sample: list[tuple[Setting, cohort.Data]] = []
    for member in random.Random(0).sample(plan.members(), args.sample):
        assert isinstance(member, Member)
        setting = plan.settings[member.setting]
        sample.append((setting, encode(table, splits[member.repeat, member.fold], setting.embedding).data))

    def study() -> None:
        run(table, plan, Store.in_memory(plan), lambda step: None)

    def loop(train: Callable[..., None], *options: object) -> Callable[[], None]:
        return lambda: [train(plan, *one, *options) for one in sample] and None

    runs = {"cohorts": study, "loop": loop(plain, None), "loop, fused AdamW": loop(plain, True)}
    runs["skorch"] = loop(with_skorch)
    networks = {name: plan.networks if name == "cohorts" else len(sample) for name in runs}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(args.repeats):
        for name, task in runs.items():
            start = time.perf_counter()
            task()
            seconds[name].append((time.perf_counter() - start) / networks[name])
    median = {name: statistics.median(times) for name, times in seconds.items()}
    print(
        f"hidden {args.hidden}-{args.hidden}, batch {plan.batch_size}, {args.epochs} epochs, {plan.networks} networks, "
        f"{torch.get_num_threads()} threads; the loops on {len(sample)} of them; medians of {args.repeats}"
    )
    for name, value in median.items():
        print(f"{name:>18}: {1 / value:7.2f} networks/s, {value / median['cohorts']:5.1f} x the cohorts' time")


if __name__ == "__main__":
    main()
