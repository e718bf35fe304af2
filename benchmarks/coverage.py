"""Coverage of a study's 95 % intervals, and its false alarms, on generated data whose truth is known.

    python benchmarks/coverage.py [--studies 400] [--processes 2] [--design 5x2] [--design 10x1]

A study is made as `thinned study` makes it, but for the table's encoding: a data set of 300 rows is drawn from a known
population, dealt into folds, networks of 16-16 are trained on every split by the same cohorts, with no regularisation,
with dropout at two rates and with weight decay at two strengths, and the records are analysed with nested selection.
The truth is the expected difference of the procedures' loss over data sets. Each study is judged by the mean of all
others (some 100,000 fresh test rows and as many training sets as studies): its error is a twentieth of the interval's.

"No effect": five arms of one setting each are all trained as "none" is, but with initial weights, order and masks of
their own, so that every difference of the family is 0 in truth.

Where the networks are unlike, the truth of a comparison is not 0, and what counts as a false alarm is a finding in the
wrong direction. Besides the study's own intervals, those by Nadeau & Bengio's correlation and those of independent
splits (the plain t) are given.
"""

import argparse
import multiprocessing
from collections.abc import Iterator, Sequence
from dataclasses import fields
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from sklearn.model_selection import KFold, StratifiedKFold

from thinned.studies.analysis.comparisons import compare_arms
from thinned.studies.analysis.selection import TrainedNetworks
from thinned.studies.analysis.statistics import nadeau_bengio
from thinned.studies.design.arm import Arm
from thinned.studies.design.choose_arms import choose_arms
from thinned.studies.design.plan import Member, Plan
from thinned.studies.design.questions import Question
from thinned.studies.design.setting import Setting
from thinned.studies.results import Comparison, Interval
from thinned.studies.training import cohort
from thinned.studies.training.config import TrainingConfig
from thinned.studies.training.network import MLP
from thinned.studies.training.records import Curves, Evaluation, TrainedNetwork

ROWS, COLUMNS, TOGETHER = 300, 6, 8
DECAY = Arm("weight_decay", "weight decay", (Setting(weight_decay=0.3), Setting(weight_decay=3.0)))
FIRST, LAST = (Arm(where, f"dropout on the {where} layer", (Setting(0.5, where),)) for where in ("first", "last"))


class BestEpochPlan(Plan):
    """A plan without the questions about the last epoch: early stopping has an effect, on the same networks."""

    @property
    def questions(self) -> tuple[Question, ...]:
        return tuple(q for q in super().questions if q.when == q.against_when == "best")


class Answer(NamedTuple):
    """A study's comparison, and the interval of the plain t."""

    comparison: Comparison
    plain: Interval


