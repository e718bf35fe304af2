"""Finds out, by a trial of some steps, whether the networks of a study train as stacks, and how much faster."""

import heapq
import statistics
from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from thinned.errors import InputError
from thinned.studies.cores import one_core
from thinned.studies.design.setting import Setting
from thinned.studies.design.splits import Split
from thinned.studies.examples.batch import Batch
from thinned.studies.examples.examples import ExampleSet
from thinned.studies.examples.generators import seeded_generators
from thinned.studies.training.apply_setting import SettingApplication
from thinned.studies.training.loop.config import NetworkConfig
from thinned.studies.training.loop.fit import Training, make_network
from thinned.studies.training.loop.functions import NetworkFunctions
from thinned.studies.training.loop.streams import Streams
from thinned.studies.training.stack.fit import StackTraining
from thinned.studies.training.stack.groups import stack_key
from thinned.studies.training.stack.network_stack import NetworkStack
from thinned.studies.training.stack.train import make_stack
from thinned.studies.training.stopwatch import Stopwatch
from thinned.studies.user_code import is_out_of_memory

__all__ = ["StackSize", "StackTrial", "batchable", "choose_size", "measure_speedups"]

_SIZES = (4, 8)  # numbers of members that are tried, and all that fit into one stack
_MOST = 16
_LONGEST_STEP = 0.2  # seconds of one network's step: where operations take long, a stack saves nothing
_WARM, _ROUNDS = 2, 7
_MARGIN = 1.1  # times faster, at least: a trial is not exact


class StackSize(NamedTuple):
    """The largest number of members of a stack; 1 trains each network alone; and by what factor that is faster."""

    members: int = 1
    speedup: float = 1.0


class StackTrial(NamedTuple):
    """What a trial trains, with the arguments of :func:`measure_speedups`."""

    functions: NetworkFunctions
    application: SettingApplication
    examples: ExampleSet
    split: Split
    config: NetworkConfig

    @property
    def streams(self) -> Streams:
        """The streams of the trial's networks; the caller sets the generators back."""
        return Streams(0, self.split.repeat, self.split.fold)

    def stack(self, settings: Sequence[Setting]) -> tuple[NetworkStack, StackTraining]:
        """A stack of networks, one of each setting."""
        return make_stack(
            self.functions, self.application, self.examples, self.split, settings, self.config, self.streams
        )

    def alone(self, setting: Setting) -> tuple[nn.Module, Training]:
        """The network of a setting by itself."""
        prepare = partial(self.application, setting=setting)
        device = self.config.torch_device()
        network = make_network(self.functions, prepare, self.examples, self.streams, device)
        config = self.config.with_setting(setting)
        return network, Training(network, self.functions, self.examples, self.split, config, self.streams)

    def groups(self, settings: Sequence[Setting]) -> list[list[Setting]]:
        """Settings that fit into one stack, where there are several; the most first."""
        groups: defaultdict[Hashable, list[Setting]] = defaultdict(list)
        for setting in settings:
            groups[stack_key(setting, self.application.sites)].append(setting)
        return sorted((group for group in groups.values() if len(group) > 1), key=len, reverse=True)


def measure_speedups(
    functions: NetworkFunctions,
    application: SettingApplication,
    examples: ExampleSet,
    split: Split,
    settings: Sequence[Setting],
    config: NetworkConfig,
) -> dict[int, float]:
    """Measure by what factor stacks of several sizes train faster than their members one after another.

    Args:
        functions: those of the user.
        application: makes the networks of the settings.
        examples: the examples.
        split: numbers of the examples that train, validate and test.
        settings: of the plan.
        config: how to train.

    Returns:
        By the number of members; empty where no stack can be trained, or a step takes so long that none would be
        faster.
    """
    trial = StackTrial(functions, application, examples, split, config)
    with one_core(), seeded_generators(trial.streams.weights, config.torch_device()):
        groups = trial.groups(settings)
        if functions.train is not None or not groups or _step_takes_long(trial, groups[0]):
            return {}
        most = min(len(groups[0]), _MOST)
        sizes = [*(size for size in _SIZES if size < most), most]
        try:
            return {size: _speedup(trial, groups[0][-size:]) for size in sizes} if batchable(trial, settings) else {}
        except (RuntimeError, MemoryError) as error:
            if is_out_of_memory(error):
                return {}
            raise


def batchable(trial: StackTrial, settings: Sequence[Setting]) -> bool:
    """Whether the networks of all settings train as stacks, with the numbers that each has alone.

    Not so are networks that a function of the user's trains; those for which, or for whose loss, ``torch.func.vmap``
    has no rule, as where code looks at the value of an activation; and those whose loss, gradients or buffers after a
    step are other ones than alone: code that draws for each member, keeps a state of its own or looks at a rate.

    Args:
        trial: what is trained.
        settings: of the plan.
    """
    if trial.functions.train is not None:
        return False
    return all(_agrees(trial, group[:_MOST]) for group in trial.groups(settings))


