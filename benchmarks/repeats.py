"""Repeats of cross-validation: what they do to the 95 % interval of a study, its power and its false alarms.

    python benchmarks/repeats.py [--studies 400] [--design 5x4] [--design 10x2]

A data set of 100 rows is drawn from a known population and dealt into folds, several times. On every split tiny
networks (`tiny_networks.py`) train with no regularisation, with dropout at two rates and with weight decay at two
strengths. A validation fifth chooses the setting of each arm, and the test fold scores it. Each study is read with all
of its repeats, with the first half of them, and so on. Interval and tests are those of tables, the family is of three
questions, of which dropout against none is the primary one.

*No effect*: the arms have one setting each, all train as "none" does, with seeds of their own. Family-wise false
alarms are counted here. Power is the share of the same studies that say "helps" if the test loss of dropout is lower
by such a fraction of the mean loss. *Effect*: the truth is the mean of all other studies. Rates have their standard
errors; those of one design with fewer repeats come from the same studies, so that their differences are surer than
these errors say.

*Tables*, 10,000 each: differences are sums of known parts, of the rows (the same in all repeats) and of the splits.
"""

import argparse
import time
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from tiny_networks import Problem, Training, draw_problem, losses, train

from thinned.studies.analysis.statistics import PairedTest, holm, nadeau_bengio, paired_test, resampled

Array = npt.NDArray[np.float64]
ROWS, TOGETHER, TABLES = 100, 10, 10_000
RATES, DECAYS = (0.0, 0.2, 0.5, 0.0, 0.0), (0.0, 0.0, 0.0, 0.003, 0.01)
NOTHING = (0.0, 0.0, 0.0)
ARMS = ((0,), (1, 2), (3, 4))  # settings of none, dropout, weight decay
SINGLE = ((0,), (1,), (2,))  # where nothing has an effect
QUESTIONS = ((0, 1), (0, 2), (2, 1))  # which arm's loss is subtracted from which
WEIGHTS = (0.8, 0.1, 0.1)
SHIFTS = (0.05, 0.1, 0.2)  # as fractions of the mean loss
SHARES = (0.0, 0.05, 0.1, 0.2, 0.5)  # of the rows in the variance between splits


class Design(NamedTuple):
    """A study's design."""

    task: str
    folds: int
    repeats: int
    effect: bool

    @property
    def readings(self) -> list[int]:
        """All repeats, the first half of them, and so on."""
        return [self.repeats >> halving for halving in range(self.repeats.bit_length())]


class Reading(NamedTuple):
    """What a study says by its first repeats."""

    tests: list[PairedTest]  # of the questions
    conservative: tuple[float, float]  # Nadeau & Bengio's interval of the primary question
    adjusted: list[float]
    found: list[bool]  # by shift


