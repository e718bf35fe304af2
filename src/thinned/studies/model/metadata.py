"""What a saved model says of itself: ``model.json``."""

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from thinned.errors import InputError, sentence
from thinned.studies import metrics
from thinned.studies.design.setting import Setting

__all__ = ["CARD", "ENCODER", "WEIGHTS", "Card", "digest", "read_card"]

WEIGHTS, ENCODER, CARD = "weights.safetensors", "encoder.skops", "model.json"


@dataclasses.dataclass(frozen=True)
class Card:
    """What there is to know of a saved model besides its arrays.

    Attributes:
        task: "binary", "multiclass" or "regression".
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
        schema: of this file.
    """

    task: str
    target: str
    classes: list[str]
    inputs: int
    hidden: list[int]
    members: int
    setting: Setting
    center: float
    spread: float
    held_out: list[int]
    noise: float
    files: dict[str, str]
    schema: int = 2


def digest(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_card(path: Path) -> Card:
    """Read ``model.json``.

    Raises:
        InputError: it does not describe a model that can be.
        OSError: it can't be read.
    """

    def wrong(seen: str) -> InputError:
        return InputError(sentence(f"{path} must describe a saved model", seen, "run the study again with a new --out"))

    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise wrong(f"it is not JSON: {error}") from None
    kinds = {field.name: field.type for field in dataclasses.fields(Card)}
    if not isinstance(raw, dict) or set(raw) != set(kinds):
        raise wrong("its entries are others than those that were saved")
    checks: dict[str, Callable[[Any], bool]] = {
        "task": lambda v: isinstance(v, str) and v in metrics.SELECTION,
        "target": lambda v: isinstance(v, str),
        "classes": lambda v: isinstance(v, list) and all(isinstance(c, str) for c in v) and _fits(raw["task"], len(v)),
        "inputs": _count,
        "hidden": lambda v: isinstance(v, list) and 0 < len(v) < 100 and all(map(_count, v)),
        "members": _count,
        "setting": _is_setting,
        "center": lambda v: isinstance(v, float) and math.isfinite(v),
        "spread": lambda v: isinstance(v, float) and math.isfinite(v) and v > 0,
        "held_out": lambda v: isinstance(v, list) and len(v) == raw["members"] and all(map(_rows, v)),
        "noise": lambda v: isinstance(v, float) and math.isfinite(v) and v >= 0,
        "files": lambda v: isinstance(v, dict) and set(v) == {WEIGHTS, ENCODER},
        "schema": lambda v: v == 2,
    }
    for name, check in checks.items():
        if not check(raw[name]):
            raise wrong(f"its {name} can't be {str(raw[name])[:60]!r}")
    return Card(**{**raw, "setting": _setting(raw["setting"])})


def _fits(task: str, classes: int) -> bool:
    return {"regression": classes == 0, "binary": classes == 2}.get(task, classes > 2)


def _setting(entries: dict[str, Any]) -> Setting:
    extras = tuple((str(name), float(amount)) for name, amount in entries.get("extras", ()))
    return Setting(**{**entries, "extras": extras})


def _is_setting(value: Any) -> bool:
    """Whether a :class:`Setting` can be made of it, and is the one that was saved."""
    kinds: dict[str, tuple[type, ...]] = {"dropout": (int, float), "weight_decay": (int, float), "one_mask": (bool,)}
    kinds["max_norm"] = (int, float, type(None))
    fields = set(Setting().to_dict())
    if not isinstance(value, dict) or set(value) - {"extras"} != fields:
        return False
    if not all(type(value[name]) in kinds.get(name, (str, type(None))) for name in fields):
        return False
    try:
        _setting(value)
    except (InputError, TypeError, ValueError):
        return False
    return True


def _count(value: Any) -> bool:
    """A size that a network can have."""
    return type(value) is int and 0 < value <= 1_000_000


def _rows(value: Any) -> bool:
    """A number of rows that a table can have."""
    return type(value) is int and 0 < value <= 1_000_000_000_000
