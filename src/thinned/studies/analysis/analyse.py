"""The results of a finished study, computed from its trained networks."""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from thinned.studies.analysis.claims import judge_claims
from thinned.studies.analysis.comparisons import compare_arms
from thinned.studies.analysis.selection import PARTS, Array, TrainedNetworks
from thinned.studies.analysis.verdict import decide
from thinned.studies.analysis.warnings import study_warnings
from thinned.studies.design.arm import Arm
from thinned.studies.design.plan import Plan
from thinned.studies.design.splits import make_splits, test_share
from thinned.studies.examples.notices import ExampleNotice
from thinned.studies.metrics import METRICS
from thinned.studies.results import (
    SCHEMA,
    ArmReading,
    ArmResult,
    Comparison,
    DataSummary,
    LearningCurves,
    LossSummary,
    MetricSummary,
    OptionalInterval,
    PlanSummary,
    Reading,
    ReadingPair,
    Results,
    RunSummary,
    SettingResult,
    StudyWarning,
    Verdict,
)
from thinned.studies.table.load import Table
from thinned.studies.training.records import TrainedNetwork

__all__ = ["Analysis", "Content", "analyse", "make_results", "results_of"]


class Analysis(NamedTuple):
    """Settings, arms, comparisons, verdict and warnings of a study."""

    settings: tuple[SettingResult, ...]
    arms: tuple[ArmResult, ...]
    comparisons: tuple[Comparison, ...]
    verdict: Verdict
    warnings: tuple[StudyWarning, ...]


def analyse(
    trained: TrainedNetworks,
    table: Table | None = None,
    pilot: TrainedNetworks | None = None,
    notices: Sequence[ExampleNotice] = (),
) -> Analysis:
    """Score settings and arms, answer the questions, and decide.

    Every arm is read twice: ``best`` takes each network at its best validation epoch (early stopping), ``end`` after
    the full budget of epochs. On each split its setting is chosen by validation loss and scored on the test rows.

    Args:
        trained: the networks that were trained on all rows of a split.
        table: the studied table, for warnings about it.
        pilot: the networks of the pilot, for warnings about it.
        notices: what was found in the examples of a network of one's own.
    """
    comparisons = compare_arms(trained)
    warnings = study_warnings(trained, comparisons, table, pilot, notices)
    return Analysis(
        settings=tuple(_setting_result(trained, setting) for setting in trained.settings),
        arms=tuple(_arm_result(trained, arm) for arm in trained.plan.arms if arm.name in trained.arms),
        comparisons=tuple(comparisons),
        verdict=decide(trained, comparisons, warnings),
        warnings=tuple(warnings),
    )


def make_results(
    table: Table, plan: Plan, finished: Plan, networks: Sequence[TrainedNetwork], run: RunSummary, epoch_seconds: float
) -> Results:
    """The content of ``results.json`` of a table's study.

    Args:
        table: the studied table.
        plan: the whole plan.
        finished: the part of the plan that was finished.
        networks: the trained networks of that part.
        run: how they were trained.
        epoch_seconds: training time of one network for one epoch.

    Raises:
        InputError: the networks of every setting diverged.
    """
    splits = make_splits(plan, table)
    trained = TrainedNetworks(networks, finished, test_share(splits))
    content = Content(_data_summary(table), plan, run, networks, [len(split.train) for split in splits], epoch_seconds)
    return results_of(trained, content, table)


class Content(NamedTuple):
    """What results hold besides the analysis.

    Attributes:
        data: summary of what was studied.
        plan: the whole plan.
        run: how its networks were trained.
        networks: the trained networks of the finished part, those of other sizes included.
        training_rows: number of training rows of each split.
        epoch_seconds: training time of one network for one epoch.
        pilot: the networks of the pilot that chose the settings, if there was one.
        notices: what was found in the examples of a network of one's own.
    """

    data: DataSummary
    plan: Plan
    run: RunSummary
    networks: Sequence[TrainedNetwork]
    training_rows: Sequence[int]
    epoch_seconds: float
    pilot: TrainedNetworks | None = None
    notices: Sequence[ExampleNotice] = ()


