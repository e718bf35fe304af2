"""Held-out error against training time: no dropout, element-wise dropout, and one mask for each mini-batch.

    OMP_NUM_THREADS=1 PYTHONPATH=. python benchmarks/time_to_accuracy.py run docs/evidence/time-to-accuracy.csv
    PYTHONPATH=. python benchmarks/time_to_accuracy.py report docs/evidence/time-to-accuracy.csv

Fashion-MNIST (``apt-get install dataset-fashion-mnist``), the first 20,000 training images, an MLP 784-1024-1024-10
with Adam and mini-batches of 256. By 10,000 further training images, each form chooses among three rates at a learning
rate of 0.001, then between that and 0.0003. Fresh seeds of each form then train for longer, and are measured on the
given test set after every epoch.

The clock is the processor time of the process, which computes with one thread, so that other programs count little;
evaluation does not count. Forms of one seed take turns, an epoch each, so that what slows the processor slows all of
them. One mask at full size and at real size have the same masks and, to rounding, the same networks: they choose once,
at real size, and the full size trains with the first seed alone, to show that and its time.

Each finished network is a block of rows of the file; a run that was interrupted continues with the others. The report
is of three epochs' mean errors, up to an epoch; it writes a picture beside the file.
"""

import argparse
import csv
import math
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice, pairwise
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from scipy import stats
from torch import nn

import thinned
from examples import fashion_mnist

ROWS, VALIDATION, BATCH, WIDTH = 20_000, 10_000, 256, 1024
RATES, LEARNING_RATES = (0.2, 0.35, 0.5), (1e-3, 3e-4)
CHOICE_SEED, SEEDS = 0, (1, 2, 3, 4, 5)


class Form(NamedTuple):
    """How a network drops units: the container of its layers, and the layer that drops."""

    title: str
    container: type[nn.Sequential]
    drop: Callable[[float], nn.Module]
    chooses_as: str


FORMS = {
    "none": Form("no dropout", nn.Sequential, lambda p: nn.Identity(), "none"),
    "element-wise": Form("element-wise dropout", nn.Sequential, thinned.Dropout, "element-wise"),
    "full size": Form("one mask, full size", nn.Sequential, thinned.BatchDropout, "real size"),
    "real size": Form("one mask, real size", thinned.ThinnedMLP, thinned.BatchDropout, "real size"),
}


class Run(NamedTuple):
    """A network to train: ``phase`` is "choice" or "final"."""

    phase: str
    form: str
    rate: float
    learning_rate: float
    seed: int


class Epoch(NamedTuple):
    """A network after an epoch (1, 2, ...): processor seconds of training so far, errors as fractions."""

    epoch: int
    seconds: float
    training_loss: float
    error: float


class Images(NamedTuple):
    """Pixels ``(N, 784)``, standardised, and classes ``(N,)``."""

    x: torch.Tensor
    y: torch.Tensor


def images() -> tuple[Images, Images, Images]:
    """Images to train on, to choose by, and to test on."""
    (x, y), (test_x, test_y) = fashion_mnist.examples(ROWS + VALIDATION)
    mean, spread = x[:ROWS].mean(), x[:ROWS].std()
    x, test_x = ((part.flatten(1) - mean) / spread for part in (x, test_x))
    return Images(x[:ROWS], y[:ROWS]), Images(x[ROWS:], y[ROWS:]), Images(test_x, test_y)


def network(form: Form, rate: float, seed: int) -> nn.Module:
    """The multilayer perceptron: its initial weights and mask addresses depend on the seed alone."""
    torch.manual_seed(seed)
    layers = [nn.Linear(784, WIDTH), nn.ReLU(), form.drop(rate), nn.Linear(WIDTH, WIDTH), nn.ReLU(), form.drop(rate)]
    model = form.container(*layers, nn.Linear(WIDTH, 10))
    if rate > 0:
        thinned.address(model, seed=seed)
    return model


