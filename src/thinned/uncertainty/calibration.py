"""Calibration of probabilities: reliability diagrams, proper scores, temperature scaling."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F

from thinned.errors import InputError, sentence
from thinned.uncertainty.representation import ShortRepr
from thinned.uncertainty.validation import checked_probabilities

__all__ = [
    "Reliability",
    "brier_score",
    "expected_calibration_error",
    "fit_temperature",
    "negative_log_likelihood",
    "reliability",
]


@dataclass(frozen=True, repr=False)
class Reliability(ShortRepr):
    """A reliability diagram: one entry a bin. Bins without rows are left out.

    Attributes:
        confidence: mean predicted probability of the bin's rows.
        frequency: fraction of the bin's rows for which the prediction came true.
        rows: number of rows in the bin.
    """

    confidence: torch.Tensor
    frequency: torch.Tensor
    rows: torch.Tensor

    @property
    def error(self) -> float:
        """The expected calibration error: mean distance of frequency from confidence, weighted by rows."""
        return float((self.rows * (self.frequency - self.confidence).abs()).sum() / self.rows.sum())

    def chart(self) -> dict[str, object]:
        """The diagram as a Vega-Lite specification with a dashed diagonal; ``altair.Chart.from_dict`` takes it."""
        columns = {name: getattr(self, name).tolist() for name in ("confidence", "frequency", "rows")}
        values = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        scale = {"domain": [0, 1]}
        encoding = {
            "x": {"field": "confidence", "type": "quantitative", "title": "Predicted probability", "scale": scale},
            "y": {"field": "frequency", "type": "quantitative", "title": "Observed frequency", "scale": scale},
        }
        diagonal = [{"confidence": end, "frequency": end} for end in (0, 1)]
        return {
            "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
            "encoding": encoding,
            "layer": [
                {"data": {"values": diagonal}, "mark": {"type": "line", "strokeDash": [4, 4], "color": "gray"}},
                {"data": {"values": values}, "mark": {"type": "line", "point": True, "tooltip": {"content": "data"}}},
            ],
        }


def reliability(probabilities: torch.Tensor, targets: torch.Tensor, bins: int = 15) -> Reliability:
    """Compare predicted probabilities with frequencies, in bins of equal width (Guo et al. 2017, §2).

    Binary: the probability of the positive class against the frequency of that class. Multiclass: the largest
    probability against the frequency with which its class is the target.

    Args:
        probabilities: ``(rows,)``, ``(rows, 1)`` or ``(rows, classes)``.
        targets: class numbers, ``(rows,)``.
        bins: number of bins of equal width in [0, 1]; each holds its upper edge.

    Raises:
        InputError: shapes differ, probabilities or targets are none, or ``bins`` is less than 1.
    """
    p, binary, targets = _checked(probabilities, targets)
    if bins < 1:
        raise InputError(sentence("bins must be at least 1", f"got bins={bins}"))
    confidence, predicted = (p, torch.ones_like(targets)) if binary else p.max(-1)
    edges = torch.linspace(0, 1, bins + 1, dtype=p.dtype, device=p.device)
    index = torch.bucketize(confidence.contiguous(), edges[1:-1])  # bucketize warns about non-contiguous input
    count = torch.bincount(index, minlength=bins)
    filled = count > 0
    confidences = torch.bincount(index, confidence, bins)[filled] / count[filled]
    frequencies = torch.bincount(index, (predicted == targets).to(p.dtype), bins)[filled] / count[filled]
    return Reliability(confidences, frequencies, count[filled])


def expected_calibration_error(probabilities: torch.Tensor, targets: torch.Tensor, bins: int = 15) -> float:
    """Mean distance of probabilities from frequencies (Guo et al. 2017, equation 3); see :func:`reliability`."""
    return reliability(probabilities, targets, bins).error


def brier_score(probabilities: torch.Tensor, targets: torch.Tensor) -> float:
    """Mean squared error of probabilities (Brier 1950), summed over classes where there are more than two.

    Args:
        probabilities: ``(rows,)``, ``(rows, 1)`` or ``(rows, classes)``.
        targets: class numbers, ``(rows,)``.

    Raises:
        InputError: shapes differ, or probabilities or targets are none.
    """
    p, binary, targets = _checked(probabilities, targets)
    if binary:
        return float((p - targets).square().mean())
    return float((p - F.one_hot(targets, p.shape[-1])).square().sum(-1).mean())


def negative_log_likelihood(probabilities: torch.Tensor, targets: torch.Tensor) -> float:
    """Mean −ln of the target's probability, in nats; infinite where such a probability is 0.

    Args:
        probabilities: ``(rows,)``, ``(rows, 1)`` or ``(rows, classes)``.
        targets: class numbers, ``(rows,)``.

    Raises:
        InputError: shapes differ, or probabilities or targets are none.
    """
    p, binary, targets = _checked(probabilities, targets)
    of_target = torch.where(targets == 1, p, 1 - p) if binary else p.gather(-1, targets[:, None]).squeeze(-1)
    return float(-of_target.log().mean())


def fit_temperature(logits: torch.Tensor, targets: torch.Tensor) -> float:
    """The temperature T for which ``logits / T`` have the smallest log loss (Guo et al. 2017, §4.2).

    Fit it on rows that the model was not trained on. For an ensemble, the logarithms of its mean probabilities are
    logits. The log loss is convex in 1 / T; its derivative is bisected in float64.

    Args:
        logits: ``(rows,)``, ``(rows, 1)`` or ``(rows, classes)``.
        targets: class numbers, ``(rows,)``.

    Returns:
        T, between 1/1024 and 1024: near 0 where all rows are right, 1024 where logits are no better than chance.

    Raises:
        InputError: shapes differ, targets are no class numbers, or a logit is NaN or infinite.

    Example:
        >>> import torch
        >>> fit_temperature(torch.tensor([2.0, 2.0, 2.0, -2.0]), torch.tensor([1, 1, 0, 0])) > 1  # too sure of itself
        True
    """
    z, binary, targets = _checked(logits, targets, name="logits")
    of_target = z if binary else z.gather(-1, targets[:, None]).squeeze(-1)
    if not bool(of_target.isfinite().all()) or not bool((z < torch.inf).all()):
        remedy = "clamp probabilities away from 0 before their logarithm"
        raise InputError(sentence("logits must be numbers, and finite for the targets", "got others", remedy))

    def slope(inverse: float) -> float:
        if binary:
            return float((z * ((z * inverse).sigmoid() - targets)).mean())
        p = (z * inverse).softmax(-1)
        expected = torch.where(p > 0, p * z, 0).sum(-1)  # 0 · -inf is NaN for a class with the logit -inf
        return float((expected - of_target).mean())

    low, high = -10.0, 10.0  # log2 (1 / T)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(2.0**middle) < 0 else (low, middle)
    return float(2.0 ** -((low + high) / 2))


class _Scored(NamedTuple):
    """Scores in float64, ``(rows,)`` where binary, and int64 targets."""

    scores: torch.Tensor
    binary: bool
    targets: torch.Tensor


def _checked(scores: torch.Tensor, targets: torch.Tensor, name: str = "probabilities") -> _Scored:
    wide = scores.detach().double()
    wide = wide.squeeze(-1) if wide.ndim == 2 and wide.shape[-1] == 1 else wide
    targets = targets.detach().reshape(-1)
    if wide.ndim not in (1, 2) or len(wide) != len(targets) or len(targets) == 0:
        value = f"got {name} of {tuple(scores.shape)} and {len(targets)} targets"
        raise InputError(sentence(f"{name} must be (rows,) or (rows, classes), with a target for each row", value))
    binary = wide.ndim == 1
    if name == "probabilities":
        wide = checked_probabilities(wide[:, None]).squeeze(-1) if binary else checked_probabilities(wide)
    classes = 2 if binary else wide.shape[-1]
    numbers = targets.to(torch.int64)
    if not bool(((targets == numbers) & (numbers >= 0) & (numbers < classes)).all()):
        raise InputError(sentence(f"targets must be class numbers from 0 to {classes - 1}", "got others"))
    return _Scored(wide, binary, numbers)
