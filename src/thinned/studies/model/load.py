"""``thinned.load``: the model of a study's folder, to serve it."""

import os
from pathlib import Path

from thinned.studies.model.metadata import METADATA
from thinned.studies.model.model import Model

__all__ = ["load"]


def load(folder: str | os.PathLike[str]) -> Model:
    """Load the model that a study of a table recommends.

    It reads new rows as the study read its table, and predicts with five networks. Threads may share it. Nothing in the
    files is executed; every file must be the one that was saved. :func:`thinned.load_network` loads a network of one's
    own.

    Args:
        folder: the folder of the study, or a copy of the folder ``model`` in it: a service needs no more than that.

    Returns:
        The model: ``model.classes``, ``model.predict(rows)``, ``model.uncertainty(rows)``.

    Raises:
        InputError: there is no model, it is damaged, or the study was one of a network of one's own.
    """
    folder = Path(folder)
    return Model.load(folder if (folder / METADATA).is_file() else folder / "model")
