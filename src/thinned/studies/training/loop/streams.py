"""Random streams of one network: each number follows from the study's seed, the split and its place alone."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from thinned import philox
from thinned.studies.design.streams import stream, stream_key

__all__ = ["Streams"]


class Streams(NamedTuple):
    """The streams of all networks of one split: they share initial weights, masks, order, augmentation and noise.

    Attributes:
        seed: seed of the study.
        repeat: number of the repeat.
        fold: number of the fold.
    """

    seed: int
    repeat: int
    fold: int

    @property
    def weights(self) -> int:
        """Key of the initial weights."""
        return stream_key(self.seed, "init", self.repeat, self.fold)

    @property
    def masks(self) -> int:
        """Seed of the masks' addresses."""
        return stream_key(self.seed, "mask", self.repeat, self.fold)

    @property
    def evaluation(self) -> int:
        """Key of what a network draws in evaluation."""
        return stream_key(self.seed, "evaluation", self.repeat, self.fold)

    @property
    def own_training(self) -> int:
        """Key of what a training function of the user's draws."""
        return stream_key(self.seed, "own training", self.repeat, self.fold)

    def order(self, epoch: int) -> np.random.Generator:
        """Stream of the order of an epoch's examples."""
        return stream(self.seed, "order", self.repeat, self.fold, epoch)

    def augmentation(self, epoch: int) -> int:
        """Key of an epoch's augmentation; that of an example is this with its index folded in."""
        return stream_key(self.seed, "augmentation", self.repeat, self.fold, epoch)

    def sampler(self, epoch: int) -> int:
        """Key of what a user's sampler draws."""
        return stream_key(self.seed, "sampler", self.repeat, self.fold, epoch)

    def noise(self, epoch: int, steps: int) -> npt.NDArray[np.uint64]:
        """Keys of what a network itself draws in each step of an epoch, besides dropout."""
        return philox.fold_in_each(stream_key(self.seed, "noise", self.repeat, self.fold, epoch), np.arange(steps))
