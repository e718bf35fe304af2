"""Predictions for a file of new rows."""

from pathlib import Path
from typing import Any

import pandas as pd

from thinned.errors import InputError, sentence
from thinned.studies.model.model import Model
from thinned.studies.table.read_csv import read_cells, read_frame
from thinned.studies.training.store import write_text

__all__ = ["predict_file"]


def predict_file(folder: Path, file: Path, out: Path | None = None) -> tuple[Path, int]:
    """Write a CSV of the rows of ``file``, their cells unchanged, with predictions beside them.

    Returns where it is, and the number of rows.

    Classification adds ``probability_CLASS`` for each class, ``predicted``, and the entropies ``uncertainty``,
    ``uncertainty_aleatoric`` and ``uncertainty_epistemic`` in nats. Regression adds ``predicted``, the standard
    deviations ``sd``, ``sd_aleatoric`` and ``sd_epistemic``, and the ends of the 90 % interval, ``low_90`` and
    ``high_90``. See :class:`thinned.studies.model.Model`.

    Raises:
        InputError: the folder, the file or a column can't be used, or the output exists already.
    """
    model = Model.load(folder / "model")
    cells, separator, decimal = read_cells(file)
    target = out or file.with_name(f"{file.name.removesuffix(file.suffix)}-predicted.csv")
    if target.exists():
        raise InputError(sentence("the output must not exist yet", f"{target} does", "choose another name with --out"))
    new = _columns(model, read_frame(file))
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


def _columns(model: Model, rows: pd.DataFrame) -> dict[str, Any]:
    """The new columns of :func:`predict_file`."""
    predicted, unsure = model.predict(rows), model.uncertainty(rows)._asdict()
    total = unsure.pop("total")
    if model.card.task == "regression":
        low, high = model.interval(rows).T
        spread = {f"sd_{part}": values for part, values in unsure.items()}
        return {"predicted": predicted, "sd": total, **spread, "low_90": low, "high_90": high}
    new: dict[str, Any] = {f"probability_{name}": predicted[:, i] for i, name in enumerate(model.card.classes)}
    new["predicted"] = [model.card.classes[i] for i in predicted.argmax(1)]
    return new | {"uncertainty": total} | {f"uncertainty_{part}": values for part, values in unsure.items()}
