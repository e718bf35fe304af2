"""A stack of networks on its way through the epochs."""

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec
import numpy as np
import torch

from thinned.studies.design.splits import Split
from thinned.studies.examples.batch import Batch, call_network
from thinned.studies.examples.examples import ExampleSet
from thinned.studies.examples.generators import seed_generators
from thinned.studies.training.loop.batches import SplitBatches
from thinned.studies.training.loop.checkpoint import Checkpoint, Position
from thinned.studies.training.loop.config import NetworkConfig
from thinned.studies.training.loop.evaluation import precision_of
from thinned.studies.training.loop.fit import Fitted, training_loss
from thinned.studies.training.loop.functions import NetworkFunctions
from thinned.studies.training.loop.streams import Streams
from thinned.studies.training.stack.network_stack import NetworkStack
from thinned.studies.training.stack.optimizer import StackOptimizer
from thinned.studies.user_code import user_code

__all__ = ["StackTraining"]

_REPORT = 0.5  # seconds between two reports
_POSITIONS = "positions"


class StackTraining:
    """The training of a stack; each member's curve and best epoch are its own.

    A member whose patience has ended is computed on until the others are ready, and none of that is kept.

    Args:
        stack: freshly made.
        functions: those of the user.
        examples: the examples.
        split: numbers of the examples that train, validate and test.
        configs: that of each member; they differ in weight decay alone.
        streams: what everything random follows from.

    Attributes:
        positions: how far each member is; their own number of steps is that of the stack.
        batches: the examples, as it reads them.
    """

    def __init__(
        self,
        stack: NetworkStack,
        functions: NetworkFunctions,
        examples: ExampleSet,
        split: Split,
        configs: Sequence[NetworkConfig],
        streams: Streams,
    ) -> None:
        self.batches = SplitBatches(functions, examples, split, configs[0], streams)
        if not len(self.batches.validation) or not len(self.batches.test):
            raise ValueError("a stack needs validation and test examples")
        self.positions = [Position() for _ in range(stack.size)]
        self._epoch, self._step = 0, 0
        self._stack, self._functions, self._task, self._config = stack, functions, examples.task, configs[0]
        self._device = self._config.torch_device()
        self._optimizer = StackOptimizer(stack.trained, configs, self.batches.steps_of_epoch * self._config.epochs)
        self._best = {name: value.detach().clone() for name, value in stack.state.items()}
        #: the state after each member's own last epoch, where patience may end
        self._last = {n: v.clone() for n, v in self._best.items()} if self._config.patience is not None else {}
        self._is_over = np.zeros(stack.size, dtype=bool)

    def run(self, report: Callable[[int], None], checkpoint: Checkpoint | None = None) -> None:
        """Train until the budget ends, or each member's patience, or nothing finite is left."""
        reported = time.monotonic()
        while self._epoch < self._config.epochs and not self._is_over.all():
            self._stack.train()
            for batch, key in self.batches.of_epoch(self._epoch, self._step):
                self.backward(batch, key)
                self._optimizer.step(self._epoch * self.batches.steps_of_epoch + self._step)
                self._step += 1
                if time.monotonic() - reported > _REPORT:
                    reported = time.monotonic()
                    report(self._epoch)
                if checkpoint is not None and checkpoint.is_due:
                    checkpoint.save(Position(self._epoch, self._step), self._tensors())
            self._end_epoch()
            report(self._epoch)

    def steps(self) -> Iterator[None]:
        """Train on and on, a step at a time, without losses, epochs' ends or checkpoints."""
        self._stack.train()
        for epoch in itertools.count():
            for batch, key in self.batches.of_epoch(epoch):
                self.backward(batch, key)
                self._optimizer.step(0)
                yield

    def backward(self, batch: Batch, key: int) -> torch.Tensor:
        """Compute the loss of a batch for each member, ``(members,)``, and the gradients of the parameters.

        Args:
            batch: the examples.
            key: of what the networks draw.
        """

        def loss(network: Callable[..., object]) -> torch.Tensor:
            return training_loss(self._functions, self._task, call_network(network, batch.x), batch.y)

        seed_generators(key, self._device)
        with user_code("the networks must train as one program"):
            with precision_of(self._device, self._config.precision):
                losses = self._stack.losses(loss)
            losses.sum().backward()  # type: ignore[no-untyped-call]
        return losses.detach()

    def resume(self, position: Position, tensors: Mapping[str, torch.Tensor]) -> None:
        """Go on from a checkpoint."""
        self._epoch, self._step = position.epoch, position.step
        parts: dict[str, dict[str, torch.Tensor]] = {"state": {}, "best": {}, "last": {}, "optimizer": {}}
        for name, tensor in tensors.items():
            part, _, rest = name.partition("/")
            if rest:
                parts[part][rest] = tensor.to(self._device)
        content = tensors[_POSITIONS].numpy().tobytes()
        self.positions = msgspec.json.decode(content, type=list[Position])
        self._is_over = tensors["is_over"].numpy().copy()
        self._stack.load(parts["state"], tensors["clock"])
        self._best, self._last = parts["best"], parts["last"]
        self._optimizer.load(parts["optimizer"])

    def finish(self, member: int) -> Fitted:
        """Evaluate the test examples after a member's last epoch and at its best one."""
        position = self.positions[member]
        network = self._stack.member(member, self._last if self._is_over[member] and self._last else None)
        at_end = at_best = self.batches.outcome(network)
        if 0 <= position.best_epoch < position.epoch - 1:
            network = self._stack.member(member, self._best)
            at_best = self.batches.outcome(network)
        return Fitted(network, position, at_best, at_end)

    def _end_epoch(self) -> None:
        """Measure the losses of the members that train, and keep the state of their best epochs."""
        self._epoch, self._step = self._epoch + 1, 0
        for number in np.flatnonzero(~self._is_over).tolist():
            losses = self.batches.losses(self._stack.member(number))
            position = self.positions[number] = self.positions[number].after_epoch(*losses)
            if position.is_best:
                self._keep(self._best, number)
            parameters = (value[number] for value in self._stack.parameters.values())
            if position.is_over(self._config.patience, parameters):
                self._is_over[number] = True
                if self._last:
                    self._keep(self._last, number)

    @torch.no_grad()
    def _keep(self, kept: Mapping[str, torch.Tensor], number: int) -> None:
        for name, value in self._stack.state.items():
            kept[name][number] = value[number]

    def _tensors(self) -> dict[str, torch.Tensor]:
        named = {f"state/{name}": tensor for name, tensor in self._stack.state.items()}
        named |= {f"best/{name}": tensor for name, tensor in self._best.items()}
        named |= {f"last/{name}": tensor for name, tensor in self._last.items()}
        named |= {f"optimizer/{name}": tensor for name, tensor in self._optimizer.tensors().items()}
        positions = torch.from_numpy(np.frombuffer(msgspec.json.encode(self.positions), dtype=np.uint8).copy())
        is_over = torch.from_numpy(self._is_over.copy())
        return {**named, "clock": self._stack.clock, _POSITIONS: positions, "is_over": is_over}
