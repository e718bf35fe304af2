"""Dropout rates that change with training or with depth, without touching the model's code.

A schedule is a function from the number of a training step to a rate. :class:`RateScheduler` writes it into the
``rate`` buffers of a model's dropout layers, which take the place of ``p``: a compiled model is not compiled again.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn

from thinned.errors import check_p, sentence

__all__ = ["RateScheduler", "Schedule", "by_depth", "constant", "cosine", "early", "late", "linear", "sites"]

Schedule = Callable[[int], float]


def constant(p: float) -> Schedule:
    """The rate ``p`` at every step."""
    check_p(p)
    return lambda _: p


def linear(start: float, end: float, steps: int) -> Schedule:
    """From ``start`` at step 0 to ``end`` at step ``steps`` in a straight line, and ``end`` from then on."""
    _check(start, end, steps)
    return lambda step: start + (end - start) * _progress(step, steps)


def cosine(start: float, end: float, steps: int) -> Schedule:
    """From ``start`` at step 0 to ``end`` at step ``steps`` along half a cosine, and ``end`` from then on."""
    _check(start, end, steps)
    return lambda step: end + (start - end) * 0.5 * (1 + math.cos(math.pi * _progress(step, steps)))


def early(p: float, steps: int, *, decreasing: bool = True) -> Schedule:
    """Dropout in the first ``steps`` steps only, against underfitting (Liu et al. 2023).

    Args:
        p: the rate at step 0.
        steps: from this step on the rate is 0; in the paper 50 of 300 epochs.
        decreasing: linearly to 0, the paper's default; False keeps ``p`` until ``steps``.
    """
    _check(p, 0.0, steps)
    if decreasing:
        return linear(p, 0.0, steps)
    return lambda step: p if step < steps else 0.0


def late(p: float, steps: int) -> Schedule:
    """No dropout in the first ``steps`` steps, ``p`` after them, against overfitting (Liu et al. 2023)."""
    _check(p, 0.0, steps)
    return lambda step: p if step >= steps else 0.0


def sites(model: nn.Module) -> dict[str, nn.Module]:
    """The dropout layers of ``model`` by qualified name, in the order of ``named_modules``."""
    return {name: module for name, module in model.named_modules() if {"rate", "key", "call"} <= module._buffers.keys()}


def by_depth(model: nn.Module, start: float, end: float, names: Iterable[str] | None = None) -> dict[str, Schedule]:
    """Constant rates from ``start`` at the first dropout layer to ``end`` at the last, evenly (Huang et al. 2016, §3).

    Args:
        model: with dropout layers of ours.
        start: rate of the first.
        end: rate of the last.
        names: qualified names of the layers from first to last; None takes all in the order of ``named_modules``.

    Returns:
        What :class:`RateScheduler` takes as ``schedule``.
    """
    _check(start, end, 1)
    ordered = list(sites(model) if names is None else names)
    return {name: constant(start + (end - start) * i / max(len(ordered) - 1, 1)) for i, name in enumerate(ordered)}


class RateScheduler:
    """Sets the rates of a model's dropout layers, as torch's learning-rate schedulers set an optimiser's.

    Each layer gets a ``rate`` buffer (0-dim float64, not in the model's state dict); its ``p`` stays as it is.
    A layer whose rate reaches 0 passes its input through bit for bit.

    Args:
        model: with dropout layers of ours (``thinned.convert`` makes them).
        schedule: for all layers, or by qualified name for some.
        relative: the schedule is multiplied by each layer's own ``p``.
        step: number of the first step; what ``state_dict`` saves.

    Raises:
        ValueError: the model has no dropout layer of ours.
        KeyError: a name is not that of one.

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
        found = sites(model)
        if not found:
            seen = f"{type(model).__name__} has none"
            raise ValueError(sentence("the model must have dropout layers of thinned", seen, "use thinned.convert"))
        chosen = schedule if isinstance(schedule, Mapping) else dict.fromkeys(found, schedule)
        for name in chosen:
            if name not in found:
                raise KeyError(sentence("names must be those of dropout layers", f"got {name!r}"))
        self._sites = {name: found[name] for name in chosen}
        self._schedules = dict(chosen)
        self._relative = relative
        self.last_step = step
        for layer in self._sites.values():
            if layer._buffers["rate"] is None:
                key = layer._buffers["key"]
                layer.rate = torch.zeros((), dtype=torch.float64, device=None if key is None else key.device)
        self._write()

    @property
    def rates(self) -> dict[str, float]:
        """The rate of each layer now."""
        return {name: self._rate(name) for name in self._sites}

    def step(self) -> None:
        """Advance by one training step."""
        self.last_step += 1
        self._write()

    def state_dict(self) -> dict[str, Any]:
        """The number of the step."""
        return {"last_step": self.last_step}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue at the saved step."""
        self.last_step = int(state["last_step"])
        self._write()

    def _rate(self, name: str) -> float:
        rate = self._schedules[name](self.last_step)
        return check_p(rate * float(self._sites[name].p) if self._relative else rate)  # type: ignore[arg-type]

    def _write(self) -> None:
        for name, layer in self._sites.items():
            layer._buffers["rate"].fill_(self._rate(name))  # type: ignore[union-attr]  # in place: what was compiled or captured sees it


def _progress(step: int, steps: int) -> float:
    return min(max(step / steps, 0.0), 1.0)


def _check(start: float, end: float, steps: int) -> None:
    check_p(start)
    check_p(end)
    if steps < 1:
        raise ValueError(sentence("steps must be at least 1", f"got steps={steps}"))
