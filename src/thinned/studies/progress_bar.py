"""A bar on the terminal or in a notebook that shows the state of a study while it trains."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.text import Text

from thinned.studies.design.plan import Plan
from thinned.studies.training.drive import Progress

__all__ = ["ReportProgress", "open_progress", "progress_bar"]

#: called during training with the state of the study and its plan
ReportProgress = Callable[[Progress, Plan], None]


@contextmanager
def progress_bar(doing: str, console: Console) -> Iterator[ReportProgress]:
    """Show a bar while the context lasts. Sentences to keep, such as what the study costs, stay above it.

    Args:
        doing: the task at the start, in words.
        console: where the bar is drawn. A file, or the log of a batch job, gets the sentences, and a line for each
            tenth of the networks.
    """
    if not console.is_terminal:
        yield _lines(console)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[networks]}"),
        TimeRemainingColumn(),
    )
    # what the user's code prints to a file or a notebook stays there
    redirect = console.is_terminal and sys.stdout.isatty()
    with Bar(*columns, console=console, transient=True, redirect_stdout=redirect, redirect_stderr=redirect) as bar:
        task = bar.add_task(doing, total=None, networks="")

        def report(step: Progress, plan: Plan) -> None:
            if step.doing.endswith("."):
                console.print(Text(step.doing), soft_wrap=True)
            else:
                networks = f"{step.networks:.0f}/{plan.networks}"
                bar.update(
                    task, description=step.doing, total=plan.networks, completed=step.networks, networks=networks
                )

        yield report


def _lines(console: Console) -> ReportProgress:
    """The function that writes the sentences, and a line for each task and each tenth of the networks."""
    written = ("", 0)

    def report(step: Progress, plan: Plan) -> None:
        nonlocal written
        if step.doing.endswith("."):
            console.print(Text(step.doing), soft_wrap=True)
            return
        line = (step.doing.partition(" (")[0], int(10 * step.networks / max(plan.networks, 1)))  # without the epoch
        if line != written:
            written = line
            count = f": {step.networks:.0f}/{plan.networks}" if step.networks else ""
            console.print(Text(f"{line[0]}{count}"), soft_wrap=True)

    return report


@contextmanager
def open_progress(progress: bool | ReportProgress) -> Iterator[ReportProgress]:
    """The function that takes the state of a study: the one given, or a bar where somebody can see it.

    Args:
        progress: True draws a bar if standard error is a terminal or belongs to a notebook; False shows nothing; a
            function is called.
    """
    if callable(progress):
        yield progress
        return
    console = _standard_error()
    if progress and console.is_terminal:
        with progress_bar("reading the data", console) as report:
            yield report
    else:
        yield lambda step, plan: None


def _standard_error() -> Console:
    """Standard error. A notebook shows it as a terminal does, without widgets that have to be installed."""
    in_notebook = Console(stderr=True).is_jupyter
    return Console(stderr=True, force_jupyter=False, force_terminal=True if in_notebook else None)
