"""``thinned study`` and ``thinned demo``: run a study."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypedDict

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from thinned import datasets
from thinned.cli.console import err_console, exit_with_sentence, input_errors, out_console, print_line
from thinned.cli.extra import need_study_extra
from thinned.cli.options import (
    ColumnKind,
    EpochsOption,
    Integers,
    Names,
    Numbers,
    parse_column,
    parse_names,
    parse_rates,
    parse_sizes,
    parse_widths,
)

if TYPE_CHECKING:
    from thinned.studies.design.options import OptionKeywords
    from thinned.studies.design.plan import Plan
    from thinned.studies.training.drive import Progress as StudyProgress

__all__ = ["demo_command", "study_command"]


class _Workers(TypedDict):
    jobs: int | None
    engine: Literal["loky", "ray", "dask"] | None
    address: str | None


_Out = Annotated[
    Path,
    typer.Option(
        metavar="DIR", help="Folder for the results. It is new, empty, or holds the same study, which then continues."
    ),
]
_File = Annotated[Path, typer.Argument(metavar="FILE", help="A CSV or Parquet file with one row for each example.")]
_Target = Annotated[str, typer.Option(metavar="COL", help="The column to predict.")]
_Task = Annotated[
    Literal["binary", "multiclass", "regression"] | None,
    typer.Option(help="Kind of prediction.  [default: inferred from the target]"),
]
_Arms = Annotated[
    Names | None,
    typer.Option(
        metavar="ARM,ARM,...", parser=parse_names, help="Arms to compare, as dropout,weight_decay.  [default: all]"
    ),
]
_Rates = Annotated[
    Numbers | None,
    typer.Option(metavar="P,P,...", parser=parse_rates, help="Dropout rates to try.  [default: 0.1,0.2,...,0.8]"),
]
_Hidden = Annotated[
    Integers | None,
    typer.Option(
        metavar="N,N,...",
        parser=parse_widths,
        help="Widths of the hidden layers, as 64,64.  [default: two layers, chosen by the number of rows]",
    ),
]
_Folds = Annotated[int, typer.Option(metavar="N", help="Number of test folds.")]
_Seeds = Annotated[
    int, typer.Option(metavar="N", help="Number of repeats. Each has its own folds and initial weights.")
]
_BatchSize = Annotated[
    int | None,
    typer.Option(metavar="N", help="Rows of a training step.  [default: chosen by the number of rows]"),
]
_LearningRate = Annotated[float, typer.Option(metavar="X", help="Adam's learning rate.")]
_Seed = Annotated[int, typer.Option(metavar="N", help="Seed of everything random.")]
_Sizes = Annotated[
    Integers | None,
    typer.Option(
        metavar="N,N,...",
        parser=parse_sizes,
        help="Numbers of training rows at which the gain is measured as well, as 250,500,1000.",
    ),
]
_Network = Annotated[
    str | None,
    typer.Option(
        metavar="MODULE:FUNCTION",
        help="A function that takes the numbers of inputs and outputs and returns your network.",
    ),
]
_Minutes = Annotated[
    float | None, typer.Option(metavar="N", help="Start no more networks after this time.  [default: train all]")
]
_Group = Annotated[
    str | None, typer.Option(metavar="COL", help="Keep all rows with one value of this column on one side of a split.")
]
_GroupDuplicates = Annotated[
    bool, typer.Option("--group-duplicates", help="Keep copies of a row on one side of every split.")
]
_Columns = Annotated[
    list[ColumnKind] | None,
    typer.Option(
        "--column",
        metavar="NAME=KIND",
        parser=parse_column,
        help="Read a column as number, level, text, date:day-first or date:month-first, or drop it; "
        "repeat for several.",
    ),
]
_Time = Annotated[
    str | None,
    typer.Option(metavar="COL", help="Train on the past and test on the future, by this column of dates or numbers."),
]
_Jobs = Annotated[
    int | None,
    typer.Option(metavar="N", help="Cohorts trained at a time, each on one core; -1 is one a core.  [default: all]"),
]
_Engine = Annotated[
    Literal["loky", "ray", "dask"] | None,
    typer.Option(help="What runs them: processes of this machine, or a cluster.  [default: loky]"),
]
_Address = Annotated[
    str | None,
    typer.Option(metavar="HOST:PORT", help="A Ray or Dask cluster.  [default: workers on this machine]"),
]
_Shard = Annotated[
    str | None,
    typer.Option(metavar="N/PARTS", help="Train one share of the networks, as 3/16; see `thinned merge`."),
]


def study_command(
    file: _File,
    target: _Target,
    out: _Out,
    task: _Task = None,
    arms: _Arms = None,
    rates: _Rates = None,
    folds: _Folds = 5,
    seeds: _Seeds = 2,
    hidden: _Hidden = None,
    epochs: EpochsOption = None,
    batch_size: _BatchSize = None,
    learning_rate: _LearningRate = 1e-3,
    seed: _Seed = 0,
    sizes: _Sizes = None,
    network: _Network = None,
    minutes: _Minutes = None,
    group: _Group = None,
    time: _Time = None,
    group_duplicates: _GroupDuplicates = False,
    column: _Columns = None,
    jobs: _Jobs = None,
    engine: _Engine = None,
    address: _Address = None,
    shard: _Shard = None,
) -> None:
    """Measure on held-out rows whether dropout helps, and at which rate.

    Every arm is one way to regularise. The networks of all arms are trained on the same folds. DIR then holds
    report.html to read, results.json to work with, and a model for `thinned predict`.
    """
    need_study_extra()
    options: OptionKeywords = {
        "task": task,
        "arms": arms,
        "rates": rates,
        "folds": folds,
        "seeds": seeds,
        "hidden": hidden,
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "seed": seed,
        "sizes": sizes or (),
        "network": network,
        "minutes": minutes,
        "group": group,
        "time": time,
        "group_duplicates": group_duplicates,
        "columns": dict(column or []),
    }
    _run(file, target, out, options, {"jobs": jobs, "engine": engine, "address": address}, shard)


def demo_command(
    out: _Out = Path("runs/churn"),
    epochs: EpochsOption = None,
    jobs: _Jobs = None,
    engine: _Engine = None,
    address: _Address = None,
) -> None:
    """Run a study of the bundled churn table: 5,000 customers, 707 of whom left."""
    need_study_extra()
    print_line("Does dropout help a network that predicts which of 5,000 customers leave?")
    _run(None, "churn", out, {"epochs": epochs}, {"jobs": jobs, "engine": engine, "address": address})


def _run(
    file: Path | None,
    target: str,
    out: Path,
    options: "OptionKeywords",
    workers: _Workers,
    shard: str | None = None,
) -> None:
    from thinned.studies import finished_networks, study  # noqa: PLC0415 - takes seconds, for which --help need not wait
    from thinned.studies.report.terminal import print_study  # noqa: PLC0415
    from thinned.studies.shards import train_shard  # noqa: PLC0415

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total}"),
        TimeRemainingColumn(),
    )
    with input_errors(), Progress(*columns, console=err_console, transient=True) as bar:
        task = bar.add_task("reading the table", total=None)

        def progress(step: "StudyProgress", plan: "Plan") -> None:
            bar.update(task, description=step.doing, total=plan.networks, completed=step.networks)

        command = shlex.join(["thinned", *sys.argv[1:]])
        data = datasets.churn() if file is None else file
        try:
            if shard is not None:
                count = train_shard(data, target, shard, out=out, progress=progress, **workers, **options)
                bar.stop()
                text = f"Shard {shard}: {out} holds {count} finished networks. `thinned merge` puts shards together."
                print_line(text)
                return
            finished = study(data, target, out=out, progress=progress, command=command, **workers, **options)
        except KeyboardInterrupt:
            bar.stop()
            text = f"Stopped. {out} holds {finished_networks(out)} finished networks; the same command continues there."
            raise exit_with_sentence(text, 130) from None
    print_study(finished.results, finished.folder / "report.html", out_console)
