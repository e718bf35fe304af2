"""``thinned study`` and ``thinned demo``: run a study."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple, TypedDict, Unpack, cast

import typer

from thinned import datasets
from thinned.cli.console import input_errors, out_console, print_line, study_progress
from thinned.cli.extra import need_study_extra
from thinned.cli.network_options import NetworkChoices, expand_options
from thinned.cli.option_sections import NETWORKS, TABLES, WORKERS
from thinned.cli.options import (
    ColumnKind,
    EpochsOption,
    Integers,
    Names,
    Numbers,
    Places,
    parse_column,
    parse_names,
    parse_rates,
    parse_sizes,
    parse_widths,
)
from thinned.errors import InputError, sentence

if TYPE_CHECKING:
    from thinned.studies.design.options import OptionKeywords
    from thinned.studies.design.own_network.options import NetworkKeywords

__all__ = ["demo_command", "study_command"]


class _Workers(TypedDict):
    jobs: int | None
    engine: Literal["loky", "ray", "dask"] | None
    address: str | None


class _Part(NamedTuple):
    """The share of a study that is trained, of which stage, and the folder of the pilot; all None for the whole."""

    shard: str | None = None
    stage: Literal["pilot", "confirm"] | None = None
    pilot: Path | None = None


class _Source(NamedTuple):
    """Where the examples of a study come from: a table and a column of it, or an import path of examples."""

    file: Path | None
    target: str | None
    data: str | None


_Out = Annotated[
    Path,
    typer.Option(
        metavar="DIR", help="Folder for the results. It is new, empty, or holds the same study, which then continues."
    ),
]
_File = Annotated[
    Path | None, typer.Argument(metavar="[FILE]", help="A CSV or Parquet file with one row for each example.")
]
_Target = Annotated[
    str | None, typer.Option(metavar="COL", help="The column of FILE to predict.", rich_help_panel=TABLES)
]
_Data = Annotated[
    str | None,
    typer.Option(
        metavar="MODULE:NAME",
        help="In place of FILE: examples of any kind, as (x, y) or a dataset, or a function that returns them.",
        rich_help_panel=NETWORKS,
    ),
]
_Task = Annotated[
    Literal["binary", "multiclass", "regression", "multilabel", "tokens", "other"] | None,
    typer.Option(help="Kind of prediction; the last three with --data.  [default: inferred from the target]"),
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
        rich_help_panel=TABLES,
    ),
]
_Folds = Annotated[int, typer.Option(metavar="N", help="Number of test folds.")]
_Seeds = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Number of repeats. Each has its own folds and initial weights.  "
        "[default: 2, or 10 where --data holds a test set]",
    ),
]
_BatchSize = Annotated[
    int | None,
    typer.Option(metavar="N", help="Rows of a training step.  [default: chosen by the number of rows]"),
]
_LearningRate = Annotated[float, typer.Option(metavar="X", help="Learning rate of Adam, or of AdamW with --data.")]
_Seed = Annotated[int, typer.Option(metavar="N", help="Seed of everything random.")]
_Sizes = Annotated[
    Integers | None,
    typer.Option(
        metavar="N,N,...",
        parser=parse_sizes,
        help="Numbers of training rows at which the gain is measured as well, as 250,500,1000.",
        rich_help_panel=TABLES,
    ),
]
_Network = Annotated[
    str | None,
    typer.Option(
        metavar="MODULE:FUNCTION",
        help="A function that returns your network. For a table it takes the numbers of inputs and outputs.",
    ),
]
_Minutes = Annotated[
    float | None,
    typer.Option(
        metavar="N",
        help="Start no more networks after this time; with --data, choose a design that fits it.  [default: train all]",
    ),
]
_Group = Annotated[
    str | None,
    typer.Option(
        metavar="COL",
        help="Keep all rows with one value of this column on one side of a split.",
        rich_help_panel=TABLES,
    ),
]
_GroupDuplicates = Annotated[
    bool,
    typer.Option("--group-duplicates", help="Keep copies of a row on one side of every split.", rich_help_panel=TABLES),
]
_Columns = Annotated[
    list[ColumnKind] | None,
    typer.Option(
        "--column",
        metavar="NAME=KIND",
        parser=parse_column,
        help="Read a column as number, level, text, date:day-first or date:month-first, or drop it; "
        "repeat for several.",
        rich_help_panel=TABLES,
    ),
]
_Time = Annotated[
    str | None,
    typer.Option(
        metavar="COL|PATH",
        help="Train on the past and test on the future, by this column of dates or numbers. With "
        "--data: MODULE:NAME of an array, or of a function that returns it.",
    ),
]
_Jobs = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Cohorts trained at a time, each on one core; -1 is one a core.  [default: all]",
        rich_help_panel=WORKERS,
    ),
]
_Engine = Annotated[
    Literal["loky", "ray", "dask"] | None,
    typer.Option(
        help="What runs them: processes of this machine, or a cluster.  [default: loky]", rich_help_panel=WORKERS
    ),
]
_Address = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT", help="A Ray or Dask cluster.  [default: workers on this machine]", rich_help_panel=WORKERS
    ),
]
_Shard = Annotated[
    str | None,
    typer.Option(
        metavar="N/PARTS",
        help="Train one share of the networks, as 3/16; see `thinned merge`.",
        rich_help_panel=WORKERS,
    ),
]
_Stage = Annotated[
    Literal["pilot", "confirm"] | None,
    typer.Option(
        help="With --data and --shard, the stage that is trained: pilot, merge, then confirm.", rich_help_panel=WORKERS
    ),
]
_Pilot = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="With --stage confirm, the folder of the merged pilot.", rich_help_panel=WORKERS),
]


@expand_options
def study_command(
    out: _Out,
    file: _File = None,
    target: _Target = None,
    data: _Data = None,
    network: _Network = None,
    task: _Task = None,
    arms: _Arms = None,
    rates: _Rates = None,
    folds: _Folds = 5,
    seeds: _Seeds = None,
    hidden: _Hidden = None,
    epochs: EpochsOption = None,
    batch_size: _BatchSize = None,
    learning_rate: _LearningRate = 1e-3,
    seed: _Seed = 0,
    sizes: _Sizes = None,
    minutes: _Minutes = None,
    group: _Group = None,
    time: _Time = None,
    group_duplicates: _GroupDuplicates = False,
    column: _Columns = None,
    jobs: _Jobs = None,
    engine: _Engine = None,
    address: _Address = None,
    shard: _Shard = None,
    stage: _Stage = None,
    pilot: _Pilot = None,
    **choices: Unpack[NetworkChoices],
) -> None:
    """Measure on held-out rows whether dropout helps, and at which rate.

    Every arm is one way to regularise. The networks of all arms are trained on the same folds. DIR then holds
    report.html to read, results.json to work with, and, of a table, a model for `thinned predict`.
    """
    need_study_extra()
    options: dict[str, object] = {"task": task, "arms": arms, "rates": rates, "folds": folds, "seeds": seeds}
    options |= {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate, "seed": seed}
    options |= {"network": network, "minutes": minutes, "hidden": hidden, "sizes": sizes, "group": group, "time": time}
    options |= {"group_duplicates": group_duplicates or None, "columns": dict(column) if column else None}
    options |= choices
    given = {name: value.where if isinstance(value, Places) else value for name, value in options.items()}
    given = {name: value for name, value in given.items() if value is not None}
    source, workers = _Source(file, target, data), _Workers(jobs=jobs, engine=engine, address=address)
    part = _Part(shard, stage, pilot)
    if data is None:
        _study_table(source, out, cast("OptionKeywords", given), workers, part)
    else:
        _study_network(source, out, given, workers, part)


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
    _train_table(
        datasets.churn(), "churn", out, {"epochs": epochs}, _Workers(jobs=jobs, engine=engine, address=address)
    )


def _study_table(source: _Source, out: Path, options: "OptionKeywords", workers: _Workers, part: _Part) -> None:
    with input_errors():
        if source.file is None:
            value = "got no FILE and no --data"
            remedy = "pass FILE and --target, or --data and --network"
            raise InputError(sentence("a study needs a table, or examples of any kind", value, remedy))
        if source.target is None:
            raise InputError(sentence("a study of a table needs --target", "got none", "name the column to predict"))
        if part.stage is not None or part.pilot is not None:
            raise InputError(sentence("--stage and --pilot must come with --data", "got a table", "leave them out"))
    _train_table(source.file, source.target, out, options, workers, part.shard)


def _train_table(
    table: object, target: str, out: Path, options: "OptionKeywords", workers: _Workers, shard: str | None = None
) -> None:
    from thinned.studies import study  # noqa: PLC0415 - takes seconds, for which --help need not wait
    from thinned.studies.report.terminal import print_study  # noqa: PLC0415
    from thinned.studies.shards import train_shard  # noqa: PLC0415

    with study_progress(out, "reading the table") as progress:
        if shard is not None:
            count = train_shard(table, target, shard, out=out, progress=progress, **workers, **options)
        else:
            finished = study(table, target, out=out, progress=progress, command=_command(), **workers, **options)
    if shard is not None:
        _print_shard(shard, out, count)
    else:
        print_study(finished.results, finished.folder / "report.html", out_console)


def _study_network(source: _Source, out: Path, options: dict[str, object], workers: _Workers, part: _Part) -> None:
    with input_errors():
        _check_examples(source, options, part)
    from thinned.studies import study  # noqa: PLC0415 - takes seconds, for which --help need not wait
    from thinned.studies.report.terminal import print_study  # noqa: PLC0415

    network = str(options["network"])
    others = cast("NetworkKeywords", {name: value for name, value in options.items() if name != "network"})
    if part.shard is not None:
        _train_network_shard(source.data, network, out, others, workers, part)
        return
    with study_progress(out, "reading the examples") as progress:
        finished = study(
            source.data, network=network, out=out, progress=progress, command=_command(), **workers, **others
        )
    print_study(finished.results, finished.folder / "report.html", out_console)


def _train_network_shard(
    data: object, network: str, out: Path, options: "NetworkKeywords", workers: _Workers, part: _Part
) -> None:
    from thinned.studies.network_shards import train_network_shard  # noqa: PLC0415 - takes seconds

    with study_progress(out, "reading the examples") as progress:
        count = train_network_shard(
            data,
            network,
            str(part.shard),
            out=out,
            stage=part.stage,
            pilot=part.pilot,
            progress=progress,
            **workers,
            **options,
        )
    _print_shard(str(part.shard), out, count)


def _print_shard(shard: str, out: Path, count: int) -> None:
    print_line(f"Shard {shard}: {out} holds {count} finished networks. `thinned merge` puts shards together.")


def _check_examples(source: _Source, options: dict[str, object], part: _Part) -> None:
    """Refuse what has no meaning for examples.

    Raises:
        InputError: a table or a column is named as well, no network is, or a stage without a shard.
    """
    if source.file is not None:
        raise InputError(sentence("a study has a table or --data", f"got {source.file} and --data", "leave one out"))
    for name, value in (("target", source.target), ("group", options.get("group"))):
        if value is not None:
            remedy = "leave it out" if name == "target" else "pass --groups MODULE:NAME"
            raise InputError(sentence(f"--{name} must name a column of a table", "got --data", remedy))
    if "network" not in options:
        remedy = "pass --network MODULE:FUNCTION, which returns it"
        raise InputError(sentence("a study of --data needs a network", "got none", remedy))
    for name, value in (("stage", part.stage), ("pilot", part.pilot)):
        if value is not None and part.shard is None:
            remedy = "leave it out: without shards both stages are trained"
            raise InputError(sentence(f"--{name} must come with --shard", f"got {value}", remedy))


def _command() -> str:
    return shlex.join(["thinned", *sys.argv[1:]])
