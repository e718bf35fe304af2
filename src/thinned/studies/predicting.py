"""Predictions for a file of new rows."""

from pathlib import Path
from typing import Any

from thinned._checks import InputError, sentence
from thinned.studies.model import Model
from thinned.studies.reading import read_cells
from thinned.studies.store import write_text

__all__ = ["predict_file"]


def predict_file(folder: Path, file: Path, out: Path | None = None) -> tuple[Path, int]:
    """Write a CSV of the rows of ``file``, their cells unchanged, with predictions beside them.

    Returns where it is, and the number of rows.

    Classification adds ``probability_CLASS`` for each class and ``predicted``, regression adds ``predicted``.

    Raises:
        InputError: the folder, the file or a column can't be used, or the output exists already.
    """
    model = Model.load(folder / "model")
    cells, separator, decimal = read_cells(file)
    target = out or file.with_name(f"{file.name.removesuffix(file.suffix)}-predicted.csv")
    if target.exists():
        raise InputError(sentence("the output must not exist yet", f"{target} does", "choose another name with --out"))
    predicted = model.predict(file)
    new: dict[str, Any] = {"predicted": predicted}
    if model.card.task != "regression":
        new = {f"probability_{name}": predicted[:, i] for i, name in enumerate(model.card.classes)}
        new["predicted"] = [model.card.classes[i] for i in predicted.argmax(1)]
    taken = sorted(set(new) & set(cells.columns))
    if taken:
        raise InputError(
            sentence("predictions need column names of their own", f"the file has {taken[0]!r}", "rename it")
        )
    try:
        write_text(target, cells.assign(**new).to_csv(index=False, sep=separator, decimal=decimal))
    except OSError as error:
        raise InputError(
            sentence("the output must be writable", f"got: {error}", "choose another place with --out")
        ) from None
    return target, len(cells)