def draw(task: str, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """A data set of the population: interactions, waves and lines, and as much noise as signal."""
    x = rng.normal(size=(ROWS, COLUMNS)).astype(np.float32)
    signal = 1.5 * x[:, 0] * x[:, 1] + np.sin(2 * x[:, 2]) + x[:, 3]
    if task == "regression":
        y = ((signal + 2 * rng.normal(size=ROWS)) / 2.8).astype(np.float32)
    else:
        y = (rng.random(ROWS) < 1 / (1 + np.exp(-signal))).astype(np.int64)
    return torch.from_numpy(x), torch.from_numpy(y)


def deal(plan: Plan, x: torch.Tensor, y: torch.Tensor, rng: np.random.Generator) -> Iterator[cohort.Data]:
    """The splits of a study, as thinned.studies.design.splits deals them, of equal sizes."""
    for _ in range(plan.seeds):
        make = KFold if plan.task == "regression" else StratifiedKFold
        for rest, test in make(plan.folds, shuffle=True, random_state=int(rng.integers(2**31))).split(x, y):
            shuffled = rng.permutation(rest)
            cut = len(rest) // 5
            yield cohort.Data(x, y, *map(torch.from_numpy, (shuffled[cut:], shuffled[:cut], test)))


def make_plan(task: str, folds: int, seeds: int, effect: bool, seed: int) -> Plan:
    single = Arm("weight_decay", "weight decay", DECAY.settings[:1])
    arms = (
        choose_arms(("dropout", DECAY), (0.2, 0.5)) if effect else choose_arms(("dropout", single, FIRST, LAST), (0.5,))
    )
    return Plan(arms, folds, seeds, (16, 16), 20, 48, 1e-2, seed, task, "", ROWS)


def studies(design: tuple[str, int, int, bool], seed: int) -> list[dict[str, Answer]]:
    """The answers, by question, of some studies whose networks are trained as one cohort."""
    torch.set_num_threads(1)
    task, folds, seeds, effect = design
    plan = make_plan(task, folds, seeds, effect, seed)
    splits: list[list[cohort.Data]] = []
    for number in range(TOGETHER):
        rng = np.random.default_rng([seed, number])
        splits.append(list(deal(plan, *draw(task, rng), rng)))
    members, data = [], []
    for number, own in enumerate(splits):
        for place, split in enumerate(own):
            for setting in range(len(plan.settings)):
                # what a network starts from, its order and masks follow from repeat and fold: another for each study,
                # and, for no effect, for each setting
                repeat = number * len(own) + place
                fold = 0 if effect else setting
                members.append(Member(repeat, fold, setting if effect else 0))
                data.append(split)
    build = partial(MLP, COLUMNS, plan.hidden, 1)
    outcomes = cohort.train(TrainingConfig.of_plan(plan), build, members, data)
    networks: list[list[TrainedNetwork]] = [[] for _ in splits]
    for i, (split, outcome) in enumerate(zip(data, outcomes, strict=True)):
        study, rest = divmod(i, plan.folds * plan.seeds * len(plan.settings))
        place, setting = divmod(rest, len(plan.settings))
        networks[study].append(record(plan, divmod(place, plan.folds), setting, split, outcome))
    asked = plan if effect else BestEpochPlan(**{field.name: getattr(plan, field.name) for field in fields(plan)})
    return [answers(TrainedNetworks(own, asked)) for own in networks]


def record(
    plan: Plan, place: tuple[int, int], setting: int, split: cohort.Data, outcome: cohort.Outcome
) -> TrainedNetwork:
    """As thinned.studies.training.jobs makes it, with the one score that is compared."""

    def evaluate(epoch: int, output: torch.Tensor) -> Evaluation:
        loss = float(cohort.losses(plan.task, output.double(), split.y[split.test]).mean())
        scores = {"rmse": loss**0.5} if plan.task == "regression" else {"log_loss": loss}
        train, validation = float(outcome.train_loss[epoch]), float(outcome.validation_loss[epoch])
        return Evaluation(train, validation, loss, dict(scores))

    repeat, fold = place
    return TrainedNetwork(
        repeat=repeat,
        fold=fold,
        setting=setting,
        size=0,
        best_epoch=outcome.best_epoch + 1,
        best=evaluate(outcome.best_epoch, outcome.at_best),
        end=evaluate(-1, outcome.at_end),
        curves=Curves(tuple(outcome.train_loss.tolist()), tuple(outcome.validation_loss.tolist())),
    )


def answers(trained: TrainedNetworks) -> dict[str, Answer]:
    """What a study says to each question, and what the plain t would."""
    found = {}
    for c in compare_arms(trained):
        gains = trained.arm_scores(c.against, c.against_when) - trained.arm_scores(c.arm, c.when)
        found[c.question] = Answer(c, nadeau_bengio(gains, 0.0).interval())
    return found


def report(found: Sequence[dict[str, Answer]], *, effect: bool) -> None:
    wrong = np.zeros(len(found), dtype=bool)
    for question, first in found[0].items():
        answers = [study[question] for study in found]
        comparisons = [answer.comparison for answer in answers]
        estimates = np.array([c.difference for c in comparisons])
        truth = (estimates.sum() - estimates) / (len(found) - 1) if effect else np.zeros(len(found))
        conservative = [c.nadeau_bengio for c in comparisons]
        covered = {
            "own": [c.low <= t <= c.high for c, t in zip(comparisons, truth, strict=True)],
            "Nadeau-Bengio": [c.low <= t <= c.high for c, t in zip(conservative, truth, strict=True)],
            "plain": [a.plain.low <= t <= a.plain.high for a, t in zip(answers, truth, strict=True)],
        }
        pairs = zip(comparisons, conservative, strict=True)
        width = np.median([(own.high - own.low) / (wide.high - wide.low) for own, wide in pairs])
        outcomes = [c.outcome for c in comparisons]
        sign = np.sign(truth)
        said = np.array([{"helps": 1, "hurts": -1}.get(o, 0) for o in outcomes])
        wrong |= (said != 0) & (said != sign)
        shares = ", ".join(f"{name} {100 * np.mean(values):.1f} %" for name, values in covered.items())
        print(
            f"  {'*' if first.comparison.primary else ' '} {question:56} truth {truth.mean():+.4f} ± "
            f"{estimates.std() / len(found) ** 0.5:.4f}, covered: {shares}; width {width:.2f} of Nadeau-Bengio's; "
            f"found {np.mean(said != 0):.0%}"
        )
    kind = "findings in the wrong direction" if effect else "family-wise false alarms"
    print(f"    {kind}: {wrong.sum()} of {len(found)} studies, {100 * wrong.mean():.1f} %")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=400)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--design", action="append", help="folds x seeds; by default 5x2 and 10x1")
    parser.add_argument("--task", choices=("binary", "regression"), action="append", help="by default both")
    args = parser.parse_args()
    batches = -(-args.studies // TOGETHER)
    with multiprocessing.get_context("spawn").Pool(args.processes) as pool:
        for task in args.task or ("binary", "regression"):
            for shape in args.design or ("5x2", "10x1"):
                folds, seeds = map(int, shape.split("x"))
                for effect in (False, True):
                    design = (task, folds, seeds, effect)
                    found = [c for own in pool.imap(partial(studies, design), range(batches)) for c in own]
                    title = "known effect" if effect else "no effect"
                    print(f"{task}, {folds} folds x {seeds} seeds, {title}, {len(found)} studies", flush=True)
                    report(found, effect=effect)


if __name__ == "__main__":
    main()
