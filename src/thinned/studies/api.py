"""``thinned.study``: from a table to a verdict, a report and a model."""

import os
import platform
import tempfile
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Unpack

import pandas as pd
import torch

import thinned
from thinned import pages
from thinned.errors import InputError, sentence
from thinned.studies import results
from thinned.studies.analysis.analyse import make_results
from thinned.studies.design.duplicates import group_duplicates
from thinned.studies.design.make_plan import make_plan
from thinned.studies.design.options import OptionKeywords, StudyOptions
from thinned.studies.design.plan import Plan
from thinned.studies.design.setting import Setting
from thinned.studies.model import model, storage
from thinned.studies.report import html as report
from thinned.studies.table.load import Table, load
from thinned.studies.training.config import TrainingConfig
from thinned.studies.training.engines.choose import EngineName
from thinned.studies.training.engines.open_engine import open_engine
from thinned.studies.training.jobs import Progress, run
from thinned.studies.training.records import TrainedNetwork
from thinned.studies.training.store import TEMPORARY, Store, open_store, write_text, writing

__all__ = ["ReportProgress", "Study", "finish_study", "load_table", "study"]

#: called during training with the state of the study and its plan
ReportProgress = Callable[[Progress, Plan], None]


class Study:
    """A finished study.

    Attributes:
        folder: where its files are: ``results.json``, ``report.html``, ``study.sqlite`` and ``model/``.
        results: the content of ``results.json``, with typed entries: ``study.results.verdict.outcome``.
    """

    def __init__(self, folder: Path, content: results.Results) -> None:
        self.folder = folder
        self.results = content

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> "Study":
        """Read a finished study.

        Raises:
            InputError: the folder holds none, or its results are of another schema or not as a study writes them.
        """
        return cls(Path(folder), results.read(folder))

    @property
    def verdict(self) -> str:
        """The answer in a few sentences."""
        verdict = self.results.verdict
        return f"{verdict.headline} {verdict.detail}"

    @property
    def table(self) -> pd.DataFrame:
        """Mean losses and test scores at the best validation epoch, one row for each setting."""
        rows = {
            setting.label: {
                **{f"{part}_loss": loss.mean for part, loss in setting.best.losses.items()},
                **{name: score.mean for name, score in setting.best.scores.items()},
                "best_epoch": setting.best_epoch,
                "improvement": setting.improvement.best.mean,
            }
            for setting in self.results.settings
        }
        return pd.DataFrame.from_dict(rows, orient="index")

    def report(self, path: str | os.PathLike[str] | None = None) -> Path:
        """Write the report as one HTML file that needs no network; by default into the study's folder.

        Raises:
            InputError: at ``path`` there is something else, or it can't be written.
        """
        html = report.render(self.results)
        if path is not None:
            return pages.write(Path(path), html)
        with writing():
            write_text(self.folder / "report.html", html)
        return self.folder / "report.html"

    @cached_property
    def model(self) -> model.Model:
        """The recommended model: five networks, each fitted on a different four fifths of the rows."""
        return model.Model.load(self.folder / "model")

    def __repr__(self) -> str:
        return f"Study({str(self.folder)!r}: {self.results.verdict.headline})"


def study(
    data: object,
    target: str,
    *,
    out: str | os.PathLike[str] | None = None,
    progress: ReportProgress = lambda step, plan: None,
    command: str | None = None,
    jobs: int | None = None,
    engine: EngineName | None = None,
    address: str | None = None,
    **options: Unpack[OptionKeywords],
) -> Study:
    """Measure on held-out rows which way to regularise helps: dropout, at which layer and rate, or another.

    The networks of all arms are trained on the same folds, with the same initial weights, data order and random
    numbers. What an arm leaves open (a rate, a weight decay) is chosen by validation rows and scored on test rows,
    which neither training nor choice has seen.

    Args:
        data: path of a CSV or Parquet file, or a pandas or polars data frame.
        target: the column to predict.
        out: folder for the study's files, where a study of the same plan resumes; None makes a temporary one.
        progress: called during training with the state of the study and its plan.
        command: the command line, shown in the report.
        jobs: cohorts trained at a time, each on one core; -1 is one for each core. None takes the number of torch's
            threads, all of a cluster, or what ``joblib.parallel_config`` says. No result depends on it.
        engine: "loky" (processes on this machine), "ray" or "dask"; None takes the backend of
            ``joblib.parallel_config``, and otherwise loky.
        address: address of a Ray or Dask cluster; None takes the one in use, or starts workers on this machine.
        options: any of these.

            - task: "binary", "multiclass" or "regression"; None infers it from the target.
            - arms: names of :data:`thinned.studies.design.arms.ARMS` ("cocktail" is the best of all by validation) and
              :class:`thinned.Arm` objects; None takes all. No regularisation is always included.
            - rates: dropout rates of the arm "dropout", in [0, 1); None takes 0.1, 0.2, ..., 0.8.
            - folds, seeds: 5 test folds in 2 repeats, each with its own folds, initial weights and data order.
            - hidden: widths of the hidden layers; None chooses two by the number of rows.
            - epochs, batch_size: training budget and rows of a step; None chooses them by the number of rows.
            - learning_rate: Adam's learning rate, 1e-3.
            - seed: the number from which everything random follows, 0.
            - group: column of groups, such as patients; all rows of a group stay on one side of every split.
            - time: column of numbers or dates; every split trains on older rows than it validates and tests on, and
              repeats differ in initial weights, data order and masks alone. Neither is a feature.
            - group_duplicates: keep copies of a row (but for an identifier or a time stamp) on one side of each split.
            - columns: readings by column name: "number", "level", "text", "date:day-first", "date:month-first", "drop".
            - sizes: training rows at which dropout, weight decay and early stopping are measured as well.
            - network: ``module:function`` from the numbers of inputs and outputs to your own module; leaves no model.
            - minutes: no cohort starts after this time; arms that are unfinished then wait for the next such call.

    Raises:
        InputError: the table, the target, an option or the folder can't be used.
    """
    chosen, folder = StudyOptions(**options), _folder(out)
    with open_engine(data, folder, chosen.network, jobs, engine, address) as workers:
        table = load_table(data, target, chosen)
        plan = make_plan(table, chosen)
        with open_store(folder, plan) as store:
            report: Callable[[Progress], None] = lambda step: progress(step, plan)  # noqa: E731
            run(table, plan, store, report, chosen.minutes, engine=workers, folder=folder / TEMPORARY)
            return finish_study(table, plan, store, progress, command)


