"""``thinned.study``: from a table to a verdict, a report and a model."""

import dataclasses
import difflib
import inspect
import os
import tempfile
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from html import escape
from pathlib import Path
from typing import Unpack, overload

import msgspec
import pandas as pd
from torch import nn

from thinned import pages
from thinned.errors import InputError, sentence
from thinned.import_path import import_path
from thinned.studies import results
from thinned.studies.analysis.analyse import make_results
from thinned.studies.callbacks.callback import StudyCallback, open_callbacks
from thinned.studies.design.duplicates import group_duplicates
from thinned.studies.design.make_plan import make_plan
from thinned.studies.design.options import OptionKeywords, StudyOptions
from thinned.studies.design.own_network.options import NetworkKeywords, NetworkOptions
from thinned.studies.design.plan import Plan
from thinned.studies.design.setting import Setting
from thinned.studies.model import model, storage
from thinned.studies.network_api import Workers, study_network
from thinned.studies.network_results import FinishedNetworks
from thinned.studies.progress_bar import ReportProgress, open_progress
from thinned.studies.recommended_network.leave import leave_network
from thinned.studies.report import html as report
from thinned.studies.run_summary import finished_part, summarise_run
from thinned.studies.table.load import Table, load
from thinned.studies.training.config import TrainingConfig
from thinned.studies.training.drive import Progress
from thinned.studies.training.engines.choose import EngineName
from thinned.studies.training.engines.open_engine import open_engine
from thinned.studies.training.jobs import run
from thinned.studies.training.store import TEMPORARY, Store, open_store, write_text, writing

__all__ = ["Study", "finish_network_study", "finish_study", "load_table", "study"]


