"""One network of one's own on its way through the epochs."""

import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import msgspec
import torch
from torch import nn

from thinned.conversion.api import address
from thinned.errors import InputError, sentence
from thinned.studies.design.splits import Split
from thinned.studies.examples.batch import Batch, call_network
from thinned.studies.examples.examples import ExampleSet
from thinned.studies.examples.generators import seed_generators, seeded_generators
from thinned.studies.examples.outcomes import example_losses
from thinned.studies.examples.targets import ExampleTask
from thinned.studies.training.loop.batches import SplitBatches
from thinned.studies.training.loop.checkpoint import Checkpoint, Position
from thinned.studies.training.loop.config import NetworkConfig
from thinned.studies.training.loop.evaluation import Outcome, precision_of
from thinned.studies.training.loop.functions import NetworkFunctions
from thinned.studies.training.loop.optimizer import NetworkOptimizer
from thinned.studies.training.loop.streams import Streams
from thinned.studies.user_code import user_code

__all__ = ["Fitted", "Prepare", "Training", "fit", "load_state", "make_network", "network_state"]

#: makes the network of a setting of a network as the user builds it
Prepare = Callable[[nn.Module], nn.Module]
_REPORT = 0.5  # seconds between two reports


class Fitted(NamedTuple):
    """A trained network.

    Attributes:
        network: in evaluation mode, with the whole state of its best epoch.
        position: curves and best epoch.
        at_best: outcome on the test examples at the best epoch; None without test examples.
        at_end: the same after the last epoch.
    """

    network: nn.Module
    position: Position
    at_best: Outcome | None
    at_end: Outcome | None


def fit(
    functions: NetworkFunctions,
    prepare: Prepare,
    examples: ExampleSet,
    split: Split,
    config: NetworkConfig,
    seed: int,
    report: Callable[[int], None] = lambda epoch: None,
    checkpoint: Checkpoint | None = None,
    epochs: int | None = None,
) -> Fitted:
    """Train one network; see :func:`thinned.studies.training.loop.train.train_network`.

    Without validation examples nothing is measured, patience has no meaning, and the last epoch is kept.

    Args:
        functions: those of the user.
        prepare: makes the network of the setting of the user's.
        examples: the examples.
        split: numbers of the examples that train, validate and test; without test examples the given test set is taken.
        config: how to train.
        seed: seed of the study.
        report: called every half second and after each epoch with the number of finished epochs.
        checkpoint: where the training goes on from, should it be interrupted; None keeps none.
        epochs: training ends after so many, while its schedule runs as over the whole budget; None takes the budget.
    """
    streams, device = Streams(seed, split.repeat, split.fold), config.torch_device()
    with seeded_generators(streams.weights, device):
        network = make_network(functions, prepare, examples, streams, device)
        training = Training(network, functions, examples, split, config, streams)
        if checkpoint is not None and (found := checkpoint.load()) is not None:
            training.resume(*found)
        training.run(report, checkpoint, epochs)
        fitted = training.finish()
    if checkpoint is not None:
        checkpoint.remove()
    return fitted


def make_network(
    functions: NetworkFunctions, prepare: Prepare, examples: ExampleSet, streams: Streams, device: torch.device
) -> nn.Module:
    """Build a network with the initial weights and mask addresses of a split; the caller keeps the generators.

    Raises:
        InputError: what ``build`` returns is no network.
    """
    if isinstance(functions.build, nn.Module):
        value, remedy = f"got a {type(functions.build).__name__}", "pass a function that builds and returns it"
        raise InputError(sentence("network must be a function that returns a fresh torch.nn.Module", value, remedy))
    seed_generators(streams.weights, device)
    with user_code("build must make a network"):
        network: object = functions.build()
    if not isinstance(network, nn.Module):
        raise InputError(sentence("build must return a torch.nn.Module", f"it returned a {type(network).__name__}"))
    network.to(device)
    if any(torch.nn.parameter.is_lazy(p) for p in network.parameters()):  # a first pass makes its weights
        with torch.no_grad(), user_code("the network must take a batch of the examples"):
            call_network(network.eval(), examples.batch([0, 1]).to(device).x)
    network = prepare(network).to(device)
    address(network, streams.masks)
    return network


