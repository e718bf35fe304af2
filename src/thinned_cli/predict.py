"""``thinned predict``: predict new rows with the model of a study."""

from pathlib import Path
from typing import Annotated

import typer

from thinned_cli.console import input_errors, print_line
from thinned_cli.extra import need_study_extra
from thinned_cli.options import FolderArgument

__all__ = ["predict_command"]

_File = Annotated[Path, typer.Argument(metavar="FILE", help="A table with the feature columns of the study.")]
_Out = Annotated[
    Path | None,
    typer.Option(metavar="CSV", help="The CSV file to write.  [default: FILE's name with -predicted at its end]"),
]
_Strict = Annotated[bool, typer.Option("--strict", help="Refuse rows that are unlike the study's table.")]


def predict_command(folder: FolderArgument, file: _File, out: _Out = None, strict: _Strict = False) -> None:
    """Predict new rows with the recommended network of a study.

    The output holds FILE's columns, the predicted class with the probability of each, or the predicted value, and the
    uncertainty: how much of it is noise in the data, and how much is disagreement between the networks. What in FILE is
    unlike the study's table (new levels, text for numbers, values far outside the range) is listed here, and in a JSON
    file beside the output.
    """
    need_study_extra()
    from thinned.studies.model.predict_file import predict_file  # noqa: PLC0415 - takes seconds to import

    with input_errors():
        predicted = predict_file(folder, file, out, strict=strict)
    for notice in predicted.notices:
        print_line(f"thinned: {notice.message}", err=True)
    print_line(f"{predicted.rows} rows predicted: {predicted.path}")
