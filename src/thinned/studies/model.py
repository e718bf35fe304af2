"""The model that a study leaves: networks of the recommended arm, fitted on all rows, and saved without pickle."""

import dataclasses
import hashlib
import itertools
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors.torch
import torch
from safetensors import SafetensorError

from thinned._checks import InputError, sentence
from thinned.studies import cohort, metrics
from thinned.studies.arms import Setting
from thinned.studies.encoding import Encoder
from thinned.studies.network import MLP, site_rates
from thinned.studies.plan import Member, Plan
from thinned.studies.run import outputs, standardised
from thinned.studies.splits import refit_parts
from thinned.studies.table import Table, read_frame
from thinned.studies.workers import one_core

__all__ = ["Model", "fit"]

_MEMBERS = 5
_WEIGHTS, _ENCODER, _CARD = "weights.safetensors", "encoder.skops", "model.json"
_ROWS = 4096  # predicted at once


@dataclasses.dataclass(frozen=True)
class Card:
    """What there is to know of a saved model besides its arrays."""

    task: str
    target: str
    classes: list[str]
    inputs: int
    hidden: list[int]
    members: int
    setting: Setting
    center: float
    spread: float
    files: dict[str, str]
    schema: int = 1


class Model:
    """An ensemble of networks and the encoding of their input; see :func:`fit`."""

    def __init__(self, card: Card, encoder: Encoder, weights: dict[str, torch.Tensor]) -> None:
        self.card = card
        self._encoder = encoder
        self._weights = weights
        networks = [_network(card) for _ in range(card.members)]
        self._stack = cohort.Stack(
            networks, [site_rates(networks[0], card.setting)] * card.members, 0, range(card.members)
        )
        self._stack.base.eval()
        with torch.no_grad():
            for name, value in self._stack.learned.items():
                value.copy_(weights[name])

    def predict(self, features: Any) -> npt.NDArray[np.float64]:
        """The members' mean prediction.

        Args:
            features: data frame (pandas or polars) with the columns that the study saw, others are ignored; or a file.

        Returns:
            Probabilities ``(rows, classes)``, or values ``(rows,)`` in target units.

        Raises:
            InputError: a column is missing or can't be read as it was in training.
        """
        card = self.card
        rows = torch.from_numpy(self._encoder.transform(read_frame(features)))
        parts = []
        with torch.inference_mode():
            for part in torch.split(rows, _ROWS):
                output = self._stack(part.expand(card.members, *part.shape)).double().numpy()
                parts.append(
                    np.mean([metrics.predictions(card.task, o, card.center, card.spread) for o in output], axis=0)
                )
        shape = (0,) if card.task == "regression" else (0, len(card.classes))
        return np.concatenate(parts) if parts else np.zeros(shape)

    def save(self, folder: Path) -> None:
        """Write the model's three files, whole or not at all; a model that stood there is replaced."""
        partial = folder.with_name(f".{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        (partial / _WEIGHTS).write_bytes(safetensors.torch.save(self._weights))
        (partial / _ENCODER).write_bytes(self._encoder.dumps())
        files = {name: _digest(partial / name) for name in (_WEIGHTS, _ENCODER)}
        card = dataclasses.asdict(dataclasses.replace(self.card, files=files))
        (partial / _CARD).write_text(json.dumps(card, indent=1), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)

    @classmethod
    def load(cls, folder: Path) -> "Model":
        """Read a saved model. Nothing in it is executed; every file must be the one that was saved.

        Raises:
            InputError: there is no model, or it is damaged.
        """
        remedy = "run the study again with a new --out"
        try:
            card = _read_card(folder / _CARD)
            for name, digest in card.files.items():
                if _digest(folder / name) != digest:
                    raise InputError(
                        sentence("a model's files must be as they were saved", f"{folder / name} has changed", remedy)
                    )
            encoder = Encoder.loads((folder / _ENCODER).read_bytes())
            weights = safetensors.torch.load((folder / _WEIGHTS).read_bytes())
        except FileNotFoundError as error:
            raise InputError(
                sentence(
                    "predicting needs the folder of a finished study",
                    f"{error.filename} does not exist",
                    "run `thinned study` first",
                )
            ) from None
        except (SafetensorError, OSError) as error:
            raise InputError(
                sentence(f"{folder} must hold a saved model", f"reading it failed: {error}", remedy)
            ) from None
        with torch.device("meta"):  # sizes alone: what a tampered file asks for need not fit into memory
            expected = {name: (card.members, *value.shape) for name, value in _network(card).state_dict().items()}
        if (
            len(encoder.names) != card.inputs
            or {name: tuple(value.shape) for name, value in weights.items()} != expected
            or not all(value.dtype == torch.float32 and value.isfinite().all() for value in weights.values())
        ):
            raise InputError(
                sentence(f"{folder / _WEIGHTS} must hold what model.json describes", "it holds others", remedy)
            )
        return cls(card, encoder, weights)


def _network(card: Card) -> MLP:
    return MLP(card.inputs, card.hidden, outputs(card.task, len(card.classes)), card.setting)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _read_card(path: Path) -> Card:
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
        "center": lambda v: isinstance(v, float) and math.isfinite(v),
        "spread": lambda v: isinstance(v, float) and math.isfinite(v) and v > 0,
        "files": lambda v: isinstance(v, dict) and set(v) == {_WEIGHTS, _ENCODER},
        "schema": lambda v: v == 1,
    }
    for name, check in checks.items():
        if not check(raw[name]):
            raise wrong(f"its {name} can't be {str(raw[name])[:60]!r}")
    try:
        return Card(**{**raw, "setting": Setting(**raw["setting"])})
    except (TypeError, InputError):
        raise wrong(f"its setting can't be {str(raw['setting'])[:60]!r}") from None


def _fits(task: str, classes: int) -> bool:
    return {"regression": classes == 0, "binary": classes == 2}.get(task, classes > 2)


def _count(value: Any) -> bool:
    """A size that a network can have."""
    return type(value) is int and 0 < value <= 1_000_000


def fit(table: Table, plan: Plan, setting: Setting, progress: Callable[[int], None] = lambda epoch: None) -> Model:
    """Fit the recommended arm on all rows.

    Five networks (fewer, where a class has fewer rows), each with another fifth of the rows for early stopping, so that
    every row trains four of them; their predictions are averaged. By time all hold out the latest fifth.
    """
    everything = np.arange(plan.rows)
    encoder = Encoder(setting.embedding).fit(table.features)
    x = torch.from_numpy(encoder.transform(table.features))
    y, center, spread = standardised(table, everything)
    data = [
        cohort.Data(x, y, *(torch.from_numpy(part) for part in (train, held, held[:1])))
        for train, held in refit_parts(plan, table, _MEMBERS)
    ]
    card = Card(
        task=table.task,
        target=table.target_name,
        classes=list(table.classes),
        inputs=x.shape[1],
        hidden=list(plan.hidden),
        members=len(data),
        setting=setting,
        center=center,
        spread=spread,
        files={},
    )
    outcomes: list[cohort.Outcome] = []
    number = plan.settings.index(setting)
    with one_core():
        # groups differ in size: members of other shapes make another batched program
        for _, same in itertools.groupby(enumerate(data), key=lambda numbered: numbered[1].shape):
            folds, parts = zip(*same, strict=True)
            members = [Member(plan.seeds, fold, number) for fold in folds]  # a repeat that the study has not used
            outcomes += cohort.train(plan, lambda _: _network(card), members, parts, progress)
    weights = {name: torch.stack([o.weights[name] for o in outcomes]) for name in outcomes[0].weights}
    return Model(card, encoder, weights)
