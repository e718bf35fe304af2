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
from rich.text import Text

from thinned import __version__, datasets
from thinned.cli.audit import audit_command
from thinned.errors import InputError

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
    arms: Annotated[
        str | None,
        typer.Option(metavar="ARM,ARM,...", help="What to compare, as dropout,weight_decay,cocktail  [default: all]"),
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
    sizes: Annotated[
        str | None,
        typer.Option(
            metavar="N,N,...",
            callback=_numbers(int, "numbers of rows"),
            help="Numbers of training rows at which the gain is measured besides, as 250,500,1000",
        ),
    ] = None,
    network: Annotated[
        str | None,
        typer.Option(metavar="MODULE:FUNCTION", help="Your own network: a function of inputs and outputs."),
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(metavar="N", help="Begin no more networks after this time  [default: train all]")
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(metavar="COL", help="Rows of one value of this column are never on two sides of a split."),
    ] = None,
    time: Annotated[
        str | None,
        typer.Option(metavar="COL", help="Train on the past, test on the future, by this column of dates or numbers."),
    ] = None,
) -> None:
    """Measure on held-out rows whether dropout helps, and at which rate.

    Networks without dropout and with each rate are trained on the same folds. The results are in OUT: report.html to
    read, results.json to work with, and a model for `thinned predict`.
    """
    options: dict[str, Any] = {"task": task, "folds": folds, "seeds": seeds, "epochs": epochs, "seed": seed}
    options |= {"network": network, "minutes": minutes}
    options |= {"group": group, "time": time}
    if arms is not None:
        options["arms"] = [part.strip() for part in arms.split(",")]
    if sizes is not None:
        options["sizes"] = tuple(int(part) for part in sizes.split(","))
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
    from thinned.studies.report.terminal import print_study  # noqa: PLC0415 - takes seconds to import

    print_study(finished.results, finished.folder / "report.html", out_console)


Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a finished study.")]


@app.command("report")
def report_command(
    folder: Folder,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="HTML file to write  [default: report.html in DIR]")
    ] = None,
) -> None:
    """Write the report of a finished study anew, from its results.json."""
    from thinned.studies import Study  # noqa: PLC0415 - takes seconds to import

    with _input_errors():
        written = Study.load(folder).report(out)
    out_console.print(Text(f"Report: {written}"), soft_wrap=True)


@app.command()
def predict(
    folder: Folder,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A table with the columns that the study saw.")],
    out: Annotated[
        Path | None, typer.Option(metavar="CSV", help="CSV file to write  [default: FILE with -predicted at its end]")
    ] = None,
) -> None:
    """Predict new rows with the recommended network of a study.

    Writes FILE's columns and the prediction: a probability for each class, the class or value, and how uncertain it is:
    how much of that is noise, and how much is that the networks don't agree.
    """
    from thinned.studies.model.predict_file import predict_file  # noqa: PLC0415 - takes seconds to import

    with _input_errors():
        written, rows = predict_file(folder, file, out)
    out_console.print(Text(f"{rows} rows predicted: {written}"), soft_wrap=True)


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a finished study.")],
    file: Annotated[Path, typer.Argument(metavar="ONNX", help="The file to write.")],
) -> None:
    """Write the recommended network of a study as an ONNX file, checked against onnxruntime.

    Its input are encoded rows, as Model.encode gives them in Python: the encoding of the columns is not part of it.
    """
    from thinned.studies.model.model import Model  # noqa: PLC0415 - takes seconds to import

    with _input_errors():
        model = Model.load(folder / "model")
        try:
            difference = model.export_onnx(file)
        except ImportError as error:
            err_console.print(Text(f"thinned: {error}"), soft_wrap=True)
            raise typer.Exit(2) from None
    text = f"{model.card.members} networks of {model.card.inputs} encoded columns: {file}"
    out_console.print(Text(f"{text} (onnxruntime differs by at most {difference:.1e})"), soft_wrap=True)


@app.command()
def explain(
    out: Annotated[Path, typer.Option(metavar="FILE", help="The page; a file of that name is overwritten.")] = Path(
        "explain.html"
    ),
) -> None:
    """Write a page that shows what dropout does on a network of four hidden units, to be played with offline."""
    from thinned.explain import write  # noqa: PLC0415 - takes seconds to import

    with _input_errors():
        written = write(out)
    out_console.print(Text(f"Page: {written}"), soft_wrap=True)


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