def results_of(trained: TrainedNetworks, content: Content, table: Table | None = None) -> Results:
    """Analyse the trained networks of a study, and put its results together.

    Args:
        trained: the networks that were trained on all rows of a split.
        content: what results hold besides.
        table: the studied table, for warnings about it.
    """
    analysis = analyse(trained, table, content.pilot, content.notices)
    plan = content.plan
    return Results(
        schema=SCHEMA,
        data=content.data,
        plan=msgspec.convert({**plan.to_dict(), "digest": plan.digest}, PlanSummary),
        run=content.run,
        metrics={name: MetricSummary(**METRICS[name]._asdict()) for name in trained.metrics},
        selection=trained.selection,
        settings=analysis.settings,
        arms=analysis.arms,
        comparisons=analysis.comparisons,
        verdict=analysis.verdict,
        test_train_ratio=trained.test_train_ratio,
        warnings=analysis.warnings,
        claims=judge_claims(trained, content.networks, content.training_rows, content.epoch_seconds),
    )


def _data_summary(table: Table) -> DataSummary:
    counts = [0] * len(table.classes)
    if table.classes:
        counts = np.bincount(table.target, minlength=len(table.classes)).tolist()
    return DataSummary(
        name=table.name,
        rows=len(table.target),
        columns=table.features.shape[1],
        target=table.target_name,
        task=table.task,
        classes=dict(zip(table.classes, counts, strict=True)),
        sha256=table.sha256,
        read_as=table.read_as,
        readings=table.read_in_words,
    )


def _setting_result(trained: TrainedNetworks, setting: int) -> SettingResult:
    networks = [split[setting] for split in trained.splits]
    baseline, chosen = trained.arm_scores(trained.baseline, "best"), [setting] * len(networks)
    epochs = max(len(network.curves.validation) for split in trained.splits for network in split.values())
    return SettingResult(
        index=setting,
        label=trained.setting(setting).label,
        networks=len(networks),
        best_epoch=float(np.median([network.best_epoch for network in networks])),
        best=_loss_summary(trained, setting, "best"),
        end=_loss_summary(trained, setting, "end"),
        curves=LearningCurves(
            train=_mean_curve([network.curves.train for network in networks], epochs),
            validation=_mean_curve([network.curves.validation for network in networks], epochs),
        ),
        improvement=ReadingPair(
            best=trained.interval(baseline - trained.scores(chosen, "best")),
            end=trained.interval(trained.arm_scores(trained.baseline, "end") - trained.scores(chosen, "end")),
        ),
    )


def _mean_curve(curves: Sequence[Sequence[float | None]], epochs: int) -> tuple[float, ...]:
    """The mean over networks; one that a function of the user's trained for fewer epochs keeps its last loss."""
    whole = [[*curve, *list(curve[-1:]) * (epochs - len(curve))] for curve in curves]
    mean: Array = np.array(whole, dtype=np.float64).mean(axis=0)
    return tuple(mean.tolist())


def _loss_summary(trained: TrainedNetworks, setting: int, reading: Reading) -> LossSummary:
    chosen = [setting] * len(trained.splits)
    validation, test = (trained.interval(trained.losses(setting, reading, part), part) for part in PARTS[1:])
    training = trained.losses(setting, reading, "train")
    train = OptionalInterval(mean=None, low=None, high=None)
    if np.isfinite(training).all():
        train = OptionalInterval(**msgspec.structs.asdict(trained.interval(training, "train")))
    scores = {name: trained.score_interval(chosen, reading, name) for name in trained.metrics}
    return LossSummary(train=train, validation=validation, test=test, scores=scores)


def _arm_result(trained: TrainedNetworks, arm: Arm) -> ArmResult:
    best, end = (_arm_reading(trained, arm.name, reading) for reading in ("best", "end"))
    return ArmResult(name=arm.name, label=arm.label, warning=arm.warning, best=best, end=end)


def _arm_reading(trained: TrainedNetworks, arm: str, reading: Reading) -> ArmReading:
    chosen = trained.choose(trained.arms[arm], reading)
    scores = trained.scores(chosen, reading)
    return ArmReading(
        scores={name: trained.score_interval(chosen, reading, name) for name in trained.metrics},
        chosen=tuple(chosen),
        test=tuple(scores.reshape(len(chosen), -1).mean(1).tolist()),
        improvement=trained.interval(trained.arm_scores(trained.baseline, "best") - scores),
    )
