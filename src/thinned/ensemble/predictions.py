"""From a network's output to its prediction, and weighted moments of many members' predictions."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch

from thinned.errors import InputError, sentence

__all__ = ["Kind", "Moments", "Predictor"]

Kind = Literal["values", "logits", "probabilities"]
_KINDS = ("values", "logits", "probabilities")


class Predictor(NamedTuple):
    """How outputs are read.

    Attributes:
        kind: "values" are predictions as they stand; "logits" become probabilities by softmax over the last axis, or by
            the logistic function where there is one column; "probabilities" are such already.
        columns: number of them; a vector of one value a row has 1.
    """

    kind: Kind
    columns: int

    @classmethod
    def of(cls, kind: Kind, output: torch.Tensor) -> "Predictor":
        """For outputs like ``output``, which has no axis of members."""
        if kind not in _KINDS:
            raise InputError(sentence(f"output must be one of {', '.join(_KINDS)}", f"got output={kind!r}"))
        if not output.is_floating_point():
            raise InputError(sentence("the output must be floating-point", f"got {output.dtype}", "pass select="))
        return cls(kind, output.shape[-1] if output.ndim > 1 else 1)

    def __call__(self, output: torch.Tensor) -> torch.Tensor:
        """Predictions."""
        if self.kind != "logits":
            return output
        return output.sigmoid() if self.columns == 1 else output.softmax(-1)

    def geometric(self) -> Callable[[torch.Tensor], tuple[torch.Tensor, ...]] | None:
        """The logarithms whose means make the normalised geometric mean; None where there are no probabilities."""
        if self.kind == "values":
            return None
        if self.kind == "logits":
            # of softmax, the normalising constant cancels: mean logits are enough (Baldi & Sadowski 2013, §3)
            return lambda output: (output,)
        if self.columns == 1:
            return lambda output: (output.log(), torch.log1p(-output))
        return lambda output: (output.log(),)

    def normalised(self, logs: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """The normalised geometric mean of probabilities, from the mean logarithms."""
        if len(logs) == 2:
            return (logs[0] - logs[1]).sigmoid()
        return logs[0].sigmoid() if self.columns == 1 else logs[0].softmax(-1)


class Moments:
    """Mean, variance and mean logarithms of predictions, accumulated in float64 over chunks of members.

    Args:
        predictor: reads outputs.
        center: what deviations are taken from, such as the weight-scaled prediction: near the mean, so that the
            variance loses no digits.
    """

    def __init__(self, predictor: Predictor, center: torch.Tensor) -> None:
        self.predictor, self.center = predictor, center
        self.weight = 0.0
        wide = torch.zeros_like(center, dtype=torch.float64)
        self.first, self.second = wide, wide.clone()
        self._logs: list[torch.Tensor] | None = None

    def add(self, outputs: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Take in outputs ``(members, ...)`` with their weights (float64), and return their predictions."""
        self.weight += float(weights.sum())
        if (logs := self.predictor.geometric()) is not None:
            sums = [_weighted(weights, log) for log in logs(outputs)]
            self._logs = sums if self._logs is None else [a + b for a, b in zip(self._logs, sums, strict=True)]
        predictions = self.predictor(outputs)
        deviations = predictions - self.center
        self.first = self.first + _weighted(weights, deviations)
        self.second = self.second + _weighted(weights, deviations.square_())
        return predictions

    @property
    def mean(self) -> torch.Tensor:
        """The weighted mean, in the dtype of the outputs."""
        return (self.center.double() + self.first / self.weight).to(self.center.dtype)

    @property
    def variance(self) -> torch.Tensor:
        """The weighted population variance, float64."""
        return (self.second / self.weight - (self.first / self.weight).square()).clamp(min=0)

    @property
    def geometric_mean(self) -> torch.Tensor | None:
        """The normalised weighted geometric mean of probabilities."""
        if self._logs is None:
            return None
        return self.predictor.normalised(tuple(log / self.weight for log in self._logs)).to(self.center.dtype)


def _weighted(weights: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """The weighted sum over members, float64."""
    wide = values if values.dtype.itemsize > 2 else values.float()
    flat = wide.reshape(len(weights), -1)
    if flat.dtype == torch.float64 or flat.numel() < 1 << 16:
        sums = weights @ flat.double()
    else:  # a matrix product in float32 of weights scaled to about 1, for which the rounding of a chunk is enough
        largest = weights.max()
        sums = ((weights / largest).to(flat.dtype) @ flat).double() * largest
    return sums.reshape(values.shape[1:])
