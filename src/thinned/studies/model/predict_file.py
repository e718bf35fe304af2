"""Predictions for a file of new rows."""

import json
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from thinned.errors import InputError, sentence
from thinned.studies.model.model import Model, Outputs
from thinned.studies.table.columns import column_of
from thinned.studies.table.names import quote
from thinned.studies.table.notices import Notice
from thinned.studies.table.read_files import RawTable, read_table
from thinned.studies.table.readings import NumberReading
from thinned.studies.training.store import write_text

__all__ = ["PredictedFile", "predict_file"]


class PredictedFile(NamedTuple):
    """What :func:`predict_file` wrote.

    Attributes:
        path: the predictions.
        metadata: what is to be known of them, as JSON.
        rows: the number of rows.
        notices: what in the rows is unlike the study's table.
    """

    path: Path
    metadata: Path
    rows: int
    notices: list[Notice]


def predict_file(folder: Path, file: Path, out: Path | None = None, *, strict: bool = False) -> PredictedFile:
    """Write a CSV of the rows of ``file``, their cells unchanged, with predictions beside them.

    Classification adds ``probability_CLASS`` for each class, ``predicted``, and the entropies ``uncertainty``,
    ``uncertainty_aleatoric`` and ``uncertainty_epistemic`` in nats. Regression adds ``predicted``, the standard
    deviations ``sd``, ``sd_aleatoric`` and ``sd_epistemic``, and the ends of the 90 % interval, ``low_90`` and
    ``high_90``. See :class:`thinned.studies.model.Model`.

    A JSON file beside it, named after it, says what in the rows is unlike the study's table.

    Args:
        folder: of a finished study.
        file: the rows.
        out: the CSV to write; None names it after ``file``.
        strict: rows that are unlike the study's table are an error.

    Raises:
        InputError: the folder, the file or a column can't be used, the output exists already, or ``strict`` finds
            something; nothing is written.
    """
    model = Model.load(folder / "model")
    raw = read_table(file)
    target = out or file.with_name(f"{file.name.removesuffix(file.suffix)}-predicted.csv")
    metadata = target.with_name(f"{target.name}.json")
    for path in (target, metadata):
        if path.exists():
            value = f"{path} does"
            raise InputError(sentence("the output must not exist yet", value, "choose another name with --out"))
    rows = model.read(raw.frame)
    notices = rows.notices
    if strict and notices:
        more = f" (and {len(notices) - 1} more)" if len(notices) > 1 else ""
        remedy = "correct the rows, or leave --strict out"
        value = f"{notices[0].message.rstrip('.')}{more}"
        raise InputError(sentence("with --strict, rows must be like those of the study", value, remedy))
    new = _columns(model, model.outputs(rows.matrix))
    taken = sorted(set(new) & set(raw.frame.columns))
    if taken:
        value = f"the file has {quote(taken[0])}"
        raise InputError(sentence("predictions need column names of their own", value, "rename it"))
    written = raw.frame.assign(**new).to_csv(index=False, sep=raw.separator, decimal=_decimal(model, raw))
    content = {"rows": len(raw.frame), "unlike": msgspec.to_builtins(notices)}
    try:
        write_text(metadata, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
        write_text(target, written)
    except OSError as error:
        remedy = "choose another place with --out"
        raise InputError(sentence("the output must be writable", f"got: {error}", remedy)) from None
    return PredictedFile(target, metadata, len(raw.frame), notices)


def _decimal(model: Model, raw: RawTable) -> str:
    """The decimal mark of the file's own numbers, where its separator leaves commas free."""
    if raw.separator == ",":
        return "."
    numbers = [name for name, reading in model.readings.items() if isinstance(reading, NumberReading)]
    cells = [column_of(raw.frame[name]).text for name in numbers]
    return "," if any(text.matches(r"^[+-]?\d+,\d+$").any() for text in cells) else "."


def _columns(model: Model, outputs: Outputs) -> dict[str, np.ndarray | list[str]]:
    """The new columns of :func:`predict_file`."""
    predicted, unsure = outputs.predicted, outputs.uncertainty._asdict()
    total = unsure.pop("total")
    if outputs.interval is not None:
        low, high = outputs.interval.T
        spread = {f"sd_{part}": values for part, values in unsure.items()}
        return {"predicted": predicted, "sd": total, **spread, "low_90": low, "high_90": high}
    new: dict[str, np.ndarray | list[str]] = {
        f"probability_{name}": predicted[:, i] for i, name in enumerate(model.metadata.classes)
    }
    new["predicted"] = [model.metadata.classes[i] for i in predicted.argmax(1)]
    return new | {"uncertainty": total} | {f"uncertainty_{part}": values for part, values in unsure.items()}
