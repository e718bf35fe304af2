"""The functions that a user supplies to train a network."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

import torch
from joblib import wrap_non_picklable_objects
from torch import nn

from thinned.studies.examples.outcomes import ExampleScore

__all__ = ["NetworkFunctions", "by_value"]


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
    """

    build: Callable[[], nn.Module]
    loss: Callable[..., torch.Tensor] | None = None
    score: ExampleScore | None = None
    sampler: Callable[[torch.Tensor], Iterable[int]] | None = None


def by_value(function: Callable[..., object]) -> object:
    """A function for pickle that works in a worker, also where it is a notebook's or a script's own."""
    return wrap_non_picklable_objects(partial(function), keep_wrapper=False)  # partial: a class would be called
