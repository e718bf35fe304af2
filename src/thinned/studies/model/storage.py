"""A saved model's three files: written whole or not at all, read without executing anything."""

import os
from pathlib import Path
from typing import NamedTuple

import msgspec
import safetensors.torch
import torch
from safetensors import SafetensorError

from thinned.errors import InputError, sentence
from thinned.studies.design.setting import Setting
from thinned.studies.model.cv_plus import step
from thinned.studies.model.metadata import ENCODER, METADATA, WEIGHTS, Files, ModelMetadata, digest, read_metadata
from thinned.studies.table.encoding import Encoder
from thinned.studies.training.jobs import outputs
from thinned.studies.training.network import MLP
from thinned.studies.training.whole_folder import whole_folder

__all__ = ["RESIDUALS", "SavedModel", "load", "make_network", "save", "saved_setting"]

RESIDUALS = "held_out"  # name of the residuals beside the weights
_REMEDY = "run the study again with a new --out"


class SavedModel(NamedTuple):
    """What the files hold.

    Attributes:
        metadata: what the model is.
        encoder: the encoding of its input.
        weights: the networks' weights, ``(members, ...)`` each; for regression, the residuals besides.
    """

    metadata: ModelMetadata
    encoder: Encoder
    weights: dict[str, torch.Tensor]


def make_network(metadata: ModelMetadata) -> MLP:
    """Make one of the networks that a model is described to have."""
    classes = outputs(metadata.task, len(metadata.classes))
    return MLP(metadata.inputs, list(metadata.hidden), classes, metadata.setting)


def save(model: SavedModel, folder: Path) -> None:
    """Write the files, whole or not at all; a model that stood there is replaced."""
    with whole_folder(folder) as partial:
        (partial / WEIGHTS).write_bytes(safetensors.torch.save(model.weights))
        (partial / ENCODER).write_bytes(model.encoder.dumps())
        files = Files(weights=digest(partial / WEIGHTS), encoder=digest(partial / ENCODER))
        metadata = msgspec.structs.replace(model.metadata, files=files)
        (partial / METADATA).write_bytes(msgspec.json.format(msgspec.json.encode(metadata), indent=1))


def load(folder: str | os.PathLike[str]) -> SavedModel:
    """Read the files; each must be the one that was saved.

    Raises:
        InputError: there is no model, or it is damaged.
    """
    folder = Path(folder)
    try:
        metadata = read_metadata(folder / METADATA)
        for name, saved in ((WEIGHTS, metadata.files.weights), (ENCODER, metadata.files.encoder)):
            if digest(folder / name) != saved:
                value = f"{folder / name} has changed"
                raise InputError(sentence("a model's files must be as they were saved", value, _REMEDY))
        encoder = Encoder.loads((folder / ENCODER).read_bytes())
        weights = safetensors.torch.load((folder / WEIGHTS).read_bytes())
    except FileNotFoundError as error:
        requirement, value = "predicting needs the folder of a finished study", f"{error.filename} does not exist"
        remedy = "run `thinned study` first"
        if (folder.parent / "network").is_dir():
            value = f"that in {folder.parent} has a network of your own"
            remedy = f"thinned.load_network({str(folder.parent / 'network')!r}, build) gives it"
        raise InputError(sentence(requirement, value, remedy)) from None
    except (SafetensorError, OSError) as error:
        value = f"reading it failed: {error}"
        raise InputError(sentence(f"{folder} must hold a saved model", value, _REMEDY)) from None
    if len(encoder.names) != metadata.inputs or not _described(metadata, weights):
        requirement = f"{folder / WEIGHTS} must hold what model.json describes"
        raise InputError(sentence(requirement, "it holds others", _REMEDY))
    return SavedModel(metadata, encoder, weights)


def saved_setting(folder: Path) -> Setting | None:
    """Say how the networks of a saved model were regularised; None where there is no model that can be read."""
    try:
        return read_metadata(folder / METADATA).setting
    except (InputError, OSError):
        return None


def _described(metadata: ModelMetadata, weights: dict[str, torch.Tensor]) -> bool:
    """Tell whether a model of this description has these arrays: names, shapes, types, and numbers alone."""
    with torch.device("meta"):  # sizes alone: what a tampered file asks for need not fit into memory
        learned = make_network(metadata).state_dict()
    expected = {name: ((metadata.members, *value.shape), value.dtype) for name, value in learned.items()}
    if metadata.task == "regression":
        kept = -(-max(metadata.held_out) // step(metadata.held_out))
        expected[RESIDUALS] = ((metadata.members, kept), torch.float64)
    if {name: (tuple(value.shape), value.dtype) for name, value in weights.items()} != expected:
        return False
    # shorter lists of residuals are filled up with infinity
    return not any(
        value.isnan().any() or (name != RESIDUALS and value.isinf().any()) for name, value in weights.items()
    )
