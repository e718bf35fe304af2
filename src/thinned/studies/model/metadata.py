"""What a saved model says of itself: ``model.json``."""

import dataclasses
import hashlib
import json
import re
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import msgspec

from thinned.errors import InputError, sentence
from thinned.studies.design.setting import Setting
from thinned.studies.table.target import Task

__all__ = ["ENCODER", "METADATA", "WEIGHTS", "ModelMetadata", "digest", "read_metadata"]

WEIGHTS, ENCODER, METADATA = "weights.safetensors", "encoder.skops", "model.json"
SCHEMA: Literal[3] = 3  # 2 had no readings of columns

Size: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
Rows: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=1_000_000_000_000)]
Number: TypeAlias = Annotated[float, msgspec.Meta(ge=-1e300, le=1e300)]
Hidden: TypeAlias = Annotated[tuple[Size, ...], msgspec.Meta(min_length=1, max_length=99)]


class Files(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"weights": WEIGHTS, "encoder": ENCODER}):
    """SHA-256 of the other files, hexadecimal.

    Attributes:
        weights: of the networks' weights.
        encoder: of the encoder.
    """

    weights: str = ""
    encoder: str = ""


class ModelMetadata(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What there is to know of a saved model besides its arrays.

    Attributes:
        schema: the version of this description.
        task: what is predicted.
        target: name of the predicted column.
        classes: names of the classes in the order of their probabilities; empty for regression.
        inputs: number of encoded columns.
        hidden: widths of the hidden layers.
        members: number of networks.
        setting: how it was regularised.
        center: mean of the target (regression).
        spread: its standard deviation.
        held_out: how many rows each member was stopped by.
        noise: root mean squared residual of those rows in target units (regression).
        files: SHA-256 of the other files.
    """

    schema: Literal[3] = SCHEMA
    task: Task
    target: str
    classes: tuple[str, ...]
    inputs: Size
    hidden: Hidden
    members: Size
    setting: Setting
    center: Number
    spread: Annotated[float, msgspec.Meta(gt=0, le=1e300)]
    held_out: tuple[Rows, ...]
    noise: Annotated[float, msgspec.Meta(ge=0, le=1e300)]
    files: Files = Files()

    def __post_init__(self) -> None:
        """Refuse numbers of classes and members that contradict each other."""
        fits = {"regression": not self.classes, "binary": len(self.classes) == 2, "multiclass": len(self.classes) > 2}
        if not fits[self.task]:
            raise ValueError(f"{len(self.classes)} classes do not make a {self.task} task")
        if len(self.held_out) != self.members:
            raise ValueError(f"{self.members} members can't have {len(self.held_out)} held-out parts")


def digest(path: Path) -> str:
    """Give the SHA-256 of a file, hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_metadata(path: Path) -> ModelMetadata:
    """Read ``model.json``.

    Raises:
        InputError: it does not describe a model, or an earlier version of thinned wrote it.
        OSError: it can't be read.
    """
    data = path.read_bytes()
    requirement, remedy = f"{path} must describe a saved model", "run the study again with a new --out"
    try:
        metadata = msgspec.json.decode(data, type=ModelMetadata)
        entries = set(json.loads(data)["setting"])  # msgspec fills in and ignores those of a dataclass
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        earlier = re.search(rb'"schema": ?[12]\b', data) is not None
        value = "an earlier version of thinned wrote it" if earlier else f"its content is another: {error}"
        raise InputError(sentence(requirement, value, remedy)) from None
    if entries | {"extras"} != {field.name for field in dataclasses.fields(Setting)}:
        raise InputError(sentence(requirement, "its setting has other entries than those that were saved", remedy))
    return metadata
