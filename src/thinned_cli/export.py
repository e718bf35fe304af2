"""``thinned export``: write the model of a study as ONNX."""

from pathlib import Path
from typing import Annotated

import typer

from thinned_cli.console import exit_with_sentence, input_errors, print_line
from thinned_cli.extra import need_study_extra
from thinned_cli.options import FolderArgument

__all__ = ["export_command"]

_File = Annotated[Path, typer.Argument(metavar="ONNX", help="The file to write.")]


def export_command(folder: FolderArgument, file: _File) -> None:
    """Write the recommended network of a study as an ONNX file.

    It is checked with onnxruntime. The graph takes rows that `Model.encode` has encoded in Python; the encoding of
    columns is not part of it.
    """
    need_study_extra()
    from thinned.studies.model.model import Model  # noqa: PLC0415 - takes seconds to import

    with input_errors():
        model = Model.load(folder / "model")
        try:
            difference = model.export_onnx(file)
        except ImportError as error:
            raise exit_with_sentence(f"thinned: {error}") from None
    networks = f"{model.metadata.members} networks of {model.metadata.inputs} encoded columns"
    print_line(f"{networks}: {file} (onnxruntime differs by at most {difference:.1e})")
