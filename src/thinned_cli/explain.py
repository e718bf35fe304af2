"""``thinned explain``: write the page that shows dropout at work."""

from pathlib import Path
from typing import Annotated

import typer

from thinned_cli.console import input_errors, print_line
from thinned_cli.extra import need_study_extra

__all__ = ["explain_command"]

_Out = Annotated[Path, typer.Option(metavar="FILE", help="The page to write; a file of that name is overwritten.")]


def explain_command(out: _Out = Path("explain.html")) -> None:
    """Write an interactive page that shows what dropout does.

    The network in it has four hidden units. The page works offline.
    """
    need_study_extra()
    from thinned.explain import write  # noqa: PLC0415 - takes seconds to import

    with input_errors():
        written = write(out)
    print_line(f"Page: {written}")
