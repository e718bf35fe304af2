"""``thinned study`` and ``thinned demo``: their options."""

from pathlib import Path
from typing import Annotated, Literal, Unpack

import typer

from thinned_cli.extra import need_study_extra
from thinned_cli.network_options import NetworkChoices, expand_options
from thinned_cli.option_sections import NETWORKS, TABLES, WORKERS
from thinned_cli.options import (
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

__all__ = ["demo_command", "study_command"]

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
        "[default: 4 up to 2,000 rows, otherwise 2; with --data 2, or 10 where it holds a test set]",
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
        help="Processes of this machine, or a cluster.  [default: threads; loky for your own network]",
        rich_help_panel=WORKERS,
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
    """Measure on held-out rows whether dropout helps.

    Every arm is one way to regularise. The networks of all arms are trained on the same folds. DIR then holds
    report.html to read, results.json to work with, and, of a table, a model for `thinned predict`.
    """
    need_study_extra()
    from thinned_cli.study_run import Part, Source, Workers, run_study  # noqa: PLC0415 - takes seconds to import

    options: dict[str, object] = {"task": task, "arms": arms, "rates": rates, "folds": folds, "seeds": seeds}
    options |= {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate, "seed": seed}
    options |= {"network": network, "minutes": minutes, "hidden": hidden, "sizes": sizes, "group": group, "time": time}
    options |= {"group_duplicates": group_duplicates or None, "columns": dict(column) if column else None}
    options |= choices
    given = {name: value.where if isinstance(value, Places) else value for name, value in options.items()}
    given = {name: value for name, value in given.items() if value is not None}
    source, workers = Source(file, target, data), Workers(jobs=jobs, engine=engine, address=address)
    run_study(source, out, given, workers, Part(shard, stage, pilot))


def demo_command(
    out: _Out = Path("runs/churn"),
    epochs: EpochsOption = None,
    jobs: _Jobs = None,
    engine: _Engine = None,
    address: _Address = None,
) -> None:
    """Run a study of a bundled table of 5,000 customers.

    They are those of a telephone company, and 707 of them left. It takes one or two minutes.
    """
    need_study_extra()
    from thinned_cli.study_run import Workers, run_demo  # noqa: PLC0415 - takes seconds to import

    run_demo(out, epochs, Workers(jobs=jobs, engine=engine, address=address))
