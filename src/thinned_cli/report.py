"""``thinned report``: write the report of a finished study again."""

from pathlib import Path
from typing import Annotated

import typer

from thinned_cli.console import input_errors, print_line
from thinned_cli.extra import need_study_extra
from thinned_cli.options import FolderArgument

__all__ = ["report_command"]

_Out = Annotated[
    Path | None, typer.Option(metavar="FILE", help="The HTML file to write.  [default: report.html in DIR]")
]


def report_command(folder: FolderArgument, out: _Out = None) -> None:
    """Write the report of a finished study again.

    All it needs is results.json.
    """
    need_study_extra()
    from thinned.studies import Study  # noqa: PLC0415 - takes seconds to import

    with input_errors():
        written = Study.load(folder).report(out)
    print_line(f"Report: {written}")
