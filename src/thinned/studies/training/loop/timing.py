"""Measures how long the networks of a study will take."""

import time
from collections.abc import Iterator
from typing import NamedTuple

import torch

from thinned.studies.cores import one_core
from thinned.studies.design.splits import Split
from thinned.studies.examples.examples import ExampleSet
from thinned.studies.examples.generators import seeded_generators
from thinned.studies.training.loop.config import NetworkConfig
from thinned.studies.training.loop.fit import Prepare, Training, make_network
from thinned.studies.training.loop.functions import NetworkFunctions
from thinned.studies.training.loop.streams import Streams
from thinned.studies.training.stopwatch import Stopwatch

__all__ = ["MeasuredTime", "measure_time"]

_WARM_STEPS, _FEWEST_STEPS = 2, 5
_SECONDS = 1.0


class MeasuredTime(NamedTuple):
    """Measured on one core, or on the accelerator, without the waiting for a core that others use.

    Attributes:
        epoch: seconds of an epoch, evaluation on training and validation examples included.
        network: seconds that a network takes besides its epochs: building it, and testing it twice.
    """

    epoch: float
    network: float


def measure_time(
    functions: NetworkFunctions, prepare: Prepare, examples: ExampleSet, split: Split, config: NetworkConfig
) -> MeasuredTime:
    """Train a network for about a second, at least five steps, and evaluate some examples.

    Args:
        functions: those of the user.
        prepare: makes the network of a setting of the user's; dropout costs time.
        examples: the examples.
        split: numbers of the examples that train, validate and test.
        config: how to train.
    """
    streams, device = Streams(0, split.repeat, split.fold), config.torch_device()
    with one_core(), seeded_generators(streams.weights, device):
        watch = Stopwatch()
        network = make_network(functions, prepare, examples, streams, device)
        training = Training(network, functions, examples, split, config, streams)
        built = watch.seconds()
        steps = training.steps()
        step = _mean_seconds(steps, device)
        evaluated = min(2 * training.chunk, examples.count)
        training.evaluate(torch.arange(min(training.chunk, evaluated)))  # the first pass is slower
        watch = Stopwatch()
        training.evaluate(torch.arange(evaluated))
        example = watch.seconds() / evaluated
    tested = len(split.test) or examples.test_count
    return MeasuredTime(
        epoch=step * training.steps_of_epoch + example * 2 * len(split.validation),
        network=built + example * 2 * tested,
    )


def _mean_seconds(steps: Iterator[None], device: torch.device) -> float:
    """Mean time of a step after the first ones."""
    for _ in range(_WARM_STEPS):
        next(steps)
    _wait(device)
    watch, begin, done = Stopwatch(), time.perf_counter(), 0
    while done < _FEWEST_STEPS or time.perf_counter() - begin < _SECONDS:
        next(steps)
        done += 1
    _wait(device)
    return watch.seconds() / done


def _wait(device: torch.device) -> None:
    if device.type != "cpu":
        torch.get_device_module(device).synchronize(device)
