"""``thinned compare``: show two finished studies side by side."""

from pathlib import Path
from typing import Annotated

import typer

from thinned.cli.console import input_errors, out_console, print_line
from thinned.cli.extra import need_study_extra
from thinned.cli.options import FolderArgument

__all__ = ["compare_command"]

_Out = Annotated[Path | None, typer.Option(metavar="FILE", help="An HTML file to write as well.")]


def compare_command(first: FolderArgument, second: FolderArgument, out: _Out = None) -> None:
    """Show two finished studies side by side: plans, verdicts, arms, and whether they can be compared."""
    need_study_extra()
    from thinned import pages  # noqa: PLC0415 - takes seconds to import
    from thinned.studies.analysis.compare_studies import side_by_side  # noqa: PLC0415
    from thinned.studies.report.html import render_comparison  # noqa: PLC0415
    from thinned.studies.report.terminal import print_comparison  # noqa: PLC0415
    from thinned.studies.results import read  # noqa: PLC0415

    with input_errors():
        studies = read(first), read(second)
        compared = side_by_side(*studies)
        print_comparison(compared, studies, out_console)
        if out is not None:
            print_line(f"\nPage: {pages.write(out, render_comparison(compared, studies))}")
