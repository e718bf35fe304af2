"""``thinned merge``: put the stores of shards together."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from thinned_cli.console import input_errors, print_line
from thinned_cli.extra import need_study_extra

__all__ = ["merge_command"]

_Folders = Annotated[list[Path], typer.Argument(metavar="DIR...", help="Folders of `thinned study --shard`.")]
_Out = Annotated[Path, typer.Option(metavar="DIR", help="Folder for the results. It is new, or empty.")]
_Table = Annotated[
    Path | None, typer.Option(metavar="FILE", help="The table.  [default: the file that the shards were given]")
]


def merge_command(folders: _Folders, out: _Out, table: _Table = None) -> None:
    """Put the networks of all shards together.

    The study is then analysed, and DIR holds what `thinned study` leaves. Shards of stage pilot make the folder that
    stage confirm needs. Shards of examples and a network of your own take these from where `thinned study` found them.
    """
    need_study_extra()
    from rich.console import Console  # noqa: PLC0415

    from thinned.errors import InputError, sentence  # noqa: PLC0415
    from thinned.studies.network_shards import is_network_shard, merge_network_shards  # noqa: PLC0415 - takes seconds
    from thinned.studies.report.terminal import print_study  # noqa: PLC0415
    from thinned.studies.shards import merge_shards  # noqa: PLC0415

    command = shlex.join(["thinned", *sys.argv[1:]])
    with input_errors():
        if not is_network_shard(folders[0]):
            merged = merge_shards(folders, out=out, data=table, command=command)
        elif table is not None:
            raise InputError(sentence("--table must come with the shards of a table", f"got {table}", "leave it out"))
        else:
            networks, found = merge_network_shards(folders, out=out, command=command)
            if found is None:
                text = f"The pilot is complete: {out} holds its {networks} networks."
                print_line(f"{text} Stage confirm follows: --stage confirm --pilot {shlex.quote(str(out))}")
                return
            merged = found
    print_study(merged.results, merged.folder / "report.html", Console())
