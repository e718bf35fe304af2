"""``thinned.study``: from a table to a verdict, a report and a model."""

import json
import os
import platform
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd
import torch

import thinned
from thinned import pages
from thinned.errors import InputError, sentence
from thinned.studies import results
from thinned.studies.analysis.analyse import analyse
from thinned.studies.analysis.claims import mechanisms
from thinned.studies.analysis.claims import rates as claims
from thinned.studies.analysis.claims.sample_size import gains
from thinned.studies.design.arm import Arm
from thinned.studies.design.make_plan import check_options, make_plan
from thinned.studies.design.plan import Plan
from thinned.studies.design.splits import make_splits, test_share
from thinned.studies.metrics import METRICS, SELECTION
from thinned.studies.model import model
from thinned.studies.report import html as report
from thinned.studies.table.encoding import kind_of
from thinned.studies.table.load import Table, Task, load
from thinned.studies.training.config import TrainingConfig
from thinned.studies.training.jobs import Progress, run
from thinned.studies.training.probes import FRACTIONS
from thinned.studies.training.records import TrainedNetwork
from thinned.studies.training.store import Store, open_store, write_text, writing

__all__ = ["Study", "study"]


class Study:
    """A finished study.

    Attributes:
        folder: where its files are: ``results.json``, ``report.html``, ``study.sqlite`` and ``model/``.
        results: the content of ``results.json``.
    """

    def __init__(self, folder: Path, held: dict[str, Any]) -> None:
        self.folder = folder
        self.results = held

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> "Study":
        """Read a finished study.

        Raises:
            InputError: the folder holds none, or one whose results are of another version or were changed.
        """
        return cls(Path(folder), results.read(folder))

    @property
    def verdict(self) -> str:
        """The answer in a few sentences."""
        verdict = self.results["verdict"]
        return f"{verdict['headline']} {verdict['detail']}"

    @property
    def table(self) -> pd.DataFrame:
        """One row a setting: mean losses and held-out scores at the best validation epoch."""
        rows = {
            setting["label"]: {
                **{f"{part}_loss": setting["best"][part]["mean"] for part in ("train", "validation", "test")},
                **{name: score["mean"] for name, score in setting["best"]["scores"].items()},
                "best_epoch": setting["best_epoch"],
                "improvement": setting["improvement"]["best"]["mean"],
            }
            for setting in self.results["settings"]
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
        """The recommended network, fitted on all rows."""
        return model.Model.load(self.folder / "model")

    def __repr__(self) -> str:
        return f"Study({str(self.folder)!r}: {self.results['verdict']['headline']})"


def study(
    data: Any,
    target: str,
    *,
    out: str | os.PathLike[str] | None = None,
    task: Task | None = None,
    arms: Sequence[str | Arm] | None = None,
    rates: Sequence[float] | None = None,
    folds: int = 5,
    seeds: int = 2,
    hidden: Sequence[int] | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    learning_rate: float = 1e-3,
    seed: int = 0,
    group: str | None = None,
    time: str | None = None,
    sizes: Sequence[int] = (),
    network: str | None = None,
    minutes: float | None = None,
    progress: Callable[[Progress, Plan], None] = lambda progress, plan: None,
    command: str | None = None,
) -> Study:
    """Find out which way to regularise a network helps on a table: dropout, where and at which rate, or another.

    Networks of each arm are trained on the same folds, with the same initial weights, data order and random numbers.
    What an arm leaves open (a rate, a weight decay) is chosen on validation rows and scored on test rows that neither
    training nor choice has seen.

    Args:
        data: path of a CSV or Parquet file, or a pandas or polars data frame.
        target: the column to predict.
        out: folder for the study's files; None makes a temporary one. Finished networks that a study of the same plan
            and data left there are taken over.
        task: "binary", "multiclass" or "regression"; None infers it from the target.
        arms: names of :data:`thinned.studies.design.arms.ARMS`, "cocktail" (the best of all by validation), and
            :class:`~thinned.studies.design.arms.Arm` of your own; None takes all. No regularisation, with and
            without early stopping, is always among them.
        rates: of the arm "dropout", in [0, 1); None takes 0.1, 0.2, ..., 0.8.
        folds: outer test folds.
        seeds: repeats, each with folds, initial weights and data order of its own.
        hidden: widths of the hidden layers; None chooses two of a width that suits the number of rows.
        epochs: training budget; None chooses it by the number of rows.
        batch_size: rows a step; None chooses it by the number of rows.
        learning_rate: of Adam.
        seed: everything random follows from it.
        group: a column that says which rows belong together, as those of one patient: they stay on one side of every
            split. It is no feature.
        time: a column of numbers or dates: every split trains on older rows, validates on later ones and tests on
            those after them. It is no feature. Repeats then differ in initial weights, data order and masks alone.
        sizes: numbers of training rows at which dropout, weight decay and early stopping are measured besides.
        network: ``module:function`` of a network of your own: the function takes the numbers of inputs and outputs and
            gives a module, whose dropout layers are the sites. Such a study leaves no model.
        minutes: no cohort of networks is begun after this time; arms that are not finished by then are left out, and
            the same call goes on with them.
        progress: called as training goes on.
        command: the command line, for the report.

    Returns:
        The finished :class:`Study`.

    Raises:
        InputError: the table, the target, an option or the folder can't be used.
    """
    if minutes is not None and not (isinstance(minutes, int | float) and minutes > 0):
        raise InputError(sentence("minutes must be a number above 0", f"got {minutes!r}"))
    counts = {"folds": folds, "seeds": seeds, "epochs": epochs, "batch_size": batch_size, "seed": seed}
    check_options(rates, hidden, sizes, learning_rate=learning_rate, **counts)
    table = load(data, target, task, folds=folds, group=group, time=time)
    plan = make_plan(
        table,
        arms=arms,
        rates=rates,
        folds=folds,
        seeds=seeds,
        hidden=None if hidden is None else tuple(hidden),
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        seed=seed,
        sizes=sizes,
        network=network,
    )
    folder = Path(tempfile.mkdtemp(prefix="thinned-") if out is None else out)
    with open_store(folder, plan) as store:
        run(table, plan, store, lambda step: progress(step, plan), minutes)
        networks, part = _finished(store.networks(), plan)
        records, shown = [msgspec.to_builtins(network) for network in networks], part.to_dict()
        findings = _findings(table, plan, records, shown, store.seconds / (len(store) * plan.epochs))
        setting = findings["verdict"]["recommended"]["setting"]
        if plan.network is None and model.held_setting(folder / "model") != plan.settings[setting]:
            _refit(table, plan, setting, folder, progress)
        finished = Study(folder, results.seal(_results(table, plan, store, shown, findings, command)))
        with writing():
            write_text(folder / "results.json", json.dumps(finished.results, indent=1, allow_nan=False))
        finished.report()
    return finished


def _findings(
    table: Table, plan: Plan, records: list[dict[str, Any]], shown: dict[str, Any], epoch_seconds: float
) -> dict[str, Any]:
    """What the numbers say: all of ``results.json`` that is computed from the trained networks."""
    splits = make_splits(plan, table)
    share = test_share(splits)
    claimed = {
        "rate": claims.rate(records, shown, share=share),
        "price": claims.price(records, shown, share=share, epoch_seconds=epoch_seconds),
        "sizes": gains(records, shown, [len(split.train) for split in splits]),
        "coadaptation": mechanisms.coadaptation(records, shown, FRACTIONS, share=share),
        "variance_shift": mechanisms.variance_shift(records, shown, share=share),
    }
    return {**analyse(records, shown, table, share=share), "claims": claimed}


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
        seen = f"{len(networks)} of {plan.networks} networks are"
        remedy = "run it again, with more minutes: it goes on where it stopped"
        raise InputError(sentence("no regularisation and another arm must be finished in time", seen, remedy))
    return [network for network in networks if network.setting in finished], part


def _refit(table: Table, plan: Plan, setting: int, folder: Path, progress: Callable[[Progress, Plan], None]) -> None:
    def report_epoch(epoch: int) -> None:
        doing = f"fitting the recommended network on all rows (epoch {epoch} of {plan.epochs})"
        progress(Progress(doing, plan.networks), plan)

    fitted = model.fit(table, TrainingConfig.of_plan(plan), plan.settings[setting], report_epoch)
    with writing():
        fitted.save(folder / "model")


def _results(
    table: Table, plan: Plan, store: Store, shown: dict[str, Any], findings: dict[str, Any], command: str | None
) -> dict[str, Any]:
    """What ``results.json`` holds: nothing in a report comes from anywhere else."""
    counts = pd.Series(table.target).value_counts()
    return {
        "schema": results.SCHEMA,
        "data": {
            "name": table.name,
            "rows": plan.rows,
            "columns": table.features.shape[1],
            "target": table.target_name,
            "task": table.task,
            "classes": {name: int(counts.get(code, 0)) for code, name in enumerate(table.classes)},
            "sha256": table.sha256,
            "read_as": {str(name): kind_of(table.features[name]) for name in table.features.columns},
        },
        "plan": {**plan.to_dict(), "digest": plan.digest},
        "run": {
            "networks": len(store),
            "left_out": [arm.label for arm in plan.arms if arm.name not in {a["name"] for a in shown["arms"]}],
            "seconds": store.seconds,
            "networks_per_second": len(store) / max(store.seconds, 1e-9),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "threads": torch.get_num_threads(),
            "versions": {
                "thinned": thinned.__version__,
                "torch": torch.__version__,
                "python": platform.python_version(),
            },
            "command": command,
        },
        "metrics": {name: METRICS[name]._asdict() for name in findings["arms"][0]["best"]["scores"]},
        "selection": SELECTION[plan.task],
        **findings,
    }
