"""The two streams of the terminal; errors as sentences, and the progress of a study, on the second."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from thinned.errors import InputError

if TYPE_CHECKING:
    from thinned.studies.api import ReportProgress
    from thinned.studies.design.plan import Plan
    from thinned.studies.training.drive import Progress as StudyProgress

__all__ = ["err_console", "exit_with_sentence", "input_errors", "out_console", "print_line", "study_progress"]

out_console, err_console = Console(), Console(stderr=True)


def print_line(text: str, console: Console = out_console) -> None:
    """Print plain text, wrapped by the terminal alone."""
    console.print(Text(text), soft_wrap=True)


def exit_with_sentence(text: str, code: int = 2) -> typer.Exit:
    """Print an error and return the exception that ends the program."""
    print_line(text, err_console)
    return typer.Exit(code)


@contextmanager
def input_errors() -> Iterator[None]:
    """Print an input that can't be used as one sentence, and exit with code 2."""
    try:
        yield
    except InputError as error:
        raise exit_with_sentence(f"thinned: {error}") from None


@contextmanager
def study_progress(out: Path, doing: str) -> Iterator["ReportProgress"]:
    """A bar that shows the state of a study, while it lasts; errors and Ctrl-C end it in one sentence."""
    from thinned.studies import finished_networks  # noqa: PLC0415 - takes seconds, for which --help need not wait

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total}"),
        TimeRemainingColumn(),
    )
    with input_errors(), Progress(*columns, console=err_console, transient=True) as bar:
        task = bar.add_task(doing, total=None)

        def progress(step: "StudyProgress", plan: "Plan") -> None:
            if step.doing.endswith("."):  # a sentence to keep, such as what the study costs
                print_line(step.doing, bar.console)
            else:
                bar.update(task, description=step.doing, total=plan.networks, completed=step.networks)

        try:
            yield progress
        except KeyboardInterrupt:
            bar.stop()
            text = f"Stopped. {out} holds {finished_networks(out)} finished networks; the same command continues there."
            raise exit_with_sentence(text, 130) from None
