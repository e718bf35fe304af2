"""``thinned merge``: put the stores of shards together."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from thinned.cli.console import input_errors, out_console
from thinned.cli.extra import need_study_extra

__all__ = ["merge_command"]

_Folders = Annotated[list[Path], typer.Argument(metavar="DIR...", help="Folders of `thinned study --shard`.")]
_Out = Annotated[Path, typer.Option(metavar="DIR", help="Folder for the results. It is new, or empty.")]
_Table = Annotated[
    Path | None, typer.Option(metavar="FILE", help="The table.  [default: the file that the shards were given]")
]


def merge_command(folders: _Folders, out: _Out, table: _Table = None) -> None:
    """Put the networks of all shards of a study together, analyse them and write the report and the model."""
    need_study_extra()
    from thinned.studies.report.terminal import print_study  # noqa: PLC0415 - takes seconds to import
    from thinned.studies.shards import merge_shards  # noqa: PLC0415

    with input_errors():
        command = shlex.join(["thinned", *sys.argv[1:]])
        merged = merge_shards(folders, out=out, data=table, command=command)
    print_study(merged.results, merged.folder / "report.html", out_console)
