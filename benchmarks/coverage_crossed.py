"""Coverage and width of the 95 % interval for a given test set, where the truth is known.

    python benchmarks/coverage_crossed.py [--tables 10000] [--studies 1000] [--rows 240]

*Tables*: differences d = seed + example + residual are drawn, of known shares in the variance of their mean. Width is
relative to that with known variances (1.96 standard deviations of the estimates). Beside the interval of
`crossed`: coverage and width with all terms in Satterthwaite's sum (where examples come in clusters: with clusters
ignored), and the coverage of a t over seeds alone and over examples alone.

*ROC-AUC*: of networks that rank two normal classes, and its paired difference between two arms of equal quality: the
interval of `crossed_draws`, and the percentiles of seeds and examples both drawn (pigeonhole, Multi-Bootstrap).

*Trained studies*: each has a problem, a training set and a test set of its own, and trains tiny networks without and
with dropout, paired, with a validation deal of each seed's own. The truth, given the training set, is the mean over 150
fresh seeds and 4,000 fresh examples with their expected targets. Its own error counts
against the coverage; then, the interval is widened by 1.96 times this error, in quadrature.
"""

import argparse
import math
import multiprocessing
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from tiny_networks import Training, deal, draw_problem, share, train

from thinned.studies import metrics
from thinned.studies.analysis.crossed import crossed, crossed_draws
from thinned.studies.analysis.statistics import Spread
from thinned.studies.examples.weighted_scores import score_samples
from thinned.studies.training.loop.drawn_scores import draw_counts

Array = npt.NDArray[np.float64]
#: shares of seeds, examples and residual in the variance of the mean
SHARES = {
    "seeds": (0.9, 0.05, 0.05),
    "examples": (0.05, 0.9, 0.05),
    "residual": (0.05, 0.05, 0.9),
    "residual alone": (0, 0, 1),
    "seeds, some examples": (0.8, 0.2, 0),
    "alike": (1 / 3, 1 / 3, 1 / 3),
}
SIZES = np.arange(1, 10)  # of clusters
FRESH_SEEDS, FRESH_EXAMPLES, RATE = 150, 4000, 0.5
EXAMPLES = (100, 1000)
TASKS = ("binary", "regression")


