"""Losses and scores of a network of one's own, with dropout off."""

import contextlib
import math
from typing import NamedTuple

import torch
from torch import nn

from thinned.errors import InputError
from thinned.studies import metrics
from thinned.studies.examples import outcomes
from thinned.studies.examples.batch import call_network
from thinned.studies.examples.examples import Part
from thinned.studies.examples.generators import seed_generators
from thinned.studies.examples.outcomes import ExampleScore
from thinned.studies.examples.targets import ExampleTask
from thinned.studies.training.loop.config import Precision
from thinned.studies.training.loop.reader import Reader
from thinned.studies.user_code import user_code

__all__ = ["Evaluator", "Outcome", "finite", "precision_of"]


class Outcome(NamedTuple):
    """A network's results on some examples, on the CPU.

    Attributes:
        losses: ``(n,)``.
        outputs: ``(n, outputs)`` logits or values; None where the task has no scores of its own.
        y: ``(n, …)`` targets; None without outputs.
        right_tokens: ``(n, 2)`` number of each example's tokens that are predicted right, and of all; None where the
            task has none.
    """

    losses: torch.Tensor
    outputs: torch.Tensor | None
    y: torch.Tensor | None
    right_tokens: torch.Tensor | None = None

    @property
    def is_finite(self) -> bool:
        """Whether the network did not diverge."""
        outputs_finite = self.outputs is None or bool(self.outputs.isfinite().all())
        return outputs_finite and bool(self.losses.isfinite().all())

    def scores(self, task: ExampleTask) -> dict[str, float | None]:
        """Mean loss, and scores of the task."""
        if self.right_tokens is not None:
            right, count = self.right_tokens.sum(0).tolist()
            mean = float(self.losses.double().mean()) if self.is_finite else None
            return {"loss": mean, "token_accuracy": right / max(1, count)}
        if not self.is_finite:
            return dict.fromkeys(["loss", *(() if self.outputs is None else metrics.names(task))])
        y = self.losses if self.y is None else self.y
        try:
            return dict(outcomes.scores(task, self.outputs, y, self.losses))
        except InputError:  # outputs that only a score of the user's own understands
            return dict(outcomes.scores(task, None, y, self.losses))


class Evaluator(NamedTuple):
    """Evaluates a network.

    Attributes:
        reader: reads examples.
        task: what is predicted.
        score: the user's own, or None.
        chunk: examples evaluated at once.
        precision: of the network.
        device: where the network is.
        key: of what the network draws.
    """

    reader: Reader
    task: ExampleTask
    score: ExampleScore | None
    chunk: int
    precision: Precision
    device: torch.device
    key: int

    # not inference_mode: what a module caches of an evaluation may be needed by a later backward pass
    @torch.no_grad()
    def outcome(self, network: nn.Module, part: Part, indices: torch.Tensor, *, with_outputs: bool) -> Outcome:
        """Evaluate a network, which is in evaluation mode, on some examples."""
        seed_generators(self.key, self.device)
        losses, outputs, targets = [], [], []
        keeps = with_outputs and self.task in metrics.TASKS
        tokens: list[torch.Tensor] = []
        for batch in self.reader.batches(part, torch.split(indices, self.chunk)):
            with precision_of(self.device, self.precision), user_code("the network must evaluate every batch"):
                output = call_network(network, batch.x)
            losses.append(outcomes.example_losses(self.task, output, batch.y, self.score))
            if with_outputs and self.task == "tokens" and self.score is None:
                tokens.append(outcomes.count_right_tokens(outcomes.output_tensor(output), batch.y))
            if keeps and (z := self._comparable(output, len(batch.y))) is not None:
                outputs.append(z)
                targets.append(batch.y)
        joined = torch.cat(losses).cpu()
        if not outputs:
            return Outcome(joined, None, None, torch.cat(tokens).cpu() if tokens else None)
        return Outcome(joined, torch.cat(outputs).cpu(), torch.cat(targets).cpu())

    def _comparable(self, output: object, examples: int) -> torch.Tensor | None:
        """The output as scores of the task take it; None where only a score of the user's own understands it."""
        try:
            z = outcomes.output_tensor(output)
        except InputError:
            if self.score is None:
                raise
            return None
        return z.float() if z.ndim in (1, 2) and len(z) == examples else None

    def mean_loss(self, network: nn.Module, indices: torch.Tensor) -> float | None:
        """Mean loss on examples that are dealt; None where it is not finite."""
        return finite(float(self.outcome(network, "eval", indices, with_outputs=False).losses.double().mean()))


def precision_of(device: torch.device, precision: Precision) -> contextlib.AbstractContextManager[object]:
    """Let torch compute in bfloat16 within, or as it would."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bfloat16" else contextlib.nullcontext()


def finite(value: float) -> float | None:
    """The number, or None where it is not finite."""
    return value if math.isfinite(value) else None
