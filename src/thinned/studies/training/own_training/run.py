"""What a training function of the user's is given besides the network: data, numbers, and where losses go."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

from thinned.errors import InputError, sentence
from thinned.studies.design.setting import Setting
from thinned.studies.examples.sources import Source

__all__ = ["PartDataset", "Parts", "TrainingRun", "example_losses_of"]

_MOST_EPOCHS = 10_000


class PartDataset(Dataset[object]):
    """The examples of one part of a split, a map-style dataset of items ``(x, y)`` as the study was given them.

    Args:
        source: where examples are read.
        indices: (examples,) int64, those of the part.
    """

    def __init__(self, source: Source, indices: npt.NDArray[np.int64]) -> None:
        self._source, self._indices = source, indices

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self._indices)

    def __repr__(self) -> str:
        return f"PartDataset({len(self)} examples)"

    def __getitem__(self, index: int) -> object:
        """Return one example."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} is out of range for {len(self)} examples")
        return self._source.item(int(self._indices[index]))


class Parts(NamedTuple):
    """The parts of a split."""

    training: PartDataset
    validation: PartDataset
    test: PartDataset


class TrainingRun:
    """One network's training, as the argument ``run`` of a training function ``train(network, run)``.

    Attributes:
        training: the training examples, a map-style dataset of items ``(x, y)`` as the study was given them.
        validation: the validation examples, for early stopping or a schedule.
        test: the examples that score the network. Nothing may be chosen by them.
        seed: a number in [0, 2³¹), the same for all settings of a split. The default generators of torch, NumPy and
            Python follow from it already.
        folder: a folder of this network's own for checkpoints and logs. A training that was interrupted finds its files
            there again; the folder is removed when the network is finished.
    """

    def __init__(
        self, parts: Parts, seed: int, folder: Path, setting: Setting, learning_rate: float, alive: Callable[[], None]
    ) -> None:
        self.training, self.validation, self.test = parts
        self.seed, self.folder = seed, folder
        self._setting, self._learning_rate, self._alive = setting, learning_rate, alive
        self._record = RunRecord()

    def __repr__(self) -> str:
        counts = f"{len(self.training)} training, {len(self.validation)} validation and {len(self.test)} test examples"
        return f"TrainingRun({counts}, seed={self.seed})"

    @property
    def weight_decay(self) -> float:
        """The weight decay of the setting, as that of ``torch.optim.AdamW``; 0 where the arm has none."""
        self._record.fields_read.add("weight_decay")
        return self._setting.weight_decay

    @property
    def learning_rate(self) -> float:
        """The learning rate of the setting: ``learning_rate=`` of the study, or one of its ``learning_rates=``."""
        self._record.fields_read.add("learning_rate")
        return self._setting.learning_rate or self._learning_rate

    def report(self, epoch: int, validation_loss: float) -> None:
        """Say how far the training is. The report of the study draws the curves, and tells whether they still fell.

        Args:
            epoch: number of finished epochs, from 1. An epoch may be reported again, or left out.
            validation_loss: mean loss on ``run.validation``.

        Raises:
            InputError: an argument is no number, or epochs go back.
        """
        self._alive()
        with self._record.refusals():
            number = _whole_number(epoch)
            if number < self._record.last_epoch:
                value, remedy = (
                    f"got {number} after {self._record.last_epoch}",
                    "count on over all phases of a training",
                )
                raise InputError(sentence("epochs of run.report must not go back", value, remedy))
            self._record.validation[number] = _number(validation_loss)

    def scores(self, *, validation: object = None, test: object = None) -> None:
        """Hand over losses of single examples, where only the training function can score; lower is better.

        Args:
            validation: one number for each of ``run.validation``, in its order.
            test: one for each of ``run.test``; the training function may return them instead.

        Raises:
            InputError: there are too few or too many, or something else than numbers.
        """
        with self._record.refusals():
            if validation is not None:
                self._record.validation_losses = example_losses_of(validation, len(self.validation), "validation")
            if test is not None:
                self._record.test_losses = example_losses_of(test, len(self.test), "test")

    @property
    def record(self) -> "RunRecord":
        """What the training function read and reported."""
        return self._record

    def __deepcopy__(self, memo: dict[int, object]) -> "TrainingRun":
        """Return the run itself: a framework that copies its arguments still reports here."""
        return self


class RunRecord:
    """What a training function read and reported.

    Attributes:
        fields_read: names of the fields of :class:`TrainingRun` that follow from the setting and were read.
        validation: reported validation loss by epoch, from 1.
        validation_losses: (examples,) float64, where the function scored.
        test_losses: the same on the test examples.
        refused: the first error of a report, which a framework may have caught.
    """

    def __init__(self) -> None:
        self.fields_read: set[str] = set()
        self.validation: dict[int, float] = {}
        self.validation_losses: torch.Tensor | None = None
        self.test_losses: torch.Tensor | None = None
        self.refused: InputError | None = None

    @property
    def last_epoch(self) -> int:
        """The last epoch that was reported, 0 before."""
        return max(self.validation, default=0)

    @property
    def curve(self) -> tuple[float | None, ...]:
        """Validation loss after each epoch, None where it is not finite; empty where nothing was reported.

        An epoch that was not reported has the loss of the one before it, the first ones that of the next.
        """
        curve: list[float | None] = []
        loss = self.validation[min(self.validation)] if self.validation else math.nan
        for epoch in range(1, self.last_epoch + 1):
            loss = self.validation.get(epoch, loss)
            curve.append(loss if math.isfinite(loss) else None)
        return tuple(curve)

    @contextmanager
    def refusals(self) -> Iterator[None]:
        """Keep the first error of ours that is raised within."""
        try:
            yield
        except InputError as error:
            self.refused = self.refused or error
            raise


def _whole_number(epoch: object) -> int:
    try:
        number = float(epoch)  # type: ignore[arg-type] # a tensor or the Trainer's 1.0, too
    except (TypeError, ValueError, RuntimeError):
        number = math.nan
    if not 1 <= number <= _MOST_EPOCHS or number != int(number):
        requirement = f"epochs of run.report must be whole numbers from 1 to {_MOST_EPOCHS:,}"
        remedy = "report current_epoch + 1 where a framework counts from 0" if number == 0 else ""
        raise InputError(sentence(requirement, f"got {epoch!r}", remedy))
    return int(number)


def _number(loss: object) -> float:
    try:
        return float(loss)  # type: ignore[arg-type] # a 0-dim tensor, too
    except (TypeError, ValueError, RuntimeError):
        value = f"got {type(loss).__name__}"
        raise InputError(sentence("the validation loss of run.report must be a number", value)) from None


def example_losses_of(losses: object, count: int, part: str) -> torch.Tensor:
    """Losses of single examples as a user gives them, ``(count,)`` float64 on the CPU.

    Raises:
        InputError: they are something else.
    """
    requirement = f"a training function must give one loss for each of {count:,} {part} examples"
    try:
        given = torch.as_tensor(losses).detach().cpu()
    except (TypeError, ValueError, RuntimeError):
        remedy = "return them, or nothing" if part == "test" else ""
        raise InputError(sentence(requirement, f"got {type(losses).__name__}", remedy)) from None
    if given.shape != (count,):
        value = f"got {len(given):,}" if given.ndim == 1 else f"got the shape {tuple(given.shape)}"
        raise InputError(sentence(requirement, value))
    if given.is_complex():
        raise InputError(sentence(requirement, f"got {given.dtype}"))
    return given.double()