def _agrees(trial: StackTrial, settings: Sequence[Setting]) -> bool:
    """Take one step with a stack and with each of its members alone, from equal states, and compare."""
    try:
        stack, together = trial.stack(settings)
        stack.train()
        shapes = {name: value.shape for name, value in stack.buffers.items()}
        batch, key = next(together.batches.of_epoch(0))
        losses = together.backward(batch, key)
    except InputError:
        return False
    if shapes != {name: value.shape for name, value in stack.buffers.items()}:
        return False  # a buffer that grows has no place in a stack
    return all(
        _is_member(trial, setting, stack, number, losses[number], batch, key) for number, setting in enumerate(settings)
    )


def _is_member(
    trial: StackTrial, setting: Setting, stack: NetworkStack, number: int, loss: torch.Tensor, batch: Batch, key: int
) -> bool:
    network, training = trial.alone(setting)
    network.train()
    alone = training.backward(batch, key)
    pairs = [(loss, alone)]
    gradients = {name: value.grad for name, value in stack.parameters.items()}
    for name, parameter in network.named_parameters():
        ours = gradients[name]
        if (ours is None) != (parameter.grad is None):
            return False
    named = [(name, p.grad) for name, p in network.named_parameters() if p.grad is not None]
    pairs.append((_joined([gradients[name][number] for name, _ in named]), _joined([grad for _, grad in named])))  # type: ignore[index]
    buffers = [(stack.buffers[name][number], value) for name, value in network.named_buffers() if name in stack.buffers]
    pairs += buffers
    bfloat16 = trial.config.precision == "bfloat16"
    return all(_equal(one, other, torch.bfloat16 if bfloat16 else other.dtype) for one, other in pairs)


def _joined(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors])


def _equal(one: torch.Tensor, other: torch.Tensor, dtype: torch.dtype) -> bool:
    """Equal but for half of the digits of floating-point numbers, in the norm of all together."""
    if not other.is_floating_point():
        return torch.equal(one, other)
    difference = torch.linalg.vector_norm((one - other).double())
    bound = torch.finfo(dtype).eps ** 0.5 * torch.linalg.vector_norm(other.double())
    return bool(difference <= bound)


def _step_takes_long(trial: StackTrial, settings: Sequence[Setting]) -> bool:
    steps = trial.alone(settings[-1])[1].steps()
    next(steps)
    return _seconds(steps, trial.config.torch_device()) > _LONGEST_STEP


def _speedup(trial: StackTrial, settings: Sequence[Setting]) -> float:
    """By what factor a stack trains an epoch faster than its members alone; the evaluation takes as long."""
    device, size = trial.config.torch_device(), len(settings)
    training = trial.alone(max(settings, key=lambda setting: setting.drops))[1]
    _, together = trial.stack(settings)
    alone, stacked = training.steps(), together.steps()
    times: list[tuple[float, float]] = []
    for number in range(_WARM + _ROUNDS):
        pair = _seconds(alone, device), _seconds(stacked, device)
        if number >= _WARM:
            times.append(pair)
    step, of_stack = (statistics.median(column) for column in zip(*times, strict=True))
    evaluated = min(2 * training.batches.chunk, trial.examples.count)
    training.evaluate(torch.arange(min(training.batches.chunk, evaluated)))  # the first pass is slower
    watch = Stopwatch()
    training.evaluate(torch.arange(evaluated))
    evaluation = watch.seconds() / evaluated * 2 * len(trial.split.validation)
    steps = training.batches.steps_of_epoch
    return float(size * (steps * step + evaluation) / (steps * of_stack + size * evaluation))


def _seconds(steps: Iterator[None], device: torch.device) -> float:
    """Time of the next step."""
    watch = Stopwatch()
    next(steps)
    if device.type != "cpu":
        torch.get_device_module(device).synchronize(device)
    return watch.seconds()


def choose_size(
    speedups: Mapping[int, float], stages: Sequence[Mapping[int, Sequence[int]]], workers: int
) -> StackSize:
    """The size of stacks with which all stages end first; several workers may be busier with single networks.

    Args:
        speedups: by the number of members of a stack, as :func:`measure_speedups` returns it.
        stages: for each stage, by the largest number of members of a stack: the number of members of every job.
        workers: jobs that run at a time.
    """
    known = {1: 1.0, **speedups}
    sizes, factors = list(known), list(known.values())

    def duration(jobs: Sequence[int]) -> float:
        """When the last of the workers is ready, in units of one network."""
        ends = [0.0] * workers
        for job in sorted(jobs, reverse=True):
            heapq.heapreplace(ends, ends[0] + job / float(np.interp(job, sizes, factors)))
        return max(ends)

    durations = {size: sum(duration(stage[size]) for stage in stages) for size in known}
    best = min(durations, key=lambda size: durations[size])
    speedup = durations[1] / durations[best]
    return StackSize(best, speedup) if speedup >= _MARGIN else StackSize()
