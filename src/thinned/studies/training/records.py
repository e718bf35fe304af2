"""Records of trained networks: what the store keeps of each, and the analysis reads."""

import json

import msgspec
import numpy as np
import numpy.typing as npt

from thinned.studies.design.plan import Member
from thinned.studies.results import Reading

__all__ = [
    "Coadaptation",
    "Curves",
    "DrawnScores",
    "Evaluation",
    "ExampleLosses",
    "Probes",
    "TrainedNetwork",
    "VarianceShift",
]


class Evaluation(msgspec.Struct, frozen=True):
    """Losses and scores of a network with dropout off; None where the network diverged.

    Attributes:
        train: mean loss on training rows, in nats, or squared error of the standardised target.
        validation: the same on validation rows.
        test: the same on test rows.
        scores: test scores by the names of :data:`thinned.studies.metrics.METRICS`; NaN where a score is undefined, as
            ROC-AUC on rows of one class.
    """

    train: float | None
    validation: float | None
    test: float | None
    scores: dict[str, float | None]


class Curves(msgspec.Struct, frozen=True):
    """Mean loss after each epoch, dropout off; None where it is not finite."""

    train: tuple[float | None, ...]
    validation: tuple[float | None, ...]


class Coadaptation(msgspec.Struct, frozen=True):
    """Dependence between hidden units: see :mod:`thinned.studies.training.probes`.

    Attributes:
        dependence: mean absolute correlation of two units of a layer, mean over the layers.
        removal: test loss after the removal of each of :data:`thinned.studies.training.probes.FRACTIONS` of the units.
    """

    dependence: float | None
    removal: tuple[float | None, ...]


class VarianceShift(msgspec.Struct, frozen=True):
    """Variance that batch norms receive in training, relative to evaluation.

    Attributes:
        ratios: variance in training over variance in evaluation, one for each batch norm.
        before: test loss with the running statistics of training.
        after: test loss with statistics estimated anew, dropout off.
    """

    ratios: tuple[float | None, ...]
    before: float | None
    after: float | None


class Probes(msgspec.Struct, frozen=True, omit_defaults=True):
    """Measurements inside a trained network; None where a network was not probed."""

    coadaptation: Coadaptation | None = None
    variance_shift: VarianceShift | None = None


class ExampleLosses(msgspec.Struct, frozen=True):
    """Loss of each example of a given test set, float32, little-endian.

    Attributes:
        best: with the weights of the best epoch.
        end: after the last epoch.
    """

    best: bytes
    end: bytes

    def values(self, when: Reading) -> npt.NDArray[np.float32]:
        """The losses at the best epoch or at the end, ``(examples,)``."""
        return np.frombuffer(self.best if when == "best" else self.end, dtype="<f4").astype(np.float32)


class DrawnScores(msgspec.Struct, frozen=True):
    """Scores on samples of a given test set by their names, float32, little-endian; NaN where a sample has no score.

    All networks of a study are scored on the same samples.

    Attributes:
        best: with the weights of the best epoch.
        end: after the last epoch.
    """

    best: dict[str, bytes]
    end: dict[str, bytes]

    def values(self, when: Reading, name: str) -> npt.NDArray[np.float32] | None:
        """A score at the best epoch or at the end, ``(samples,)``; None where it was not drawn."""
        content = (self.best if when == "best" else self.end).get(name)
        return None if content is None else np.frombuffer(content, dtype="<f4").astype(np.float32)


class TrainedNetwork(msgspec.Struct, frozen=True):
    """The record of one trained network.

    Attributes:
        repeat: number of its repeat.
        fold: number of its test fold.
        setting: index of its setting in :attr:`thinned.studies.design.plan.Plan.settings`.
        size: number of its training rows; 0 stands for all rows of the split.
        best_epoch: 1-based epoch of least validation loss.
        best: evaluation with the weights of that epoch.
        end: evaluation after the last epoch.
        curves: loss after each epoch.
        probes: measurements inside the network, with the weights of the best epoch.
        example_losses: of a given test set; None where there is none, or the network diverged.
        drawn_scores: on samples of a given test set; None where there are no example losses.
    """

    repeat: int
    fold: int
    setting: int
    size: int
    best_epoch: int
    best: Evaluation
    end: Evaluation
    curves: Curves
    probes: Probes = Probes()  # a store of an earlier version has none
    example_losses: ExampleLosses | None = None
    drawn_scores: DrawnScores | None = None

    @property
    def member(self) -> Member:
        """The network's place in the plan."""
        return Member(self.repeat, self.fold, self.setting, self.size)

    def evaluation(self, when: Reading) -> Evaluation:
        """The evaluation at the best epoch or at the end."""
        return self.best if when == "best" else self.end

    def to_json(self) -> str:
        """Return the record as JSON; NaN, which JSON does not have, is written as Python's ``json`` writes it."""
        entries = msgspec.to_builtins(self)
        for name in ("example_losses", "drawn_scores"):
            if entries[name] is None:
                del entries[name]
        return json.dumps(entries)

    @classmethod
    def from_json(cls, text: str | bytes) -> "TrainedNetwork":
        """Read a record that :meth:`to_json` wrote.

        Raises:
            ValueError: the text is not JSON, or an entry is missing or of another type; the message names its path.
        """
        return msgspec.convert(json.loads(text), cls)
