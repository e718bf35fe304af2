"""The ensemble of sub-networks: time to enumerate, time to sample, calibration, coverage, and the fall of the error.

Ratios are of times measured in turns in one run, so that other load on the machine meets both alike.

    python benchmarks/ensemble.py [--part enumerate|sample|calibration|coverage|error] [--threads N]
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import thinned
from thinned import ensemble, uncertainty
from thinned.ensemble.sampling import member_keys


def enumerate_all() -> None:
    """2^20 sub-networks of a 20-unit hidden layer, for 1,000 rows."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(10, 20), nn.ReLU(), nn.Dropout(0.5), nn.Linear(20, 1)).eval()
    x = torch.randn(1000, 10)
    start = time.perf_counter()
    every = ensemble.enumerate(model, x, output="logits")
    seconds = time.perf_counter() - start
    start = time.perf_counter()
    median = every.quantile(0.5)
    extra = time.perf_counter() - start
    print(f"{every.count:,} sub-networks x {len(x):,} rows, by {every.by}: {seconds:.1f} s for mean, std and extremes")
    print(f"  exact median of each row: {extra:.1f} s more")
    gap = (every.weight_scaled - every.mean).abs().max()
    print(f"  first row: mean {every.mean[0, 0]:.4f}, median {median[0, 0]:.4f}; largest gap of scaling {gap:.4f}")


def loop_of_passes(model: nn.Module, x: torch.Tensor, members: int) -> None:
    """What Monte-Carlo dropout usually is."""
    model.train()
    with torch.no_grad():
        torch.stack([model(x) for _ in range(members)])
    model.eval()


def sample_members(members: int = 50) -> None:
    """784-1024-1024-dropout-10: members in one batch against a loop of passes, in turns."""
    torch.manual_seed(0)
    body = nn.Linear(784, 1024), nn.ReLU(), nn.Linear(1024, 1024), nn.ReLU()
    model = nn.Sequential(*body, nn.Dropout(0.5), nn.Linear(1024, 10)).eval()
    for batch in (1, 32):
        x = torch.randn(batch, 784)
        calls: dict[str, Callable[[], object]] = {
            "loop": lambda x=x: loop_of_passes(model, x, members),
            "ours": lambda x=x: ensemble.sample(model, x, members),
        }
        times: dict[str, list[float]] = {name: [] for name in calls}
        for turn in range(23):
            for name, call in calls.items():
                start = time.perf_counter()
                call()
                if turn > 2:
                    times[name].append(time.perf_counter() - start)
        medians, bests = ({n: f(t) for n, t in times.items()} for f in (statistics.median, min))
        ratios = [figures["loop"] / figures["ours"] for figures in (medians, bests)]
        print(
            f"{members} members, batch {batch}: "
            f"loop {1000 * medians['loop']:.2f} ms, ours {1000 * medians['ours']:.2f} ms; "
            f"loop / ours {ratios[0]:.1f} of medians, {ratios[1]:.1f} of bests"
        )
        print(f"  largest difference from the loop over the same addresses: {difference(model, x, members):.1e}")


def difference(model: nn.Sequential, x: torch.Tensor, members: int) -> float:
    """Between members in one batch and one after the other, with masks from thinned.functional."""
    drawn = ensemble.sample(model, x, members).outputs
    with torch.no_grad():
        hidden = model[:4](x)
        one_by_one = [
            model[5](thinned.functional.dropout(hidden, 0.5, key=key, shared=(0,)))
            for key in member_keys(["4"], 0, 0, members)["4"].tolist()
        ]
    return float((drawn - torch.stack(one_by_one)).abs().max())


def fit(model: nn.Module, loss: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, steps: int) -> None:
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    model.train()
    for _ in range(steps):
        optimizer.zero_grad()
        loss(model(x)).backward()
        optimizer.step()
    model.eval()