def draw(law: str, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Values of mean 0 and variance 1."""
    if law == "t3":
        return rng.standard_t(3, shape) / math.sqrt(3)
    if law == "lognormal":  # skewness 6.2
        return (np.exp(rng.normal(size=shape)) - math.exp(0.5)) / math.sqrt((math.e - 1) * math.e)
    return rng.normal(size=shape)


class Judged(NamedTuple):
    """One table's estimate and the half-widths of the intervals of the truth 0."""

    mean: float
    half_width: float
    all_terms: float
    seeds_alone: float
    examples_alone: float


def half_width(spread: Spread) -> float:
    interval = spread.interval()
    return (interval.high - interval.low) / 2


def one_way(values: Array) -> Spread:
    return Spread(
        float(values.mean()), float(values.std(ddof=1)) / math.sqrt(len(values)), len(values) - 1, len(values)
    )


def all_terms(d: Array) -> Spread:
    """As `crossed`, with every term in the degrees of freedom."""
    seeds, examples = d.shape
    of_seed, of_example = d.mean(1), d.mean(0)
    residual = d - of_seed[:, None] - of_example + d.mean()
    a, b = of_seed.var(ddof=1) / seeds, of_example.var(ddof=1) / examples
    df = (seeds - 1) * (examples - 1)
    e = np.square(residual).sum() / df / d.size
    variance = max(a + b - e, a, b)
    satterthwaite = variance**2 / (a**2 / (seeds - 1) + b**2 / (examples - 1) + e**2 / df)
    return Spread(float(d.mean()), math.sqrt(variance), satterthwaite, seeds)


def judge(d: Array, clusters: Array | None = None) -> Judged:
    own = crossed(d, clusters)
    widths = (own, all_terms(d), one_way(d.mean(1)), one_way(d.mean(0)))
    return Judged(own.mean, *map(half_width, widths))


class Parts(NamedTuple):
    """What a table is the sum of, each part of variance 1."""

    seeds: Array  # (seeds, 1)
    examples: Array  # (examples,)
    residual: Array  # (seeds, examples)

    def table(self, shares: Sequence[float]) -> Array:
        """A table whose mean has variance 1, due to seeds, examples and residual in these shares."""
        seeds, examples = self.residual.shape
        of_seeds, of_examples, residual = np.sqrt(np.array(shares) * (seeds, examples, seeds * examples))
        return np.asarray(of_seeds * self.seeds + of_examples * self.examples + residual * self.residual)


def draw_tables(rng: np.random.Generator, seeds: int, examples: int) -> dict[str, tuple[Array, Array | None]]:
    """A table of each case, with its clusters; cases share what they draw."""
    laws = ("normal", "t3", "lognormal")
    of_seeds = {law: draw(law, rng, (seeds, 1)) for law in laws}
    of_examples = {law: draw(law, rng, (examples,)) for law in laws}
    residual = {law: draw(law, rng, (seeds, examples)) for law in laws[:2]}
    normal, heavy = (Parts(of_seeds[law], of_examples[law], residual[law]) for law in laws[:2])
    cases = {name: (normal.table(shares), None) for name, shares in SHARES.items()}
    cases |= {f"t3: {name}": (heavy.table(SHARES[name]), None) for name in ("seeds", "examples", "residual", "alike")}
    cases["lognormal examples"] = (heavy._replace(examples=of_examples["lognormal"]).table(SHARES["examples"]), None)
    cases["lognormal seeds"] = (heavy._replace(seeds=of_seeds["lognormal"]).table(SHARES["seeds"]), None)
    clusters, gains = draw_clusters(rng, examples)
    clustered = Parts(of_seeds["normal"], gains, residual["normal"][:, : len(gains)])
    for name in ("seeds", "examples", "residual"):
        of_seed, of_cluster, rest = SHARES[name]
        cases[f"clusters: {name}"] = (clustered.table((of_seed, of_cluster / 10, rest)), clusters)
    return cases


def draw_clusters(rng: np.random.Generator, examples: int) -> tuple[Array, Array]:
    """Cluster and gain of each example: clusters of 1 to 9, larger ones gain more; the mean over examples is 0."""
    sizes = rng.choice(SIZES, examples // int(SIZES.mean()))
    sizes = sizes[np.cumsum(sizes) <= examples]
    clusters = np.repeat(np.arange(len(sizes)), sizes)
    gains = rng.normal(size=len(sizes)) + 0.3 * (sizes - np.square(SIZES).mean() / SIZES.mean())
    return clusters.astype(np.float64), gains[clusters]


def report_tables(title: str, found: Sequence[Judged]) -> None:
    means, own, every, seeds, examples = (np.array(column) for column in zip(*found, strict=True))
    known = 1.96 * means.std()
    other = "clusters ignored" if title.startswith("clusters") else "with all terms"
    covered = np.abs(means)[:, None] <= np.stack([own, every, seeds, examples], axis=1)
    print(
        f"  {title:22} covered {share(covered[:, 0])}, width {own.mean() / known:.3f}; {other} "
        f"{100 * covered[:, 1].mean():.1f} %, {every.mean() / known:.3f}; seeds alone {100 * covered[:, 2].mean():.1f} "
        f"%, examples alone {100 * covered[:, 3].mean():.1f} %",
        flush=True,
    )


def simulate_tables(tables: int) -> None:
    for seeds, examples in ((5, 200), (10, 200), (5, 2000), (10, 2000), (2, 200), (3, 200)):
        print(f"{seeds} seeds, {examples} examples, {tables} tables", flush=True)
        found = defaultdict(list)
        for number in range(tables):
            rng = np.random.default_rng([seeds, examples, number])
            for name, (d, clusters) in draw_tables(rng, seeds, examples).items():
                found[name].append(judge(d, clusters))
        for name, judged in found.items():
            report_tables(name, judged)


def roc_auc(arms: Array, y: npt.NDArray[np.int64], counts: npt.NDArray[np.integer]) -> Array:
    """Of each arm and seed, ``(arms, seeds, samples)``."""
    scored = (
        score_samples("binary", metrics.predictions("binary", own.reshape(-1, 1)), y, counts) for own in flat(arms)
    )
    return np.stack([own["roc_auc"] for own in scored]).reshape(*arms.shape[:2], len(counts))


def flat(arms: Array) -> Array:
    return arms.reshape(-1, arms.shape[-1])


def pigeonhole(table: Array, rng: np.random.Generator) -> tuple[float, float]:
    """Percentiles where seeds are drawn as well, of ``(seeds, draws)`` scores."""
    seeds, draws = table.shape
    values = (table * rng.multinomial(seeds, np.full(seeds, 1 / seeds), draws).T).sum(0) / seeds
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def simulate_roc_auc(studies: int) -> None:
    """Class 1 is shifted by δ_s ~ N(1, τ²) against noise of variance 1, half of it common to all seeds and arms."""
    for seeds, examples, tau in ((5, 200, 0.1), (5, 200, 0.4), (10, 200, 0.1), (10, 200, 0.4), (10, 1000, 0.1)):
        rng = np.random.default_rng([seeds, examples])
        truth = 0.5 * (1 + math.erf(1 / math.sqrt(2 + tau**2) / math.sqrt(2)))
        covered: list[list[bool]] = []
        for study in range(studies):
            y = rng.integers(2, size=examples)
            common = rng.normal(size=examples) * math.sqrt(0.5)
            shifts = 1 + tau * rng.normal(size=(2, seeds, 1))
            arms = common + shifts * y + rng.normal(size=(2, seeds, examples)) * math.sqrt(0.5)
            observed = roc_auc(arms, y, np.ones((1, examples), dtype=np.int64))[..., 0]
            draws = np.concatenate([roc_auc(arms, y, c) for c in draw_counts(np.arange(examples), study)], axis=-1)
            level = crossed_draws(observed[0], draws[0], examples).interval()
            paired = crossed_draws(observed[0] - observed[1], draws[0] - draws[1], examples).interval()
            drawn, drawn_paired = pigeonhole(draws[0], rng), pigeonhole(draws[0] - draws[1], rng)
            limits = ((level.low, level.high), drawn, (paired.low, paired.high), drawn_paired)
            truths = (truth, truth, 0, 0)
            covered.append([low <= t <= high for (low, high), t in zip(limits, truths, strict=True)])
        level_own, level_drawn, own, both_drawn = np.array(covered).T
        print(
            f"ROC-AUC, {seeds} seeds, {examples} examples, τ = {tau}, {studies} studies: covered {share(level_own)}, "
            f"percentiles {share(level_drawn)}; paired difference {share(own)}, percentiles {share(both_drawn)}",
            flush=True,
        )


class TrainedStudy(NamedTuple):
    """Differences (10 seeds, examples) of a study, their expectation given the training set, and its error."""

    differences: Array
    truth: float
    truth_error: float


def trained_study(task: str, rows: int, number: int) -> TrainedStudy:
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(number)
    problem = draw_problem(task, generator)
    x, y = problem.sample((rows,), generator)
    seeds = 10 + FRESH_SEEDS
    is_validation = deal(rows, seeds, rows // 5, generator).repeat(1, 2)
    training = Training(
        x=x[:, None],
        y=y[:, None],
        is_training=~is_validation,
        is_validation=is_validation,
        starts=torch.arange(seeds).repeat(2),
        rates=torch.tensor([0.0, RATE]).repeat_interleave(seeds),
        decays=torch.zeros(2 * seeds),
    )
    networks = train(task, training, generator)
    baseline, arm = networks.losses(*problem.sample((max(EXAMPLES),), generator)).detach().double().chunk(2)
    fresh = problem.sample((FRESH_EXAMPLES,), generator)[0]
    expected = networks.losses(fresh, problem.mean(fresh)).detach().double().chunk(2)
    gains = (expected[0] - expected[1])[10:].numpy()
    return TrainedStudy((baseline - arm)[:10].numpy(), float(gains.mean()), crossed(gains).error)


def simulate_training(studies: int, processes: int, tasks: Sequence[str], rows: int) -> None:
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        for task in tasks:
            found = pool.map(partial(trained_study, task, rows), range(studies), chunksize=10)
            for seeds in (5, 10):
                for examples in EXAMPLES:
                    report_training(
                        f"{task}, {rows} training rows, {seeds} seeds, {examples} examples", seeds, examples, found
                    )


def report_training(title: str, seeds: int, examples: int, found: Sequence[TrainedStudy]) -> None:
    tables = [study.differences[:seeds, :examples] for study in found]
    truths = np.array([study.truth for study in found])
    own, alone = [crossed(d) for d in tables], [one_way(d.mean(1)) for d in tables]
    errors = np.array([study.truth_error for study in found])
    missed = [np.array([s.mean for s in spreads]) - truths for spreads in (own, alone)]
    widths = [np.array([half_width(s) for s in spreads]) for spreads in (own, alone)]
    covered = [np.abs(miss) <= width for miss, width in zip(missed, widths, strict=True)]
    allowed = np.abs(missed[0]) <= np.hypot(widths[0], 1.96 * errors)
    of_seeds = [(part.error / whole.error) ** 2 for part, whole in zip(alone, own, strict=True)]
    ratio = np.sqrt(np.square(errors).mean() / np.mean([s.error**2 for s in own]))
    print(
        f"trained, {title}, {len(found)} studies: truth {truths.mean():+.4f} (sd {truths.std():.4f}), covered "
        f"{share(covered[0])}, with the truth's error allowed for {share(allowed)}; seeds alone "
        f"{share(covered[1])}; seeds' share of the variance "
        f"{np.median(of_seeds):.2f}; error of the truth {ratio:.2f} of the interval's",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=int, default=10_000)
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--task", choices=TASKS, action="append", help="by default both")
    parser.add_argument("--rows", type=int, default=240, help="of a trained study's training set")
    parser.add_argument("--part", choices=("tables", "roc_auc", "trained"), action="append", help="by default all")
    args = parser.parse_args()
    parts = args.part or ("tables", "roc_auc", "trained")
    if "tables" in parts:
        simulate_tables(args.tables)
    if "roc_auc" in parts:
        simulate_roc_auc(args.studies)
    if "trained" in parts:
        simulate_training(args.studies, args.processes, args.task or TASKS, args.rows)


if __name__ == "__main__":
    main()
