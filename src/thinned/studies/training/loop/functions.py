"""The functions that a user supplies to train a network."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import nn

from thinned.errors import InputError, sentence
from thinned.studies.examples.outcomes import ExampleScore
from thinned.studies.user_code import user_code

__all__ = ["NetworkFunctions", "Sampler", "sampled_positions"]


Sampler = Callable[[torch.Tensor], Iterable[int]]


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
    sampler: Sampler | None = None
    train: Callable[..., object] | None = None


def sampled_positions(sampler: Sampler, targets: torch.Tensor, least: int) -> torch.Tensor:
    """The positions that a user's sampler returns for an epoch, ``(steps × batch,)`` int64.

    Args:
        sampler: see :class:`NetworkFunctions`.
        targets: of the training examples.
        least: number of positions of one batch.

    Raises:
        InputError: they are no positions of training examples, or fewer than a batch.
    """
    with user_code("sampler must return positions of training examples"):
        positions = torch.tensor(list(sampler(targets)), dtype=torch.int64).reshape(-1)
    if len(positions) < least:
        value = f"got {len(positions)} for a batch of {least}"
        raise InputError(sentence("sampler must return positions for at least one batch", value))
    if not 0 <= int(positions.min()) <= int(positions.max()) < len(targets):
        value = f"got {int(positions.min())} to {int(positions.max())} for {len(targets)} training examples"
        remedy = "return positions in the targets that it was given"
        raise InputError(sentence("sampler must return positions of training examples", value, remedy))
    return positions
