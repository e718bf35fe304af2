"""Coverage of the 95 % interval of choose, then confirm, given the choice, where the truth is known.

    python benchmarks/coverage_confirm.py [--tables 10000] [--studies 1000] [--processes 1]

The examples are split into halves P and Q. On P every setting of an arm trains with 2 seeds and a validation fifth; the
setting of least mean validation loss is chosen. Test folds (5 × 2 repeats) come from Q; networks train on everything
outside their fold, P included, with fresh seeds. Estimand: the loss difference of the chosen setting from the baseline,
given the choice, and P: the mean over samples Q and seeds. Interval: `resampled`, that of tables.

*Tables*: losses are sums of known parts: of rows (common to the settings, and each setting's own), of the training set
(of P, which pilot and confirmation share; of each fold), of the seed (common to a split's settings) and of the network.
Beside it: how often the interval contains the mean over samples of P as well (the gain that the setting has by itself),
and the coverage if the setting of least loss on the test folds were chosen on these and scored there.

*Trained studies*: tiny networks (`tiny_networks.py`), dropout at 4 rates and weight decay at 3, 60 examples each in P
and Q. The truth is the mean over 50 fresh Q with fresh seeds and 3,000 fresh examples with their expected targets. Its
own error counts against the coverage; then, the interval is widened by 1.96 times this error, in quadrature.
"""

import argparse
import multiprocessing
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from tiny_networks import Networks, Problem, Training, draw_problem, share, train

from thinned.studies.analysis.statistics import resampled

Array = npt.NDArray[np.float64]
FOLDS, REPEATS, PILOT_SEEDS, HALF = 5, 2, 2, 200
RATES = (0.0, 0.1, 0.3, 0.5, 0.7, 0.0, 0.0, 0.0)
DECAYS = (0.0, 0.0, 0.0, 0.0, 0.0, 0.003, 0.01, 0.03)
ARMS = {"dropout": range(1, 5), "weight decay": range(5, 8)}
ROWS, FRESH_SETS, FRESH_EXAMPLES = 60, 50, 3000
TASKS = ("binary", "regression")


class Noise(NamedTuple):
    """Standard deviations of the parts of a setting's gain over the baseline."""

    rows: float
    fold: float
    network: float
    pilot_rows: float = 0.0  # of the training set P
    law: str = "normal"

    def draw(self, rng: np.random.Generator, *shape: int) -> Array:
        if self.law == "t3":
            return rng.standard_t(3, shape) / np.sqrt(3)
        return rng.normal(size=shape)


#: in units of a confirmed gain's standard error, roughly
NOISES = {
    "rows": Noise(12.0, 0.5, 0.5),
    "training sets": Noise(3.0, 3.0, 1.0),
    "networks": Noise(3.0, 0.5, 3.0),
    "all": Noise(9.0, 1.5, 1.5),
    "all, and P": Noise(9.0, 1.5, 1.5, pilot_rows=1.0),
    "all, heavy tails (t3)": Noise(9.0, 1.5, 1.5, law="t3"),
}
#: true gains of the settings
GAINS = {"equal": np.zeros(6), "unlike": np.linspace(-2, 2, 6)}


class Confirmed(NamedTuple):
    """Estimate, half-width, the truths given P and over samples of P, and the error of both if chosen on test folds."""

    mean: float
    half_width: float
    given_p: float
    over_p: float
    test_chosen_error: float
    test_chosen_half_width: float


def interval(values: Array) -> tuple[float, float]:
    """Mean and half-width."""
    found = resampled(values).interval()
    return found.mean, (found.high - found.low) / 2