def train(run: Run, data: Images, held_out: Images) -> Iterator[Epoch]:
    """Train a network without end, one epoch for each value that is taken."""
    model = network(FORMS[run.form], run.rate, run.seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=run.learning_rate, fused=True)
    order = torch.Generator().manual_seed(run.seed)
    epoch, seconds = 0, 0.0
    while True:
        epoch, losses = epoch + 1, []
        start = time.process_time()
        model.train()
        for rows in torch.randperm(ROWS, generator=order).split(BATCH)[: ROWS // BATCH]:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(data.x[rows]), data.y[rows])
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        seconds += time.process_time() - start
        yield Epoch(epoch, seconds, torch.stack(losses).mean().item(), error(model, held_out))


def error(model: nn.Module, held_out: Images) -> float:
    """The share of images that are classified wrongly."""
    model.eval()
    with torch.no_grad():
        right = sum(
            int((model(x).argmax(1) == y).sum())
            for x, y in zip(held_out.x.split(2000), held_out.y.split(2000), strict=True)
        )
    return 1 - right / len(held_out.y)


# --- the file ---------------------------------------------------------------------------------------------------------


def read(path: Path) -> dict[Run, list[Epoch]]:
    """Networks that the file holds, each with its epochs."""
    networks: dict[Run, list[Epoch]] = {}
    if path.exists():
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                run = Run(row["phase"], row["form"], float(row["rate"]), float(row["learning_rate"]), int(row["seed"]))
                after = (float(row[field]) for field in Epoch._fields[1:])
                networks.setdefault(run, []).append(Epoch(int(row["epoch"]), *after))
    return networks


def append(path: Path, finished: Iterable[tuple[Run, list[Epoch]]]) -> None:
    """Write finished networks at the end of the file, all at once."""
    begins = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if begins:
            writer.writerow([*Run._fields, *Epoch._fields])
        for run, epochs in finished:
            after = ((e.epoch, f"{e.seconds:.3f}", f"{e.training_loss:.8g}", f"{e.error:.4f}") for e in epochs)
            writer.writerows((*run, *values) for values in after)


# --- what is run ------------------------------------------------------------------------------------------------------


def lowest(epochs: list[Epoch]) -> float:
    """The lowest error that a network holds over three epochs: one alone is partly luck."""
    errors = [e.error for e in epochs]
    return min(sum(errors[i : i + 3]) / 3 for i in range(len(errors) - 2))


def next_choice(form: str, networks: dict[Run, list[Epoch]]) -> Run | None:
    """The setting that a form tries next: each rate, then the other learning rate at the best one."""
    rates = [
        Run("choice", form, rate, LEARNING_RATES[0], CHOICE_SEED) for rate in ((0.0,) if form == "none" else RATES)
    ]
    if untried := [run for run in rates if run not in networks]:
        return untried[0]
    other = min(rates, key=lambda run: lowest(networks[run]))._replace(learning_rate=LEARNING_RATES[1])
    return None if other in networks else other


def chosen(form: str, networks: dict[Run, list[Epoch]]) -> Run:
    """The setting of least validation error."""
    tried = [run for run in networks if (run.phase, run.form) == ("choice", FORMS[form].chooses_as)]
    return min(tried, key=lambda run: lowest(networks[run]))


def run_all(path: Path, choice_epochs: int, final_epochs: int) -> None:
    """Train what the file does not hold yet."""
    torch.set_num_threads(1)
    data, validation, test = images()
    for form in dict.fromkeys(form.chooses_as for form in FORMS.values()):
        while (run := next_choice(form, read(path))) is not None:
            epochs = list(islice(train(run, data, validation), choice_epochs))
            append(path, [(run, epochs)])
            print(run, f"{epochs[-1].seconds:.0f} s, {lowest(epochs):.4f}", flush=True)
    for seed in SEEDS:
        networks = read(path)
        settings = {form: chosen(form, networks) for form in FORMS}
        runs = [
            Run("final", form, s.rate, s.learning_rate, seed)
            for form, s in settings.items()
            if form != "full size" or seed == SEEDS[0]
        ]
        if runs[-1] not in networks:
            trained = [train(run, data, test) for run in runs]
            epochs = list(zip(*([next(network) for network in trained] for _ in range(final_epochs)), strict=True))
            append(path, [(run, list(e)) for run, e in zip(runs, epochs, strict=True)])
            print(seed, *(f"{run.form} {lowest(e):.4f}" for run, e in zip(runs, epochs, strict=True)), flush=True)


# --- the report -------------------------------------------------------------------------------------------------------


class Curve(NamedTuple):
    """A form's test error against time.

    Attributes:
        setting: what it chose.
        seconds: mean processor seconds up to each epoch from the third on.
        errors: of each seed, the mean error of the three epochs up to each of these.
        epoch_seconds: of each seed, the median time of an epoch.
    """

    setting: Run
    seconds: list[float]
    errors: list[list[float]]
    epoch_seconds: list[float]

    @property
    def mean(self) -> list[float]:
        """Over seeds."""
        return [statistics.mean(values) for values in zip(*self.errors, strict=True)]

    @property
    def half(self) -> list[float]:
        """Half of the mean's 95 % interval (t); 0 of one seed."""
        return [_half(list(values)) for values in zip(*self.errors, strict=True)]

    def first(self, target: float) -> float | None:
        """Seconds until the mean error is at most this; None if it never is."""
        return next((t for t, e in zip(self.seconds, self.mean, strict=True) if e <= target), None)


def curves(networks: dict[Run, list[Epoch]]) -> dict[str, Curve]:
    """The curve of each form, of the seeds that it has."""
    found = {}
    for form in FORMS:
        runs = [(run, epochs) for run, epochs in networks.items() if (run.phase, run.form) == ("final", form)]
        if runs:
            seconds = [statistics.mean(e[i].seconds for _, e in runs) for i in range(2, len(runs[0][1]))]
            errors = [[sum(x.error for x in e[i - 2 : i + 1]) / 3 for i in range(2, len(e))] for _, e in runs]
            steps = [statistics.median(b.seconds - a.seconds for a, b in pairwise(e)) for _, e in runs]
            found[form] = Curve(runs[0][0], seconds, errors, steps)
    return found


def _half(values: list[float]) -> float:
    if len(values) < 2:
        return 0.0
    return float(stats.t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / math.sqrt(len(values))


def interval(values: list[float]) -> str:
    """Mean and 95 % interval in percent; the mean alone of one value."""
    mean, half = 100 * statistics.mean(values), 100 * _half(values)
    if len(values) < 2:
        return f"{mean:.2f} % (one seed)"
    return f"{mean:.2f} % ({mean - half:.2f} to {mean + half:.2f})"


def report(path: Path) -> None:
    """Print tables, and write the picture."""
    networks = read(path)
    print("| form | rate | learning rate | validation error, lowest of three epochs |\n|---|---|---|---|")
    for run, epochs in networks.items():
        if run.phase == "choice":
            print(f"| {FORMS[run.form].title} | {run.rate:g} | {run.learning_rate:g} | {100 * lowest(epochs):.2f} % |")
    found = curves(networks)
    target = min(found["element-wise"].mean)
    print(f"\nTarget: {100 * target:.2f} %, the lowest mean test error of element-wise dropout\n")
    print("| form | rate, learning rate | seeds | an epoch | lowest error | less than element-wise | to the target |")
    print("|---|---|---|---|---|---|---|")
    best = [min(errors) for errors in found["element-wise"].errors]
    for form, curve in found.items():
        lows = [min(errors) for errors in curve.errors]
        first = curve.first(target)
        ratios = [own / none for own, none in zip(curve.epoch_seconds, found["none"].epoch_seconds, strict=False)]
        cells = [
            FORMS[form].title,
            f"{curve.setting.rate:g}, {curve.setting.learning_rate:g}",
            str(len(lows)),
            f"{statistics.mean(curve.epoch_seconds):.2f} s, {statistics.mean(ratios):.2f} ×",
            interval(lows),
            interval([b - low for b, low in zip(best, lows, strict=False)]),
            "not reached" if first is None else f"{first:.0f} s",
        ]
        print(f"| {' | '.join(cells)} |")
    if "full size" in found:
        pairs = [networks[found[form].setting._replace(seed=SEEDS[0])] for form in ("full size", "real size")]
        losses = [abs(a.training_loss / b.training_loss - 1) for a, b in zip(*pairs, strict=True)]
        errors = [abs(a.error - b.error) for a, b in zip(*pairs, strict=True)]
        print(f"\nFull and real size, one seed: training losses differ by {losses[0]:.1g} after one epoch and by")
        print(
            f"{max(losses):.1g} at most, relatively; test errors by {100 * statistics.mean(errors):.2f} % on average."
        )
    path.with_suffix(".svg").write_text(picture(found))


STYLES = {
    "none": ("#555", ""),
    "element-wise": ("#0060a8", "8 4"),
    "full size": ("#b06000", "2 4"),
    "real size": ("#b00050", ""),
}


def picture(found: dict[str, Curve]) -> str:
    """The curves as SVG, with 95 % intervals of the mean where there are several seeds."""
    end = max(curve.seconds[-1] for curve in found.values())
    values = [
        e + side * h for c in found.values() for e, h in list(zip(c.mean, c.half, strict=True))[3:] for side in (-1, 1)
    ]
    low, high = math.floor(200 * min(values)) / 200, math.ceil(200 * max(values)) / 200

    def place(seconds: float, error: float) -> str:
        return f"{70 + 520 * seconds / end:.1f},{20 + 300 * (high - min(max(error, low), high)) / (high - low):.1f}"

    parts = []
    for k in range(round((high - low) * 200) + 1):
        error = low + k / 200
        x, y = place(0, error).split(",")
        parts.append(f'<line x1="{x}" x2="590" y1="{y}" y2="{y}" stroke="#ddd"/>')
        parts.append(f'<text x="64" y="{float(y) + 4:.1f}" text-anchor="end">{100 * error:.1f} %</text>')
    for second in range(0, int(end) + 1, 20):
        x = place(second, low).split(",")[0]
        parts.append(f'<text x="{x}" y="338" text-anchor="middle">{second}</text>')
    parts.append('<text x="330" y="358" text-anchor="middle">seconds of one core, evaluation left out</text>')
    for number, (form, curve) in enumerate(found.items()):
        colour, dashes = STYLES[form]
        if len(curve.errors) > 1:
            points = list(zip(curve.seconds, curve.mean, curve.half, strict=True))
            around = [place(s, e + h) for s, e, h in points] + [place(s, e - h) for s, e, h in reversed(points)]
            parts.append(f'<polygon points="{" ".join(around)}" fill="{colour}" opacity="0.12"/>')
        line = " ".join(map(place, curve.seconds, curve.mean))
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-dasharray="{dashes}"/>')
        y = 36 + 18 * number
        parts.append(f'<line x1="400" x2="430" y1="{y}" y2="{y}" stroke="{colour}" stroke-dasharray="{dashes}"/>')
        parts.append(f'<text x="436" y="{y + 4}">{FORMS[form].title}</text>')
    body = "\n".join(parts)
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" width="610" height="370" font-family="sans-serif" font-size="12" '
        f'stroke-width="2">\n<rect width="100%" height="100%" fill="#fff"/>\n<g>{body}</g>\n</svg>\n'
    )


def main() -> None:
    """Train, or write what the file shows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["run", "report"])
    parser.add_argument("file", type=Path)
    parser.add_argument("--choice-epochs", type=int, default=8)
    parser.add_argument("--final-epochs", type=int, default=20)
    options = parser.parse_args()
    if options.command == "run":
        run_all(options.file, options.choice_epochs, options.final_epochs)
    else:
        report(options.file)


if __name__ == "__main__":
    main()
