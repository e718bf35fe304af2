"""The batches of one split: which examples each step trains on, and the key of what the network draws in it."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from thinned.studies.design.splits import Split
from thinned.studies.examples.batch import Batch
from thinned.studies.examples.examples import ExampleSet, Part
from thinned.studies.examples.generators import seed_generators
from thinned.studies.training.loop.config import NetworkConfig
from thinned.studies.training.loop.evaluation import Evaluator, Outcome
from thinned.studies.training.loop.functions import NetworkFunctions, sampled_positions
from thinned.studies.training.loop.reader import Reader
from thinned.studies.training.loop.streams import Streams

__all__ = ["SplitBatches"]

_CHUNK = 4  # times a batch, evaluated at once: no gradients are kept


class SplitBatches:
    """The examples of one split as its networks read them.

    Args:
        functions: those of the user.
        examples: the examples.
        split: numbers of the examples that train, validate and test; without test examples the given test set is taken.
        config: how to train.
        streams: what everything random follows from.

    Attributes:
        train: numbers of the training examples, ``(n,)`` int64.
        validation: numbers of the validation examples.
        test: numbers of the test examples.
        part: the part of the data that those are numbers of, "test" for a given test set.
        chunk: number of examples evaluated at once.
        steps_of_epoch: number of steps of an epoch.
        evaluator: evaluates networks on them.
    """

    def __init__(
        self, functions: NetworkFunctions, examples: ExampleSet, split: Split, config: NetworkConfig, streams: Streams
    ) -> None:
        self._config, self._sampler, self._streams = config, functions.sampler, streams
        self._targets = torch.from_numpy(examples.target[split.train])
        self.train, self.validation, dealt = (_indices(s) for s in (split.train, split.validation, split.test))
        given = not len(dealt) and examples.test_count > 0
        self.part: Part = "test" if given else "eval"
        self.test = torch.arange(examples.test_count) if given else dealt
        device = config.torch_device()
        self._reader = Reader(examples, device, config.loader_workers)
        self.chunk = _CHUNK * config.batch_size
        self.evaluator = Evaluator(
            self._reader, examples.task, functions.score, self.chunk, config.precision, device, streams.evaluation
        )
        self.steps_of_epoch = max(1, len(self.train) // config.batch_size)

    def of_epoch(self, epoch: int, done: int = 0) -> Iterator[tuple[Batch, int]]:
        """The batches of an epoch from a step on, each with the key of what a network draws."""
        size = min(self._config.batch_size, len(self.train))
        if self._sampler is None:
            positions = torch.from_numpy(self._streams.order(epoch).permutation(len(self.train)))
        else:
            seed_generators(self._streams.sampler(epoch))
            positions = sampled_positions(self._sampler, self._targets, size)
        kept = positions[: len(positions) - len(positions) % size]
        indices = torch.split(self.train[kept], size)[done:]
        keys = self._streams.noise(epoch, done + len(indices))[done:]
        batches = self._reader.batches("train", indices, self._streams.augmentation(epoch))
        return zip(batches, map(int, keys), strict=True)

    def losses(self, network: nn.Module) -> tuple[float | None, float | None]:
        """Mean loss of a network in evaluation mode on training and on validation examples, as many of both."""
        train, validation = self.train[: len(self.validation)], self.validation
        return self.evaluator.mean_loss(network, train), self.evaluator.mean_loss(network, validation)

    def outcome(self, network: nn.Module) -> Outcome:
        """The results of a network in evaluation mode on the test examples."""
        return self.evaluator.outcome(network, self.part, self.test, with_outputs=True)


def _indices(rows: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.asarray(rows, dtype=np.int64))
