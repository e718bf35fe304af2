"""Checkpoints of a long training: where it was, and all tensors that it goes on from."""

import contextlib
import hashlib
import json
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from thinned.studies.training.engines.environment import versions

__all__ = ["SECONDS", "Checkpoint", "Position"]

#: between two checkpoints: shorter trainings write none
SECONDS = 600.0
_HEADER = "position"


class Position(msgspec.Struct, frozen=True):
    """How far a training is.

    Attributes:
        epoch: number of the running epoch, from 0.
        step: number of its finished steps.
        train: mean training loss after each finished epoch; None where it is not finite. Empty without validation
            examples.
        validation: the same on validation examples.
        best_epoch: 0-based epoch of the least validation loss so far, -1 before the first.
    """

    epoch: int = 0
    step: int = 0
    train: tuple[float | None, ...] = ()
    validation: tuple[float | None, ...] = ()
    best_epoch: int = -1

    def after_epoch(self, train: float | None, validation: float | None) -> "Position":
        """The position after an epoch with these losses."""
        least = None if self.best_epoch < 0 else self.validation[self.best_epoch]
        improved = validation is not None and (least is None or validation < least)
        return Position(
            epoch=self.epoch + 1,
            train=(*self.train, train),
            validation=(*self.validation, validation),
            best_epoch=self.epoch if improved else self.best_epoch,
        )

    @property
    def is_best(self) -> bool:
        """Whether the last finished epoch is the best one."""
        return self.epoch > 0 and self.best_epoch == self.epoch - 1

    def is_over(self, patience: int | None, parameters: Iterable[torch.Tensor]) -> bool:
        """Whether patience has ended, or the network's parameters are no numbers any more."""
        if self.validation and patience is not None and self.epoch - max(self.best_epoch, 0) > patience:
            return True
        if not self.epoch or (self.validation and self.validation[-1] is not None):
            return False
        return not all(bool(p.isfinite().all()) for p in parameters)


class _Header(msgspec.Struct, frozen=True):
    identity: str
    position: Position


class Checkpoint:
    """The checkpoint of one network, a safetensors file.

    Args:
        path: of the file; its folder is made.
        identity: of all that the network follows from; a checkpoint of something else is ignored.
        seconds: between two checkpoints.
    """

    def __init__(self, path: Path, identity: str, seconds: float = SECONDS) -> None:
        own = json.dumps([identity, versions()], sort_keys=True)
        self._path, self._identity = path, hashlib.sha256(own.encode()).hexdigest()
        self._seconds, self._last = seconds, time.monotonic()

    @property
    def is_due(self) -> bool:
        """Whether the last checkpoint, or the beginning, is long ago."""
        return time.monotonic() - self._last >= self._seconds

    def save(self, position: Position, tensors: Mapping[str, torch.Tensor]) -> None:
        """Write the file whole or not at all; a full disk costs the checkpoint, not the training."""
        self._last = time.monotonic()
        partial = self._path.with_name(f".{self._path.name}.partial")
        header = msgspec.json.encode(_Header(self._identity, position)).decode()
        copies = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
        with contextlib.suppress(OSError, SafetensorError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            save_file(copies, partial, {_HEADER: header})
            partial.replace(self._path)

    def load(self) -> tuple[Position, dict[str, torch.Tensor]] | None:
        """The last checkpoint; None where there is none, it is damaged, or it belongs to something else."""
        try:
            with safe_open(self._path, "pt") as file:
                header = msgspec.json.decode((file.metadata() or {})[_HEADER], type=_Header)
                if header.identity != self._identity:
                    return None
                return header.position, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError, KeyError, msgspec.DecodeError):
            return None

    def remove(self) -> None:
        """Remove the file, and the folder with the last one."""
        self._path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self._path.parent.rmdir()