def load_table(data: object, target: str, options: StudyOptions) -> Table:
    """Read the table of a study."""
    table = load(
        data,
        target,
        options.task,
        folds=options.folds,
        group=options.group,
        time=options.time,
        columns=options.columns,
    )
    return group_duplicates(table) if options.group_duplicates else table


def _folder(out: str | os.PathLike[str] | None) -> Path:
    return Path(tempfile.mkdtemp(prefix="thinned-") if out is None else out)


def _analyse(table: Table, plan: Plan, store: Store, command: str | None) -> results.Results:
    networks, finished = _finished(store.networks(), plan)
    epoch_seconds = store.seconds / (len(store) * plan.epochs)
    summary = _run_summary(plan, finished, store, command)
    return make_results(table, plan, finished, networks, summary, epoch_seconds)


def _run_summary(plan: Plan, finished: Plan, store: Store, command: str | None) -> results.RunSummary:
    """Summarise the training; ``finished`` is the finished part of the plan."""
    names = {arm.name for arm in finished.arms}
    return results.RunSummary(
        networks=len(store),
        left_out=tuple(arm.label for arm in plan.arms if arm.name not in names),
        seconds=store.seconds,
        networks_per_second=len(store) / max(store.seconds, 1e-9),
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        threads=torch.get_num_threads(),
        versions={
            "thinned": thinned.__version__,
            "torch": str(torch.__version__),
            "python": platform.python_version(),
        },
        command=command,
    )


def finish_study(table: Table, plan: Plan, store: Store, progress: ReportProgress, command: str | None) -> Study:
    """Analyse the networks of a store, fit the recommended setting on all rows, and write model, results and report."""
    content = _analyse(table, plan, store, command)
    return _write(table, plan, store.folder, content, progress)


def _write(table: Table, plan: Plan, folder: Path, content: results.Results, progress: ReportProgress) -> Study:
    """Fit the recommended setting on all rows, and write model, results and report."""
    recommended = plan.settings[content.verdict.recommended.setting]
    if plan.network is None and storage.saved_setting(folder / "model") != recommended:
        _refit(table, plan, recommended, folder, progress)
    study = Study(folder, content)
    with writing():
        write_text(folder / "results.json", results.serialise(content))
    study.report()
    return study


def _finished(networks: list[TrainedNetwork], plan: Plan) -> tuple[list[TrainedNetwork], Plan]:
    """The networks whose settings were trained on every split, and the part of the plan that needs no others.

    Raises:
        InputError: no arm besides "none" is finished.
    """
    counts = Counter(network.setting for network in networks if not network.size)
    finished = {setting for setting, count in counts.items() if count == plan.folds * plan.seeds}
    part = plan.restricted_to([plan.settings[setting] for setting in finished])
    kinds = {arm.kind for arm in part.arms}
    if not {"reference", "method"} <= kinds:
        value = f"{len(networks)} of {plan.networks} networks are"
        remedy = "run it again with more minutes; it continues there"
        raise InputError(sentence("no regularisation and another arm must be finished in time", value, remedy))
    return [network for network in networks if network.setting in finished], part


def _refit(table: Table, plan: Plan, setting: Setting, folder: Path, progress: ReportProgress) -> None:
    def report_epoch(epoch: int) -> None:
        doing = f"fitting the recommended network on all rows (epoch {epoch} of {plan.epochs})"
        progress(Progress(doing, plan.networks), plan)

    fitted = model.fit(table, TrainingConfig.of_plan(plan), setting, report_epoch)
    with writing():
        fitted.save(folder / "model")
