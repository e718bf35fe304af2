"""Dropout rates that change with training or with depth, without touching the model's code.

A schedule is a function from the number of a training step to a rate. :class:`RateScheduler` writes it into the
``rate`` buffers of a model's dropout layers, which take the place of ``p``: a compiled model is not compiled again.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import TypedDict

import torch
from torch import nn

from thinned.errors import check_p, sentence
from thinned.layers.base import Addressed, dropout_layers

__all__ = ["RateScheduler", "Schedule", "by_depth", "constant", "cosine", "dropout_layers", "early", "late", "linear"]

#: from the number of a training step, counted from 0, to a rate in [0, 1]
Schedule = Callable[[int], float]


class SchedulerState(TypedDict):
    """The state of a :class:`RateScheduler`."""

    last_step: int


def constant(p: float) -> Schedule:
    """The rate ``p`` at every step.

    Args:
        p: rate in [0, 1].

    Raises:
        ValueError: ``p`` lies outside [0, 1].
    """
    check_p(p)
    return lambda _: p


def linear(start: float, end: float, steps: int) -> Schedule:
    """A straight line from ``start`` to ``end``.

    Args:
        start: rate at step 0.
        end: rate at step ``steps`` and from then on.
        steps: length of the line, at least 1.

    Raises:
        ValueError: a rate lies outside [0, 1], or ``steps`` is less than 1.
    """
    _check(start, end, steps)
    return lambda step: start + (end - start) * _progress(step, steps)


def cosine(start: float, end: float, steps: int) -> Schedule:
    """Half a cosine from ``start`` to ``end``.

    Args:
        start: rate at step 0.
        end: rate at step ``steps`` and from then on.
        steps: length of the curve, at least 1.

    Raises:
        ValueError: a rate lies outside [0, 1], or ``steps`` is less than 1.
    """
    _check(start, end, steps)
    return lambda step: end + (start - end) * 0.5 * (1 + math.cos(math.pi * _progress(step, steps)))


def early(p: float, steps: int, *, decreasing: bool = True) -> Schedule:
    """Dropout in the first ``steps`` steps only, against underfitting (Liu et al. 2023).

    Args:
        p: rate at step 0.
        steps: step from which on the rate is 0; the end of epoch 50 of 300 in the paper.
        decreasing: decrease linearly to 0, the paper's default; False keeps ``p`` until ``steps``.

    Raises:
        ValueError: ``p`` lies outside [0, 1], or ``steps`` is less than 1.
    """
    _check(p, 0.0, steps)
    if decreasing:
        return linear(p, 0.0, steps)
    return lambda step: p if step < steps else 0.0


def late(p: float, steps: int) -> Schedule:
    """No dropout in the first ``steps`` steps, then ``p``, against overfitting (Liu et al. 2023).

    Args:
        p: rate from step ``steps`` on.
        steps: number of steps without dropout, at least 1.

    Raises:
        ValueError: ``p`` lies outside [0, 1], or ``steps`` is less than 1.
    """
    _check(p, 0.0, steps)
    return lambda step: p if step >= steps else 0.0


def by_depth(model: nn.Module, start: float, end: float, names: Iterable[str] | None = None) -> dict[str, Schedule]:
    """Constant rates, evenly spaced from the first dropout layer to the last (Huang et al. 2016, §3).

    Args:
        model: model with dropout layers of thinned.
        start: rate of the first layer.
        end: rate of the last layer.
        names: qualified names of the layers from first to last; None takes all in the order of ``named_modules``.

    Returns:
        The schedule of each layer by name; :class:`RateScheduler` takes it.

    Raises:
        ValueError: a rate lies outside [0, 1].
    """
    _check(start, end, 1)
    ordered = list(dropout_layers(model) if names is None else names)
    return {name: constant(start + (end - start) * i / max(len(ordered) - 1, 1)) for i, name in enumerate(ordered)}


class RateScheduler:
    """Sets the rates of a model's dropout layers, as torch's learning-rate schedulers set an optimiser's.

    Each layer gets a ``rate`` buffer (0-dim float64, not in the model's state dict); its ``p`` stays as it is.
    A layer whose rate reaches 0 passes its input through bit for bit.

    Args:
        model: model with dropout layers of thinned; ``thinned.convert`` makes them.
        schedule: one schedule for all layers, or schedules of some layers by qualified name.
        relative: multiply the schedule by each layer's own ``p``.
        step: number of the first step, as ``state_dict`` saves it.

    Attributes:
        last_step: number of the present step.

    Raises:
        ValueError: the model has no dropout layer of thinned, or a rate lies outside [0, 1].
        KeyError: a name is not that of a dropout layer.

    Example:
        >>> import torch, thinned
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 4), thinned.Dropout(0.1))
        >>> scheduler = RateScheduler(model, early(0.5, steps=10))
        >>> for _ in range(5):
        ...     _ = model(torch.ones(1, 4))  # and the optimiser's step
        ...     scheduler.step()
        >>> scheduler.rates
        {'1': 0.25}
    """

    def __init__(
        self, model: nn.Module, schedule: Schedule | Mapping[str, Schedule], *, relative: bool = False, step: int = 0
    ) -> None:
        layers = dropout_layers(model)
        if not layers:
            value = f"{type(model).__name__} has none"
            raise ValueError(sentence("the model must have dropout layers of thinned", value, "use thinned.convert"))
        chosen = schedule if isinstance(schedule, Mapping) else dict.fromkeys(layers, schedule)
        for name in chosen:
            if name not in layers:
                raise KeyError(sentence("names must be those of dropout layers", f"got {name!r}"))
        self._layers = {name: layers[name] for name in chosen}
        self._schedules = dict(chosen)
        self._relative = relative
        self.last_step = step
        self._write()

    @property
    def rates(self) -> dict[str, float]:
        """The rate of each layer now."""
        return {name: self._rate(name) for name in self._layers}

    def step(self) -> None:
        """Advance by one training step."""
        self.last_step += 1
        self._write()

    def state_dict(self) -> SchedulerState:
        """The number of the step, to be saved."""
        return {"last_step": self.last_step}

    def load_state_dict(self, state: SchedulerState) -> None:
        """Continue at the saved step."""
        self.last_step = int(state["last_step"])
        self._write()

    def _rate(self, name: str) -> float:
        rate = self._schedules[name](self.last_step)
        return check_p(rate * float(self._layers[name].p) if self._relative else rate)

    def _write(self) -> None:
        for name, layer in self._layers.items():
            _rate_buffer(layer).fill_(self._rate(name))  # in place: a compiled or captured model sees it


def _rate_buffer(layer: Addressed) -> torch.Tensor:
    """The layer's ``rate``, added where there is none."""
    if layer.rate is None:
        key = layer._buffers["key"]
        layer.rate = torch.zeros((), dtype=torch.float64, device=None if key is None else key.device)
    return layer.rate


def _progress(step: int, steps: int) -> float:
    return min(max(step / steps, 0.0), 1.0)


def _check(start: float, end: float, steps: int) -> None:
    check_p(start)
    check_p(end)
    if steps < 1:
        raise ValueError(sentence("steps must be at least 1", f"got steps={steps}"))