def confirm_table(noise: Noise, gains: Array, rng: np.random.Generator) -> Confirmed:
    settings = len(gains)

    def rows(count: int) -> Array:
        """Row parts ``(settings, rows)``: half the variance is common to all settings."""
        return np.asarray(noise.rows * np.sqrt(0.5) * (noise.draw(rng, 1, count) + noise.draw(rng, settings, count)))

    def splits(*shape: int) -> Array:
        """Training set and network; the baseline's network is common to all settings."""
        own = noise.fold * noise.draw(rng, settings, *shape) + noise.network * noise.draw(rng, settings, *shape)
        return np.asarray(own + noise.network * noise.draw(rng, 1, *shape))

    of_p = gains + noise.pilot_rows * noise.draw(rng, settings)
    pilot, confirmation = rows(HALF), rows(HALF)
    validated = [pilot[:, rng.permutation(HALF)[: HALF // 5]].mean(1) for _ in range(PILOT_SEEDS)]
    chosen = int((of_p + np.mean(validated, axis=0) + splits(PILOT_SEEDS).mean(1)).argmax())
    dealt = [confirmation[:, rng.permutation(HALF)].reshape(settings, FOLDS, -1).mean(2) for _ in range(REPEATS)]
    scores = of_p[:, None, None] + np.stack(dealt, axis=1) + splits(REPEATS, FOLDS)
    best = int(scores.mean((1, 2)).argmax())
    best_mean, best_half_width = interval(scores[best])
    return Confirmed(*interval(scores[chosen]), of_p[chosen], gains[chosen], best_mean - of_p[best], best_half_width)


def simulate_tables(tables: int) -> None:
    print(f"choose, then confirm: {FOLDS} folds x {REPEATS} repeats, {HALF} rows each in P and Q, {tables} tables")
    for noise_number, (noise_name, noise) in enumerate(NOISES.items()):
        for gains_number, (gains_name, gains) in enumerate(GAINS.items()):
            rng = np.random.default_rng([noise_number, gains_number])
            found = np.array([confirm_table(noise, gains, rng) for _ in range(tables)])
            mean, half_width, given_p, over_p, test_error, test_half_width = found.T
            width = half_width.mean() / (1.96 * (mean - given_p).std())
            print(
                f"  noise of {noise_name:22} settings {gains_name:7} covered "
                f"{share(abs(mean - given_p) <= half_width)}, width {width:.3f}, bias "
                f"{(mean - given_p).mean():+.3f}; over samples of P "
                f"{100 * np.mean(abs(mean - over_p) <= half_width):.1f} %; chosen on the test folds "
                f"{100 * np.mean(abs(test_error) <= test_half_width):.1f} %",
                flush=True,
            )


def trained_study(task: str, number: int) -> dict[str, Confirmed]:
    """Each arm's confirmed gain over the baseline."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(number)
    problem = draw_problem(task, generator)
    p, q = problem.sample((ROWS,), generator), problem.sample((ROWS,), generator)
    pilot = train_on(task, [p], PILOT_SEEDS, range(len(RATES)), generator)
    validated = pilot.validation_loss.reshape(len(RATES), PILOT_SEEDS).mean(1)
    chosen = {arm: min(settings, key=lambda s: float(validated[s])) for arm, settings in ARMS.items()}
    compared = [0, *chosen.values()]
    folds = [torch.randperm(ROWS, generator=generator).reshape(FOLDS, -1) for _ in range(REPEATS)]
    tests = torch.cat(folds)
    rest = [torch.tensor(sorted({*range(ROWS)} - {*test.tolist()})) for test in tests]
    networks = train_on(
        task,
        [(torch.cat([p[0], q[0][rows]]), torch.cat([p[1], q[1][rows]])) for rows in rest],
        1,
        compared,
        generator,
    )
    losses = networks.losses(*q).reshape(len(compared), len(tests), ROWS)
    scores = losses.gather(2, tests.expand(len(compared), -1, -1)).mean(2).double().numpy()
    gains = (scores[0] - scores).reshape(-1, REPEATS, FOLDS)
    truths = true_gains(problem, p, compared, generator)
    return {
        arm: Confirmed(*interval(gains[i]), float(truths[i].mean()), float(truths[i].std(ddof=1)), 0.0, 0.0)
        for i, arm in enumerate(chosen, start=1)
    }


def true_gains(
    problem: Problem, p: tuple[torch.Tensor, torch.Tensor], compared: Sequence[int], generator: torch.Generator
) -> Array:
    """Expected gains over the baseline of networks trained on P and fresh samples, ``(settings, samples)``."""
    sets = []
    for _ in range(FRESH_SETS):
        fresh = problem.sample((ROWS - ROWS // FOLDS,), generator)
        sets.append((torch.cat([p[0], fresh[0]]), torch.cat([p[1], fresh[1]])))
    networks = train_on(problem.task, sets, 1, compared, generator)
    x = problem.sample((FRESH_EXAMPLES,), generator)[0]
    expected = networks.losses(x, problem.mean(x)).mean(1).reshape(len(compared), FRESH_SETS).double().numpy()
    return np.asarray(expected[0] - expected)


def train_on(
    task: str,
    sets: Sequence[tuple[torch.Tensor, torch.Tensor]],
    seeds: int,
    settings: Sequence[int],
    generator: torch.Generator,
) -> Networks:
    """Networks of each setting on each set with each seed, in this order; a validation fifth for each set and seed."""
    x, y = (torch.stack(parts, dim=1).repeat_interleave(seeds, 1) for parts in zip(*sets, strict=True))
    starts, rows = x.shape[1], len(x)
    is_validation = torch.rand(rows, starts, generator=generator).argsort(0) < rows // 5
    is_validation = is_validation.repeat(1, len(settings))
    training = Training(
        x=x.repeat(1, len(settings), 1),
        y=y.repeat(1, len(settings)),
        is_training=~is_validation,
        is_validation=is_validation,
        starts=torch.arange(starts).repeat(len(settings)),
        rates=torch.tensor([RATES[s] for s in settings]).repeat_interleave(starts),
        decays=torch.tensor([DECAYS[s] for s in settings]).repeat_interleave(starts),
    )
    return train(task, training, generator)


def simulate_training(studies: int, processes: int, tasks: Sequence[str]) -> None:
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        for task in tasks:
            found = pool.map(partial(trained_study, task), range(studies), chunksize=10)
            for arm in ARMS:
                mean, half_width, truth, spread, *_ = np.array([study[arm] for study in found]).T
                error = np.sqrt(np.square(spread).mean() / FRESH_SETS) / (half_width.mean() / 2)
                allowed = abs(mean - truth) <= np.hypot(half_width, 1.96 * spread / FRESH_SETS**0.5)
                print(
                    f"trained, {task}, {arm}, {studies} studies: truth {truth.mean():+.4f} (sd {truth.std():.4f}), "
                    f"covered {share(abs(mean - truth) <= half_width)}, with the truth's error allowed for "
                    f"{share(allowed)}, bias {(mean - truth).mean():+.4f}, width "
                    f"{half_width.mean() / (1.96 * (mean - truth).std()):.3f}; error of the truth {error:.2f} of the "
                    "interval's",
                    flush=True,
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=int, default=10_000)
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--task", choices=TASKS, action="append", help="by default both")
    parser.add_argument("--part", choices=("tables", "trained"), action="append", help="by default both")
    args = parser.parse_args()
    parts = args.part or ("tables", "trained")
    if "tables" in parts:
        simulate_tables(args.tables)
    if "trained" in parts:
        simulate_training(args.studies, args.processes, args.task or TASKS)


if __name__ == "__main__":
    main()
