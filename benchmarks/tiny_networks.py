"""Tiny networks, many at once, and problems to train them on: for simulated studies whose truth must be known.

A network has one layer of 8 hidden units, and trains on all its rows at once, 30 steps of Adam; the step of least
validation loss keeps its weights. Networks that start alike share initial weights and masks: a higher rate drops what a
lower one drops, and more.
"""

from typing import NamedTuple

import numpy as np
import torch
from scipy import stats
from torch.nn import functional as F

COLUMNS, HIDDEN, STEPS, RATE = 5, 8, 30, 0.07


class Problem(NamedTuple):
    """A population: lines, one interaction, and as much noise as signal."""

    task: str
    weights: torch.Tensor  # (COLUMNS + 1,): of the columns and of the product of the first two

    def sample(self, shape: tuple[int, ...], generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Columns and targets: values, or 0 and 1."""
        x = torch.randn(*shape, COLUMNS, generator=generator)
        mean = self.mean(x)
        if self.task == "regression":
            return x, mean + torch.randn(shape, generator=generator)
        return x, (torch.rand(shape, generator=generator) < mean).float()

    def mean(self, x: torch.Tensor) -> torch.Tensor:
        """Expected target."""
        signal = x @ self.weights[:-1] + x[..., 0] * x[..., 1] * self.weights[-1]
        return signal if self.task == "regression" else torch.sigmoid(2 * signal)


def draw_problem(task: str, generator: torch.Generator) -> Problem:
    weights = torch.randn(COLUMNS + 1, generator=generator)
    return Problem(task, weights / weights.norm())


class Training(NamedTuple):
    """What networks train on, and how; ``x`` and ``y`` may be shared by all networks, ``(rows, 1, ...)``."""

    x: torch.Tensor  # (rows, networks, COLUMNS)
    y: torch.Tensor  # (rows, networks)
    is_training: torch.Tensor  # (rows, networks)
    is_validation: torch.Tensor  # (rows, networks)
    starts: torch.Tensor  # (networks,): networks of one number start alike
    rates: torch.Tensor  # (networks,): of dropout
    decays: torch.Tensor  # (networks,): of the weights, a step


class Weights(NamedTuple):
    """Weights of all networks, the bias as that of a last column of ones."""

    first: torch.Tensor  # (COLUMNS + 1, networks, HIDDEN)
    last: torch.Tensor  # (networks, HIDDEN + 1)

    def outputs(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """``(rows, networks)`` from rows ``(rows, networks or 1, COLUMNS)``."""
        if x.shape[1] == 1:  # one matrix product for all networks
            hidden = x[:, 0] @ self.first[:-1].flatten(1) + self.first[-1].flatten()
            hidden = hidden.unflatten(1, self.first.shape[1:])
        else:
            hidden = self.first[-1]
            for column, first in zip(x.unbind(-1), self.first, strict=False):  # faster than small matrix products
                hidden = torch.addcmul(hidden, column[..., None], first)
        hidden = hidden.relu()
        return ((hidden if mask is None else hidden * mask) * self.last[:, :-1]).sum(-1) + self.last[:, -1]


class Networks(NamedTuple):
    """Trained networks, and the validation loss of each at its best step."""

    task: str
    weights: Weights
    validation_loss: torch.Tensor  # (networks,)

    def losses(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Losses, ``(networks, rows)``, on rows ``(rows, COLUMNS)`` that all share.

        A target may be an expected one: a binary loss is then the expected loss, a squared one the loss that is not
        noise.
        """
        parts = zip(x.split(500), y.split(500), strict=True)  # what a cache holds
        return torch.cat([losses(self.task, self.weights.outputs(x[:, None]), y[:, None]) for x, y in parts]).T


def losses(task: str, outputs: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    if task == "regression":
        return (outputs - y).square()
    return F.softplus(outputs) - outputs * y


def train(task: str, t: Training, generator: torch.Generator) -> Networks:
    """The networks at the step of least validation loss."""
    starts, rows = int(t.starts.max()) + 1, len(t.x)
    first = (2 * torch.rand(COLUMNS + 1, starts, HIDDEN, generator=generator) - 1) / COLUMNS**0.5
    last = (2 * torch.rand(starts, HIDDEN + 1, generator=generator) - 1) / HIDDEN**0.5
    weights = best = Weights(first[:, t.starts].requires_grad_(), last[t.starts].requires_grad_())
    optimizer = torch.optim.Adam(list(weights), RATE)
    least = torch.full((len(t.starts),), torch.inf)
    training = t.is_training / t.is_training.sum(0)
    validation = t.is_validation / t.is_validation.sum(0)
    rates, kept = t.rates[:, None], 1 - t.decays[:, None]
    for _ in range(STEPS):
        drawn = torch.rand(rows, starts, HIDDEN, generator=generator)[:, t.starts]
        optimizer.zero_grad()
        outputs = weights.outputs(t.x, (drawn >= rates) / (1 - rates))
        (losses(task, outputs, t.y) * training).sum().backward()
        optimizer.step()
        with torch.no_grad():
            weights.first[:-1] *= kept
            weights.last[:, :-1] *= kept
            loss = (losses(task, weights.outputs(t.x), t.y) * validation).sum(0)
            better = (loss < least)[:, None]
            least = torch.minimum(loss, least)
            best = Weights(*(torch.where(better, new, old) for new, old in zip(weights, best, strict=True)))
    return Networks(task, best, least)


def deal(rows: int, networks: int, validation: int, generator: torch.Generator) -> torch.Tensor:
    """Validation rows of each network, dealt anew, ``(rows, networks)``."""
    return torch.rand(rows, networks, generator=generator).argsort(0) < validation


def share(covered: np.ndarray) -> str:
    """A share in per cent with its exact 95 % binomial interval (Clopper & Pearson 1934)."""
    count, total = int(np.sum(covered)), len(covered)
    low, high = stats.binomtest(count, total).proportion_ci(0.95, method="exact")
    return f"{100 * count / total:5.1f} % ({100 * low:.1f}–{100 * high:.1f})"
