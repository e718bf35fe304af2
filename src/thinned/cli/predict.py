"""``thinned predict``: predict new rows with the model of a study."""

from pathlib import Path
from typing import Annotated

import typer

from thinned.cli.console import input_errors, print_line
from thinned.cli.extra import need_study_extra
from thinned.cli.options import FolderArgument

__all__ = ["predict_command"]

_File = Annotated[Path, typer.Argument(metavar="FILE", help="A table with the feature columns of the study.")]
_Out = Annotated[
    Path | None,
    typer.Option(metavar="CSV", help="The CSV file to write.  [default: FILE's name with -predicted at its end]"),
]


def predict_command(folder: FolderArgument, file: _File, out: _Out = None) -> None:
    """Predict new rows with the recommended network of a study.

    The output holds FILE's columns, the predicted class with the probability of each, or the predicted value, and the
    uncertainty: how much of it is noise in the data, and how much is disagreement between the networks.
    """
    need_study_extra()
    from thinned.studies.model.predict_file import predict_file  # noqa: PLC0415 - takes seconds to import

    with input_errors():
        written, rows = predict_file(folder, file, out)
    print_line(f"{rows} rows predicted: {written}")