def calibration() -> None:
    """A network that has learned its few training rows by heart, before and after temperature scaling."""
    torch.manual_seed(0)
    teacher = nn.Sequential(nn.Linear(10, 32), nn.Tanh(), nn.Linear(32, 3))

    def data(rows: int) -> tuple[torch.Tensor, torch.Tensor]:
        x = torch.randn(rows, 10)
        with torch.no_grad():
            return x, (4 * teacher(x)).softmax(-1).multinomial(1).squeeze(-1)

    (x, y), (x1, y1), (x2, y2) = data(300), data(2000), data(20_000)
    model = nn.Sequential(nn.Linear(10, 128), nn.ReLU(), nn.Dropout(0.2), nn.Linear(128, 3))
    fit(model, lambda logits: F.cross_entropy(logits, y), x, 300)
    means = [ensemble.predict(model, rows, 64, output="logits").mean for rows in (x1, x2)]
    temperature = uncertainty.fit_temperature(means[0].log(), y1)
    scaled = (means[1].log() / temperature).softmax(-1)
    for name, p in (("single pass", model(x2).softmax(-1)), ("64 members", means[1]), ("64 members, scaled", scaled)):
        ece, nll = uncertainty.expected_calibration_error(p, y2), uncertainty.negative_log_likelihood(p, y2)
        print(f"{name:20s} ECE {ece:.4f}, log loss {nll:.4f}, Brier {uncertainty.brier_score(p, y2):.4f}")
    print(f"  temperature {temperature:.2f}, fitted on 2,000 rows, scored on 20,000")


def coverage() -> None:
    """90 % intervals on a generated regression whose noise grows with |x|."""
    torch.manual_seed(0)

    def data(rows: int) -> tuple[torch.Tensor, torch.Tensor]:
        x = torch.rand(rows, 1) * 2 - 1
        return x, (torch.sin(4 * x) + (0.1 + 0.3 * x.abs()) * torch.randn(rows, 1)).squeeze(-1)

    (x, y), (x1, y1), (x2, y2) = data(1000), data(10_000), data(10_000)
    model = nn.Sequential(nn.Linear(1, 64), nn.ReLU(), nn.Dropout(0.1), nn.Linear(64, 1))
    fit(model, lambda values: F.mse_loss(values.squeeze(-1), y), x, 500)
    with torch.no_grad():
        noise = float((model(x).squeeze(-1) - y).square().mean())
    found = [ensemble.predict(model, rows, 64, noise=noise) for rows in (x1, x2)]
    (m1, s1), (m2, s2) = ((f.mean.squeeze(-1), f.total.squeeze(-1).sqrt()) for f in found)
    uncalibrated = (y2 - m2).abs() <= 1.6449 * s2
    print(f"mean ± 1.645 total standard deviations: {100 * uncalibrated.double().mean():.1f} % of 10,000 held-out rows")
    for name, spread in (("constant", {}), ("by spread", {"spread": s2, "calibration_spread": s1})):
        low, high = uncertainty.conformal_interval(m2, m1, y1, 0.9, **spread)
        share, width = ((low <= y2) & (y2 <= high)).double().mean(), (high - low).mean()
        print(f"conformal 90 %, width {name}: {100 * share:.1f} %, mean width {width:.3f}")


def error() -> None:
    """Root mean square error of the mean of n members, against the exact mean of all 4,096."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Dropout(0.5), nn.Linear(12, 3)).eval()
    x, sizes = torch.randn(20, 6), [4, 16, 64, 256, 1024]
    mean, outputs = ensemble.enumerate(model, x).mean, ensemble.sample(model, x, 1 << 17).outputs
    errors = [float((outputs.reshape(-1, n, 20, 3).mean(1) - mean).square().mean().sqrt()) for n in sizes]
    slope = np.polyfit(np.log(sizes), np.log(errors), 1)[0]
    print("error of the mean: " + ", ".join(f"{e:.4f} of {n}" for n, e in zip(sizes, errors, strict=True)))
    print(f"  slope of its logarithm: {slope:.3f}")


PARTS = {
    "enumerate": enumerate_all,
    "sample": sample_members,
    "calibration": calibration,
    "coverage": coverage,
    "error": error,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=PARTS)
    parser.add_argument("--threads", type=int, default=0)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    for name, part in PARTS.items():
        if options.part in (None, name):
            part()


if __name__ == "__main__":
    main()