class Training:
    """The training of one network.

    Args:
        network: freshly made, on the device.
        functions: those of the user.
        examples: the examples.
        split: numbers of the examples that train, validate and test.
        config: how to train.
        streams: what everything random follows from.

    Attributes:
        position: how far it is.
        batches: the examples, as it reads them.
    """

    def __init__(
        self,
        network: nn.Module,
        functions: NetworkFunctions,
        examples: ExampleSet,
        split: Split,
        config: NetworkConfig,
        streams: Streams,
    ) -> None:
        self.position = Position()
        self.batches = SplitBatches(functions, examples, split, config, streams)
        self._network, self._functions, self._task, self._config = network, functions, examples.task, config
        self._device = config.torch_device()
        self._optimizer = NetworkOptimizer(network, config, self.batches.steps_of_epoch * config.epochs)
        self._best: dict[str, torch.Tensor] = {}

    def run(
        self, report: Callable[[int], None], checkpoint: Checkpoint | None = None, epochs: int | None = None
    ) -> None:
        """Train until the budget, or ``epochs`` of it, or the patience ends, or nothing finite is left."""
        reported, last = time.monotonic(), epochs or self._config.epochs
        while self.position.epoch < last and not self._is_over:
            epoch, step = self.position.epoch, self.position.step
            self._network.train()
            for batch, key in self.batches.of_epoch(epoch, step):
                self.backward(batch, key)
                self._optimizer.step(epoch * self.batches.steps_of_epoch + step)
                step += 1
                if time.monotonic() - reported > _REPORT:
                    reported = time.monotonic()
                    report(epoch)
                if checkpoint is not None and checkpoint.is_due:
                    self.position = msgspec.structs.replace(self.position, step=step)
                    checkpoint.save(self.position, self._tensors())
            self._end_epoch()
            report(epoch + 1)

    def steps(self) -> Iterator[None]:
        """Train on and on, a step at a time, without losses, epochs' ends or checkpoints."""
        self._network.train()
        for epoch in itertools.count():
            for batch, key in self.batches.of_epoch(epoch):
                self.backward(batch, key)
                self._optimizer.step(0)
                yield

    def evaluate(self, indices: torch.Tensor) -> float | None:
        """Mean loss on some examples."""
        return self.batches.evaluator.mean_loss(self._network.eval(), indices)

    def resume(self, position: Position, tensors: Mapping[str, torch.Tensor]) -> None:
        """Go on from a checkpoint."""
        self.position = position
        parts: dict[str, dict[str, torch.Tensor]] = {"network": {}, "best": {}, "optimizer": {}}
        for name, tensor in tensors.items():
            part, _, rest = name.partition("/")
            parts[part][rest] = tensor.to(self._device)
        load_state(self._network, parts["network"])
        self._best = parts["best"]
        self._optimizer.load(parts["optimizer"])

    def finish(self) -> Fitted:
        """Evaluate the test examples after the last epoch and at the best one, whose state the network gets."""
        network, tests = self._network.eval(), bool(len(self.batches.test))
        at_end = at_best = self._outcome() if tests else None
        if self._best and self.position.best_epoch + 1 < len(self.position.validation):
            load_state(network, self._best)
            at_best = self._outcome() if tests else None
        return Fitted(network, self.position, at_best, at_end)

    @property
    def _is_over(self) -> bool:
        return self.position.is_over(self._config.patience, self._network.parameters())

    def backward(self, batch: Batch, key: int) -> torch.Tensor:
        """Compute the loss of a batch, 0-dim, and the gradients of the parameters.

        Args:
            batch: the examples.
            key: of what the network draws.
        """
        seed_generators(key, self._device)
        with user_code("the network must train on every batch of the examples"):
            with precision_of(self._device, self._config.precision):
                loss = training_loss(self._functions, self._task, call_network(self._network, batch.x), batch.y)
            loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def _end_epoch(self) -> None:
        """Measure the losses, and keep the state of the best epoch."""
        if not len(self.batches.validation):
            self.position = Position(self.position.epoch + 1)
            return
        train, validation = self.batches.losses(self._network.eval())
        self.position = self.position.after_epoch(train, validation)
        if self.position.is_best:
            self._best = {name: tensor.detach().clone() for name, tensor in network_state(self._network)}

    def _outcome(self) -> Outcome:
        return self.batches.outcome(self._network)

    def _tensors(self) -> dict[str, torch.Tensor]:
        named = {f"network/{name}": tensor for name, tensor in network_state(self._network)}
        named |= {f"best/{name}": tensor for name, tensor in self._best.items()}
        return named | {f"optimizer/{name}": tensor for name, tensor in self._optimizer.tensors().items()}


def training_loss(functions: NetworkFunctions, task: ExampleTask, output: object, y: torch.Tensor) -> torch.Tensor:
    """The loss that training lowers, 0-dim.

    Raises:
        InputError: the output does not fit the targets, or the user's loss is no tensor.
    """
    if functions.loss is None:
        return example_losses(task, output, y).mean()
    with user_code("loss must take every output of the network with its targets"):
        loss: object = functions.loss(output, y)
    if not isinstance(loss, torch.Tensor) or not loss.is_floating_point():
        raise InputError(sentence("loss must return a tensor", f"got {type(loss).__name__}"))
    return loss.mean()


def network_state(network: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """The whole state: parameters and buffers, also those that a state dict leaves out."""
    return itertools.chain(network.named_parameters(), network.named_buffers())


@torch.no_grad()
def load_state(network: nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    """Give a network a state; a buffer of another shape is replaced."""
    for name, tensor in network_state(network):
        if (kept := tensors.get(name)) is None:
            continue
        if tensor.shape == kept.shape:
            tensor.copy_(kept)
        else:
            owner, _, attribute = name.rpartition(".")
            setattr(network.get_submodule(owner), attribute, kept.clone())
