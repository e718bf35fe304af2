"""Predictions of a network's outputs, and weighted moments of many members' predictions."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch

from thinned.errors import InputError, sentence
from thinned.uncertainty.validation import checked_probabilities

__all__ = ["Kind", "Moments", "Predictor"]

Kind = Literal["values", "logits", "probabilities"]
_KINDS = ("values", "logits", "probabilities")
_Logarithms = Callable[[torch.Tensor], tuple[torch.Tensor, ...]]


class Predictor(NamedTuple):
    """Makes predictions of outputs.

    Attributes:
        kind: "values" are predictions as they stand; "logits" become probabilities by softmax over the last axis, or by
            the logistic function where there is one column; "probabilities" are such already.
        columns: number of columns; a vector with one value a row has 1.
    """

    kind: Kind
    columns: int

    @classmethod
    def for_output(cls, kind: Kind, output: torch.Tensor, *, classes_may_be_first: bool = False) -> "Predictor":
        """The predictor for outputs like ``output``, which has no axis of members.

        Raises:
            InputError: ``kind`` is unknown, the output is not floating-point, the axis of its classes is unknown, or
                its probabilities are no distribution over classes.
        """
        if kind not in _KINDS:
            raise InputError(sentence(f"output must be one of {', '.join(_KINDS)}", f"got output={kind!r}"))
        if not output.is_floating_point():
            raise InputError(sentence("the output must be floating-point", f"got {output.dtype}", "pass select="))
        if kind != "values" and classes_may_be_first:
            raise InputError(
                sentence(
                    "the axis of classes of an image or a sequence must be known",
                    f"got an output of shape {tuple(output.shape)}",
                    "pass select=lambda output: output.movedim(1, -1) where classes are axis 1, "
                    "or select=lambda output: output where they are the last axis",
                )
            )
        if kind == "probabilities":
            checked_probabilities(output if output.ndim > 1 else output.unsqueeze(-1))
        return cls(kind, output.shape[-1] if output.ndim > 1 else 1)

    def __call__(self, output: torch.Tensor) -> torch.Tensor:
        """Predictions, of the shape of ``output``."""
        if self.kind != "logits":
            return output
        return output.sigmoid() if self.columns == 1 else output.softmax(-1)

    def logarithms(self) -> _Logarithms | None:
        """A function for the logarithms whose means make the normalised geometric mean; None for values."""
        if self.kind == "values":
            return None
        if self.kind == "logits":
            # The normalising constant of softmax cancels: mean logits are enough (Baldi & Sadowski 2013, §3).
            return lambda output: (output,)
        if self.columns == 1:
            return lambda output: (output.log(), torch.log1p(-output))
        return lambda output: (output.log(),)

    def normalised_geometric_mean(self, mean_logarithms: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """The normalised geometric mean of probabilities, from the means of :meth:`logarithms`."""
        if len(mean_logarithms) == 2:
            return (mean_logarithms[0] - mean_logarithms[1]).sigmoid()
        return mean_logarithms[0].sigmoid() if self.columns == 1 else mean_logarithms[0].softmax(-1)


class Moments:
    """Mean, variance and mean logarithms of predictions, accumulated in float64 over chunks of members.

    Args:
        predictor: makes predictions of outputs.
        center: value that deviations are taken from, such as the weight-scaled prediction. Near the mean, the variance
            loses no digits.
    """

    def __init__(self, predictor: Predictor, center: torch.Tensor) -> None:
        self.predictor, self.center = predictor, center
        self.weight = 0.0
        wide = torch.zeros_like(center, dtype=torch.float64)
        self._first, self._second = wide, wide.clone()
        self._logarithms: list[torch.Tensor] | None = None

    def add(self, outputs: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Add outputs ``(members, ...)`` with their weights (float64), and return their predictions."""
        self.weight += float(weights.sum())
        if (logarithms := self.predictor.logarithms()) is not None:
            sums = [_weighted_sum(weights, log) for log in logarithms(outputs)]
            known = self._logarithms
            self._logarithms = sums if known is None else [a + b for a, b in zip(known, sums, strict=True)]
        predictions = self.predictor(outputs)
        deviations = predictions - self.center
        self._first = self._first + _weighted_sum(weights, deviations)
        self._second = self._second + _weighted_sum(weights, deviations.square_())
        return predictions

    @property
    def mean(self) -> torch.Tensor:
        """The weighted mean, in the dtype of the outputs."""
        return (self.center.double() + self._first / self.weight).to(self.center.dtype)

    @property
    def variance(self) -> torch.Tensor:
        """The weighted population variance, float64."""
        return (self._second / self.weight - (self._first / self.weight).square()).clamp(min=0)

    @property
    def geometric_mean(self) -> torch.Tensor | None:
        """The normalised weighted geometric mean of probabilities; None for values."""
        if self._logarithms is None:
            return None
        means = tuple(total / self.weight for total in self._logarithms)
        return self.predictor.normalised_geometric_mean(means).to(self.center.dtype)


def _weighted_sum(weights: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """The weighted sum over members, float64."""
    wide = values if values.dtype.itemsize > 2 else values.float()
    flat = wide.reshape(len(weights), values[0].numel())
    if flat.dtype == torch.float64 or flat.numel() < 1 << 16:
        sums = weights @ flat.double()
    else:  # a float32 product of weights scaled to about 1 rounds little enough within a chunk
        largest = weights.max()
        sums = ((weights / largest).to(flat.dtype) @ flat).double() * largest
    return sums.reshape(values.shape[1:])