class Study:
    """A finished study.

    Attributes:
        folder: where its files are: ``results.json``, ``report.html``, ``study.sqlite``, and ``model/`` or, of a study
            of a network of one's own, ``network/``, which :func:`thinned.load_network` reads.
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

    def _repr_html_(self) -> str:
        """The verdict and the settings, as a notebook shows them."""
        verdict = self.results.verdict
        words = f"<p><strong>{escape(verdict.headline)}</strong> {escape(verdict.detail)}</p>"
        return f"{words}{self.table.to_html(float_format='{:.4g}'.format, na_rep='–')}"


@overload
def study(
    data: object,
    target: str,
    *,
    out: str | os.PathLike[str] | None = None,
    progress: bool | ReportProgress = ...,
    callbacks: Sequence[StudyCallback] = ...,
    command: str | None = None,
    jobs: int | None = None,
    engine: EngineName | None = None,
    address: str | None = None,
    **options: Unpack[OptionKeywords],
) -> Study: ...


@overload
def study(
    data: object,
    target: None = None,
    *,
    network: str | Callable[[], nn.Module],
    out: str | os.PathLike[str] | None = None,
    progress: bool | ReportProgress = ...,
    callbacks: Sequence[StudyCallback] = ...,
    command: str | None = None,
    jobs: int | None = None,
    engine: EngineName | None = None,
    address: str | None = None,
    **options: Unpack[NetworkKeywords],
) -> Study: ...


def study(
    data: object,
    target: str | None = None,
    *,
    network: str | Callable[..., nn.Module] | None = None,
    out: str | os.PathLike[str] | None = None,
    progress: bool | ReportProgress = True,
    callbacks: Sequence[StudyCallback] = (),
    command: str | None = None,
    jobs: int | None = None,
    engine: EngineName | None = None,
    address: str | None = None,
    **options: object,
) -> Study:
    """Measure on held-out data which way to regularise helps: dropout, at which layer and rate, or another.

    With ``target=``, ``data`` is a table, and the network is a multilayer perceptron, or yours. Without it, ``data``
    are examples of any kind, and ``network`` builds your network.

    The networks of all arms are trained on the same folds, with the same initial weights, data order and random
    numbers. What an arm leaves open (a rate, a weight decay) is chosen by validation rows and scored on test rows,
    which neither training nor choice has seen.

    Args:
        data: path of a CSV or Parquet file, or a pandas or polars data frame. Or examples: ``(x, y)`` of tensors or
            arrays, a map-style dataset, a pair of a training and a test set, :class:`thinned.Examples`, a function
            that returns one of these, or its path "module:function".
        target: the column to predict; None where ``data`` are examples.
        network: a function, or its path "module:function", that builds a fresh network: of examples, without arguments;
            of a table, from the numbers of inputs and outputs (it leaves no model). None takes a multilayer perceptron.
        out: folder for the study's files, where a study of the same plan resumes; None makes a temporary one.
        progress: True draws a bar if standard error is a terminal or belongs to a notebook; False shows nothing. Or a
            function, called during training with the state of the study and its plan.
        callbacks: told of progress, end and error, such as :func:`thinned.mlflow_callback`.
        command: the command line, shown in the report.
        jobs: jobs trained at a time, each on one core; -1 is one for each core. None takes the number of torch's
            threads, all of a cluster, or what ``joblib.parallel_config`` says. No result depends on it.
        engine: "loky" (processes on this machine), "ray" or "dask"; None takes the backend of
            ``joblib.parallel_config``, and otherwise threads for a table and the study's own network, loky for yours.
        address: address of a Ray or Dask cluster; None takes the one in use, or starts workers on this machine.
        options: any of :class:`~thinned.studies.design.options.StudyOptions` with a table, and of
            :class:`~thinned.studies.design.own_network.options.NetworkOptions` with examples.

    Raises:
        InputError: the data, the target, the network, an option or the folder can't be used.
    """
    folder, workers = _folder(out), Workers(jobs, engine, address)
    with open_progress(progress) as shown, open_callbacks(callbacks, shown) as report_progress:
        if target is None:
            finished = _of_network(data, network, folder, options, workers, report_progress, command)
        else:
            finished = _of_table(data, target, network, folder, options, workers, report_progress, command)
        for callback in callbacks:
            callback.on_end(finished)
    return finished


def _checked(options: dict[str, object], own: type, other: type) -> dict[str, object]:
    """Options of one kind of study; one of the other kind is refused in a sentence."""
    names, others = ({field.name for field in dataclasses.fields(kind)} for kind in (own, other))
    for name in options:
        if name not in names and name in others:
            kinds = ("a table", "examples")
            its, here = kinds if own is NetworkOptions else reversed(kinds)
            requirement = f"{name} is an option of a study of {its}"
            raise InputError(sentence(requirement, f"this one is a study of {here}", "leave it out"))
        if name not in names:
            known = sorted({*names, *inspect.signature(study).parameters} - {"options"})
            close = difflib.get_close_matches(name, known, n=1)
            remedy = f"perhaps {close[0]}" if close else f"options are {', '.join(known)}"
            raise TypeError(sentence("an option must be one of the study's", f"got {name}=", remedy))
    return options


def _of_table(
    data: object,
    target: str,
    network: str | Callable[..., nn.Module] | None,
    folder: Path,
    keywords: dict[str, object],
    workers: Workers,
    progress: ReportProgress,
    command: str | None,
) -> Study:
    path = import_path(network, "the network") if callable(network) else network
    options = StudyOptions(network=path, **_checked(keywords, StudyOptions, NetworkOptions))  # type: ignore[arg-type]
    with open_engine(data, folder, options.network, *workers) as engine:
        table = load_table(data, target, options)
        plan = make_plan(table, options)
        with open_store(folder, plan) as store:
            report: Callable[[Progress], None] = lambda step: progress(step, plan)  # noqa: E731
            run(table, plan, store, report, options.minutes, engine=engine, folder=folder / TEMPORARY)
            return finish_study(table, plan, store, progress, command)


def _of_network(
    data: object,
    network: str | Callable[..., nn.Module] | None,
    folder: Path,
    keywords: dict[str, object],
    workers: Workers,
    progress: ReportProgress,
    command: str | None,
) -> Study:
    if network is None:
        remedy = "pass target= with a table, or network= with examples"
        raise InputError(sentence("a study needs a column to predict, or a network", "got neither", remedy))
    options = NetworkOptions(**_checked(keywords, NetworkOptions, StudyOptions))  # type: ignore[arg-type]
    finished = study_network(data, network, folder, options, workers, progress, command)
    return finish_network_study(finished, folder, progress)


def finish_network_study(finished: FinishedNetworks, folder: Path, progress: ReportProgress) -> Study:
    """Write results and report, train the recommended network on all examples, and save it.

    The results are written before that network trains, so that nothing is lost whatever happens to it.
    """
    found = finished.results
    before = partial(_written, folder, found)
    left = leave_network(finished.study, finished.plan, found, folder, progress, before)
    return _written(folder, msgspec.structs.replace(found, network=left))


def _written(folder: Path, content: results.Results) -> Study:
    study = Study(folder, content)
    with writing():
        write_text(folder / "results.json", results.serialise(content))
    study.report()
    return study


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
    networks, finished = finished_part(store.networks(), plan)
    epoch_seconds = store.seconds / (len(store) * plan.epochs)
    summary = summarise_run(plan, finished, store, command)
    return make_results(table, plan, finished, networks, summary, epoch_seconds)


def finish_study(table: Table, plan: Plan, store: Store, progress: ReportProgress, command: str | None) -> Study:
    """Analyse the networks of a store, fit the recommended setting on all rows, and write model, results and report."""
    content = _analyse(table, plan, store, command)
    return _write(table, plan, store.folder, content, progress)


def _write(table: Table, plan: Plan, folder: Path, content: results.Results, progress: ReportProgress) -> Study:
    """Fit the recommended setting on all rows, and write model, results and report."""
    recommended = plan.settings[content.verdict.recommended.setting]
    if plan.network is None and storage.saved_setting(folder / "model") != recommended:
        _refit(table, plan, recommended, folder, progress)
    return _written(folder, content)


def _refit(table: Table, plan: Plan, setting: Setting, folder: Path, progress: ReportProgress) -> None:
    def report_epoch(epoch: int) -> None:
        doing = f"fitting the recommended network on all rows (epoch {epoch} of {plan.epochs})"
        progress(Progress(doing, plan.networks), plan)

    fitted = model.fit(table, TrainingConfig.of_plan(plan), setting, report_epoch)
    with writing():
        fitted.save(folder / "model")