def train_studies(design: Design, problem: Problem, generator: torch.Generator) -> Array:
    """Test losses of the arms on the splits of some studies, ``(studies, arms, repeats, folds)``."""
    rates, decays, arms = (RATES, DECAYS, ARMS) if design.effect else (NOTHING, NOTHING, SINGLE)
    folds, repeats = design.folds, design.repeats
    splits, settings = folds * repeats, len(rates)
    x, y = problem.sample((ROWS, TOGETHER), generator)
    place = torch.rand(ROWS, TOGETHER, repeats, generator=generator).argsort(0) % folds
    is_test = (place[..., None] == torch.arange(folds)).flatten(1)  # by study, repeat and fold
    order = torch.rand(is_test.shape, generator=generator).masked_fill(is_test, 2.0).argsort(0).argsort(0)
    is_validation = order < (ROWS - ROWS // folds) // 5
    starts = torch.arange(TOGETHER * splits)

    training = Training(
        x=x.repeat_interleave(splits * settings, 1),
        y=y.repeat_interleave(splits * settings, 1),
        is_training=(~(is_test | is_validation)).repeat_interleave(settings, 1),
        is_validation=is_validation.repeat_interleave(settings, 1),
        starts=starts.repeat_interleave(settings) if design.effect else torch.arange(len(starts) * settings),
        rates=torch.tensor(rates).repeat(len(starts)),
        decays=torch.tensor(decays).repeat(len(starts)),
    )
    networks = train(design.task, training, generator)
    with torch.no_grad():
        tested = is_test.repeat_interleave(settings, 1)
        loss = (losses(design.task, networks.weights.outputs(training.x), training.y) * tested).sum(0) / tested.sum(0)
    shape = TOGETHER, repeats, folds, settings
    loss, validated = loss.reshape(shape), networks.validation_loss.detach().reshape(shape)
    chosen = [validated[..., list(arm)].argmin(-1, keepdim=True) + arm[0] for arm in arms]
    return torch.cat([loss.gather(-1, choice) for choice in chosen], -1).permute(0, 3, 1, 2).double().numpy()


def read(scores: Array, repeats: int, folds: int, mean_loss: float) -> Reading:
    """The answers by the first repeats of a study's losses, ``(arms, repeats, folds)``."""
    first = scores[:, :repeats]
    gains = [first[against] - first[arm] for against, arm in QUESTIONS]
    tests = [paired_test(resampled(gain)) for gain in gains]
    wide = nadeau_bengio(gains[0], 1 / (folds - 1)).interval()
    found = []
    for shift in SHIFTS:
        moved = [gains[0] + shift * mean_loss, gains[1], gains[2] + shift * mean_loss]
        p_values = holm([paired_test(resampled(gain)).p_value for gain in moved], WEIGHTS)
        found.append(p_values[0] < 0.05 and float(moved[0].mean()) > 0)
    return Reading(tests, (wide.low, wide.high), holm([test.p_value for test in tests], WEIGHTS), found)


def report(readings: list[Reading], design: Design) -> None:
    """Coverage and width of the primary question, power or findings, and false alarms."""
    estimates = np.array([[test.difference for test in reading.tests] for reading in readings])
    truths = (estimates.sum(0) - estimates) / (len(readings) - 1) if design.effect else np.zeros_like(estimates)
    truth = truths[:, 0]
    low, high = np.array([(reading.tests[0].low, reading.tests[0].high) for reading in readings]).T
    wide_low, wide_high = np.array([reading.conservative for reading in readings]).T
    said = np.array([[p < 0.05 for p in reading.adjusted] for reading in readings])
    wrong = (said & (np.sign(estimates) != np.sign(truths))).any(1)
    print(
        f"    truth {truth.mean():+.4f}, sd of the estimate {estimates[:, 0].std():.4f}; mean width "
        f"{(high - low).mean():.4f} ({(high - low).mean() / (3.92 * estimates[:, 0].std()):.2f} of that with a known "
        f"variance); covered {rate((low <= truth) & (truth <= high))}, Nadeau-Bengio "
        f"{rate((wide_low <= truth) & (truth <= wide_high))}; found {rate(said[:, 0])}; wrong in the family "
        f"{rate(wrong)}"
    )
    if not design.effect:
        powers = [
            f"{100 * shift:.0f} %: {rate(np.array([r.found[i] for r in readings]))}" for i, shift in enumerate(SHIFTS)
        ]
        print(f"    power if dropout is better by {', '.join(powers)}", flush=True)


def rate(happened: npt.NDArray[np.bool_]) -> str:
    """A share in per cent with its standard error."""
    share = float(np.mean(happened))
    return f"{100 * share:.1f} ± {100 * (share * (1 - share) / len(happened)) ** 0.5:.1f} %"


def simulate_training(design: Design, studies: int) -> None:
    """Train studies, and print what they find by their repeats."""
    torch.set_num_threads(1)
    problem = draw_problem(design.task, torch.Generator().manual_seed(0))
    generator, start = torch.Generator().manual_seed(1), time.process_time()
    scores = np.concatenate([train_studies(design, problem, generator) for _ in range(-(-studies // TOGETHER))])
    seconds = (time.process_time() - start) / len(scores) / design.repeats
    for repeats in design.readings:
        title = f"{design.task}, {design.folds} folds x {repeats}, {'an' if design.effect else 'no'} effect"
        print(f"{title}, {len(scores)} studies, {seconds * repeats:.3f} s of the processor each")
        report([read(study, repeats, design.folds, float(scores[:, 0].mean())) for study in scores], design)


def simulate_tables(folds: int, repeats: int) -> None:
    """Coverage, width and power where the parts of the differences are known."""
    design = Design("", folds, repeats, effect=False)
    for share in SHARES:
        rng = np.random.default_rng(0)
        found: dict[int, list[tuple[float, float]]] = {r: [] for r in design.readings}
        for _ in range(TABLES):
            rows = rng.normal(size=(ROWS, 1)) * (share * ROWS / folds) ** 0.5
            dealt = np.stack([rng.permutation(ROWS).reshape(folds, -1) for _ in range(repeats)])
            values = rows[dealt, 0].mean(2) + (1 - share) ** 0.5 * rng.normal(size=(repeats, folds))
            for r, intervals in found.items():
                interval = resampled(values[:r]).interval()
                intervals.append((interval.low, interval.high))
        for r, intervals in found.items():
            low, high = np.array(intervals).T
            powers = ", ".join(f"{shift}: {100 * np.mean(low + shift > 0):.0f} %" for shift in (0.5, 1.0, 1.5))
            print(
                f"  rows {share:.2f} of the variance, {folds} folds x {r}: covered {rate((low <= 0) & (high >= 0))}, "
                f"width {(high - low).mean():.3f}; power by the difference in standard deviations of a split {powers}",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=400)
    parser.add_argument("--design", action="append", help="folds x repeats; by default 5x4 and 10x2")
    args = parser.parse_args()
    for shape in args.design or ("5x4", "10x2"):
        folds, repeats = map(int, shape.split("x"))
        for task in ("binary", "regression"):
            for effect in (False, True):
                simulate_training(Design(task, folds, repeats, effect), args.studies)
        simulate_tables(folds, repeats)


if __name__ == "__main__":
    main()
