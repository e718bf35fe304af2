"""The command line: exit code 0 when done, 1 for findings, 2 for input that can't be used, 130 when interrupted."""

import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table as RichTable
from rich.text import Text

from thinned import __version__, datasets
from thinned._checks import InputError
from thinned.audit_command import audit_command

__all__ = ["app"]

app = typer.Typer(
    help="Does dropout help your network, on your data? `thinned study` measures it; `thinned demo` shows how.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
out_console, err_console = Console(), Console(stderr=True)

Out = Annotated[
    Path,
    typer.Option(metavar="DIR", help="Folder for the results; new, empty, or of the same study, which then goes on."),
]
Epochs = Annotated[
    int | None, typer.Option(metavar="N", help="Training budget of every network  [default: by the number of rows]")
]


def _numbers(kind: Callable[[str], Any], what: str) -> Callable[[str | None], str | None]:
    """An option that is a list of numbers, checked when the command line is read."""

    def check(text: str | None) -> str | None:
        try:
            [kind(part) for part in text.split(",")] if text is not None else []
        except ValueError:
            raise typer.BadParameter(f"give {what} separated by commas, got {text!r}") from None
        return text

    return check


@contextmanager
def _input_errors() -> Iterator[None]:
    """Bad input is one sentence and exit code 2."""
    try:
        yield
    except InputError as error:
        err_console.print(Text(f"thinned: {error}"), soft_wrap=True)
        raise typer.Exit(2) from None


@app.command("study")
def study_command(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A table: CSV or Parquet, one row an example, one column to predict.")
    ],
    target: Annotated[str, typer.Option(metavar="COL", help="The column to predict.")],
    out: Out,
    task: Annotated[
        Literal["binary", "multiclass", "regression"] | None, typer.Option(help="  [default: told from the target]")
    ] = None,
    rates: Annotated[
        str | None,
        typer.Option(
            metavar="P,P,...",
            callback=_numbers(float, "rates"),
            help="Dropout rates to try  [default: 0.1,0.2,...,0.8]",
        ),
    ] = None,
    hidden: Annotated[
        str | None,
        typer.Option(
            metavar="N,N,...",
            callback=_numbers(int, "widths"),
            help="Hidden layers, as 64,64  [default: two, by the number of rows]",
        ),
    ] = None,
    folds: Annotated[int, typer.Option(metavar="N", help="Test folds.")] = 5,
    seeds: Annotated[int, typer.Option(metavar="N", help="Repeats, each with new folds and initial weights.")] = 2,
    epochs: Epochs = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Everything random follows from this number.")] = 0,
) -> None:
    """Measure on held-out rows whether dropout helps, and at which rate.

    Networks without dropout and with each rate are trained on the same folds. The results are in OUT: report.html to
    read, results.json to work with, and a model for `thinned predict`.
    """
    options: dict[str, Any] = {"task": task, "folds": folds, "seeds": seeds, "epochs": epochs, "seed": seed}
    if rates is not None:
        options["rates"] = tuple(float(part) for part in rates.split(","))
    if hidden is not None:
        options["hidden"] = tuple(int(part) for part in hidden.split(","))
    _run(file, target, out, options)


@app.command()
def demo(out: Out = Path("runs/churn"), epochs: Epochs = None) -> None:
    """Run the study on the bundled churn data: 5,000 customers, 707 of whom left."""
    out_console.print("Does dropout help a network that predicts which of 5,000 customers leave?")
    _run(None, "churn", out, {"epochs": epochs})


def _run(file: Path | None, target: str, out: Path, options: dict[str, Any]) -> None:
    from thinned.studies import finished_networks, study  # noqa: PLC0415 - takes seconds, which `thinned --help` need not wait for

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total}"),
        TimeRemainingColumn(),
    )
    with _input_errors(), Progress(*columns, console=err_console, transient=True) as bar:
        task = bar.add_task("reading the table", total=None)

        def progress(step: Any, plan: Any) -> None:
            bar.update(task, description=step.doing, total=plan.networks, completed=step.networks)

        try:
            data = datasets.churn() if file is None else file
            finished = study(
                data, target, out=out, progress=progress, command=shlex.join(["thinned", *sys.argv[1:]]), **options
            )
        except KeyboardInterrupt:
            bar.stop()
            kept = finished_networks(out)
            text = f"Stopped. {kept} finished networks are kept in {out}; the same command goes on from there."
            err_console.print(Text(text), soft_wrap=True)
            raise typer.Exit(130) from None
    _print(finished)


def _print(finished: Any) -> None:
    results = finished.results
    run, metrics = results["run"], results["metrics"]
    shown = list(metrics)[:3]
    table = RichTable(box=None, pad_edge=False)
    for heading in ("", *(metrics[name]["label"] for name in shown), "chosen in"):
        table.add_column(heading, justify="right" if heading else "left")
    splits = results["comparison"]["best"]["splits"]
    for arm in results["arms"]:
        values = (f"{arm['best']['scores'][name]['mean']:.4f}" for name in shown)
        table.add_row(arm["name"], *values, f"{arm['chosen_in']['best']} of {splits}" if arm["rate"] else "")
    out_console.print(
        f"\n{run['networks']} networks in {run['seconds']:.0f} s; means over {splits} held-out test folds:\n"
    )
    out_console.print(table)
    out_console.print(Text(f"\n{results['verdict']['headline']}", style="bold"))
    out_console.print(Text(results["verdict"]["detail"]))
    out_console.print(Text(f"\nReport: {finished.folder / 'report.html'}"), soft_wrap=True)


@app.command()
def predict(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a finished study.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A table with the columns that the study saw.")],
    out: Annotated[
        Path | None, typer.Option(metavar="CSV", help="CSV file to write  [default: FILE with -predicted at its end]")
    ] = None,
) -> None:
    """Predict new rows with the recommended network of a study.

    Writes FILE's columns and the prediction: a probability for each class, and the class or value.
    """
    from thinned.studies.predicting import predict_file  # noqa: PLC0415 - takes seconds to import

    with _input_errors():
        written, rows = predict_file(folder, file, out)
    out_console.print(Text(f"{rows} rows predicted: {written}"), soft_wrap=True)


app.command("audit")(audit_command)


def _version(show: bool) -> None:
    if show:
        out_console.print(f"thinned {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass
