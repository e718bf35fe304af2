"""The functions that a user supplies to train a network."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import nn

from thinned.studies.examples.outcomes import ExampleScore

__all__ = ["NetworkFunctions"]


class NetworkFunctions(NamedTuple):
    """The functions that a user supplies to train a network.

    Attributes:
        build: makes a freshly initialised network, from torch's default generator.
        loss: takes the network's output and the targets of a batch, and returns the loss that training lowers, a number
            or one for each example; None takes that of the task.
        score: takes the same and returns a number for each example, lower is better, by which networks are compared;
            None takes the loss of the task.
        sampler: takes the targets of the training examples, once an epoch, and returns the positions to train on, as
            ``torch.utils.data.WeightedRandomSampler`` does; None takes each example once, in a new order.
        train: trains a network in place of the study, as ``train(network, run)`` with a
            :class:`thinned.studies.training.own_training.run.TrainingRun`; None leaves it to the study.
    """

    build: Callable[[], nn.Module]
    loss: Callable[..., torch.Tensor] | None = None
    score: ExampleScore | None = None
    sampler: Callable[[torch.Tensor], Iterable[int]] | None = None
    train: Callable[..., object] | None = None
