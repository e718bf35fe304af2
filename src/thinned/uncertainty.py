"""How sure an ensemble is, and whether it is right to be.

Binary classification is told by its shape: ``(rows,)`` or ``(rows, 1)`` is the probability, or logit, of the positive
class. Otherwise the last axis is that of classes. Targets are class numbers.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

from thinned.errors import InputError, sentence

__all__ = [
    "Interval",
    "Reliability",
    "Split",
    "brier_score",
    "conformal_interval",
    "expected_calibration_error",
    "fit_temperature",
    "negative_log_likelihood",
    "reliability",
    "split_entropy",
    "split_variance",
]


class Split(NamedTuple):
    """Uncertainty by where it comes from; the first is the sum of the other two."""

    total: torch.Tensor
    aleatoric: torch.Tensor
    epistemic: torch.Tensor


def split_entropy(probabilities: torch.Tensor) -> Split:
    """Entropy of the mean probability = mean entropy of members + mutual information (Houlsby et al. 2011).

    The mean is that of probabilities. The softmax of mean logits is the normalised geometric mean, whose entropy is
    another number.

    Args:
        probabilities: ``(members, rows, classes)``, or for binary ``(members, rows)`` or ``(members, rows, 1)``; more
            axes may stand between.

    Returns:
        Nats, ``(rows,)``.

    Example:
        >>> import torch
        >>> split_entropy(torch.tensor([[1.0, 0.5], [0.0, 0.5]])).epistemic  # two that disagree, two that don't know
        tensor([0.6931, 0.0000])
    """
    if probabilities.ndim < 2:
        seen = f"got shape {tuple(probabilities.shape)}"
        raise InputError(sentence("probabilities must have axes of members and rows", seen))
    _check_probable(probabilities)
    p = probabilities.unsqueeze(-1) if probabilities.ndim == 2 else probabilities
    p = torch.cat([1 - p, p], -1) if p.shape[-1] == 1 else p
    total, aleatoric = _entropy(p.mean(0)), _entropy(p).mean(0)
    return Split(total, aleatoric, total - aleatoric)


def _entropy(p: torch.Tensor) -> torch.Tensor:
    out: torch.Tensor = torch.special.entr(p).sum(-1)
    return out


def split_variance(values: torch.Tensor, noise: float | torch.Tensor | None = None) -> Split:
    """Variance = mean noise variance + variance of the members' values (Kendall & Gal 2017, equation 9).

    Args:
        values: ``(members, ...)``.
        noise: the variance of the noise, known, or predicted by each member; None is 0.

    Returns:
        In squared units of the values, ``(...)``.
    """
    if values.ndim == 0 or len(values) < 2:
        raise InputError(sentence("a variance needs at least two members", f"got shape {tuple(values.shape)}"))
    epistemic = values.var(0)
    noise = torch.as_tensor(0.0 if noise is None else noise, dtype=values.dtype, device=values.device)
    if not bool((noise >= 0).all()):
        raise InputError(sentence("noise is a variance, and must not be negative", f"got {float(noise.min()):.4g}"))
    aleatoric = noise.expand(values.shape).mean(0)
    return Split(epistemic + aleatoric, aleatoric, epistemic)


@dataclass(frozen=True)
class Reliability:
    """A reliability diagram: one entry a bin, bins without rows left out.

    Attributes:
        confidence: mean predicted probability of the bin's rows.
        frequency: how often what was predicted came true.
        rows: how many the bin has.
    """

    confidence: torch.Tensor
    frequency: torch.Tensor
    rows: torch.Tensor

    @property
    def error(self) -> float:
        """The expected calibration error: mean |frequency − confidence|, weighted by rows."""
        return float((self.rows * (self.frequency - self.confidence).abs()).sum() / self.rows.sum())

    def chart(self) -> dict[str, Any]:
        """The diagram as a Vega-Lite specification, its diagonal dashed; ``altair.Chart.from_dict`` takes it."""
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

    Binary: the probability of the positive class with how often it is the target. Multiclass: the largest probability
    with how often its class is the target.

    Args:
        probabilities: ``(rows,)``, ``(rows, 1)`` or ``(rows, classes)``.
        targets: ``(rows,)``, class numbers.
        bins: of equal width in [0, 1], each with its upper edge.
    """
    p, binary, targets = _checked(probabilities, targets)
    if bins < 1:
        raise InputError(sentence("bins must be at least 1", f"got bins={bins}"))
    confidence, predicted = (p, torch.ones_like(targets)) if binary else p.max(-1)
    edges = torch.linspace(0, 1, bins + 1, dtype=p.dtype, device=p.device)
    index = torch.bucketize(confidence.contiguous(), edges[1:-1])  # of a slice torch would warn
    count = torch.bincount(index, minlength=bins)
    filled = count > 0
    confidences = torch.bincount(index, confidence, bins)[filled] / count[filled]
    frequencies = torch.bincount(index, (predicted == targets).to(p.dtype), bins)[filled] / count[filled]
    return Reliability(confidences, frequencies, count[filled])


def expected_calibration_error(probabilities: torch.Tensor, targets: torch.Tensor, bins: int = 15) -> float:
    """Mean distance of probabilities from frequencies (Guo et al. 2017, equation 3); see :func:`reliability`."""
    return reliability(probabilities, targets, bins).error


def brier_score(probabilities: torch.Tensor, targets: torch.Tensor) -> float:
    """Mean squared error of probabilities (Brier 1950): of the positive class, or summed over all where there are more.

    Args:
        probabilities: ``(rows,)``, ``(rows, 1)`` or ``(rows, classes)``.
        targets: ``(rows,)``, class numbers.
    """
    p, binary, targets = _checked(probabilities, targets)
    if binary:
        return float((p - targets).square().mean())
    return float((p - F.one_hot(targets, p.shape[-1])).square().sum(-1).mean())


def negative_log_likelihood(probabilities: torch.Tensor, targets: torch.Tensor) -> float:
    """Mean −ln of the probability that the target had, in nats; infinite where one was 0.

    Args:
        probabilities: ``(rows,)``, ``(rows, 1)`` or ``(rows, classes)``.
        targets: ``(rows,)``, class numbers.
    """
    p, binary, targets = _checked(probabilities, targets)
    given = torch.where(targets == 1, p, 1 - p) if binary else p.gather(-1, targets[:, None]).squeeze(-1)
    return float(-given.log().mean())


def fit_temperature(logits: torch.Tensor, targets: torch.Tensor) -> float:
    """The temperature T for which ``logits / T`` have the smallest log loss (Guo et al. 2017, §4.2).

    Fit it on rows that were not trained on. For an ensemble, the logarithms of its mean probabilities are logits. The
    log loss is convex in 1 / T, whose derivative is bisected in float64.

    Args:
        logits: ``(rows,)``, ``(rows, 1)`` or ``(rows, classes)``.
        targets: ``(rows,)``, class numbers.

    Returns:
        T, between 1/1024 and 1024; near 0 where all rows are right, 1024 where logits are no better than chance.

    Example:
        >>> import torch
        >>> fit_temperature(torch.tensor([2.0, 2.0, 2.0, -2.0]), torch.tensor([1, 1, 0, 0])) > 1  # too sure of itself
        True
    """
    z, binary, targets = _checked(logits, targets, name="logits")
    given = z if binary else z.gather(-1, targets[:, None]).squeeze(-1)
    if not bool(given.isfinite().all()) or not bool((z < torch.inf).all()):
        seen, remedy = "got others", "clamp probabilities away from 0 before their logarithm"
        raise InputError(sentence("logits must be numbers, and those of the targets finite", seen, remedy))

    def slope(inverse: float) -> float:
        if binary:
            return float((z * ((z * inverse).sigmoid() - targets)).mean())
        p = (z * inverse).softmax(-1)
        expected = torch.where(p > 0, p * z, 0).sum(-1)  # a class with the logit -inf has no part in it
        return float((expected - given).mean())

    low, high = -10.0, 10.0  # of log2 (1 / T)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(2.0**middle) < 0 else (low, middle)
    return float(2.0 ** -((low + high) / 2))


class Interval(NamedTuple):
    """Lower and upper ends of prediction intervals."""

    low: torch.Tensor
    high: torch.Tensor


def conformal_interval(
    mean: torch.Tensor,
    calibration_mean: torch.Tensor,
    calibration_targets: torch.Tensor,
    coverage: float = 0.9,
    *,
    spread: torch.Tensor | None = None,
    calibration_spread: torch.Tensor | None = None,
) -> Interval:
    """Intervals that hold a new target with probability ``coverage`` or more (split conformal, Lei et al. 2018).

    That holds whatever the model is, if calibration rows were not trained on and new rows are like them: on average
    over rows, not for each one. With a spread, such as the square root of the total variance, intervals are wide where
    the model is unsure: residuals are divided by it.

    Args:
        mean: predictions for new rows, ``(rows,)``.
        calibration_mean: predictions for calibration rows, ``(n,)``.
        calibration_targets: what came true there, ``(n,)``.
        coverage: in (0, 1).
        spread: for new rows, positive, ``(rows,)``.
        calibration_spread: for calibration rows, positive, ``(n,)``.

    Raises:
        InputError: shapes differ, one spread is given without the other, or there are too few calibration rows for the
            coverage.
    """
    if not 0 < coverage < 1:
        raise InputError(sentence("coverage must lie strictly between 0 and 1", f"got coverage={coverage!r}"))
    if (spread is None) != (calibration_spread is None):
        raise InputError(sentence("spread and calibration_spread belong together", "got one of them", "give both"))
    pairs = ((calibration_targets, calibration_mean), (calibration_spread, calibration_mean), (spread, mean))
    for given, like in pairs:
        if given is not None and given.shape != like.shape:
            seen = f"got {tuple(given.shape)} beside {tuple(like.shape)}"
            raise InputError(sentence("targets and spreads must have the shape of their predictions", seen))
    for given in (spread, calibration_spread):
        if given is not None and not bool((given > 0).all()):
            raise InputError(sentence("spreads must be positive", f"got {float(given.min()):.4g}"))
    scores = (calibration_targets - calibration_mean).abs().flatten()
    if bool(scores.isnan().any()):
        raise InputError(sentence("calibration rows must have predictions and targets", "got NaN among them"))
    if calibration_spread is not None:
        scores = scores / calibration_spread.flatten()
    rank = math.ceil((len(scores) + 1) * coverage - 1e-9)  # not above it for a product that is rounded up
    if rank > len(scores):
        least = math.ceil(coverage / (1 - coverage) - 1e-9)
        raise InputError(
            sentence(f"a coverage of {coverage} needs at least {least} calibration rows", f"got {len(scores)}")
        )
    half = scores.kthvalue(rank).values * (1.0 if spread is None else spread)
    return Interval(mean - half, mean + half)


def _check_probable(p: torch.Tensor) -> None:
    if not bool(((p >= 0) & (p <= 1)).all()):
        seen = f"got values from {float(p.min()):.4g} to {float(p.max()):.4g}"
        raise InputError(sentence("probabilities must lie in [0, 1]", seen, "pass logits through softmax"))


def _checked(
    scores: torch.Tensor, targets: torch.Tensor, name: str = "probabilities"
) -> tuple[torch.Tensor, bool, torch.Tensor]:
    """Scores in float64, ``(rows,)`` where binary, and int64 targets."""
    wide = scores.detach().double()
    wide = wide.squeeze(-1) if wide.ndim == 2 and wide.shape[-1] == 1 else wide
    targets = targets.detach().reshape(-1)
    if wide.ndim not in (1, 2) or len(wide) != len(targets) or len(targets) == 0:
        seen = f"got {name} of {tuple(scores.shape)} and {len(targets)} targets"
        raise InputError(sentence(f"{name} must be (rows,) or (rows, classes), with a target for each row", seen))
    if name == "probabilities":
        _check_probable(wide)
    classes = 2 if wide.ndim == 1 else wide.shape[-1]
    numbers = targets.to(torch.int64)
    if not bool(((targets == numbers) & (numbers >= 0) & (numbers < classes)).all()):
        raise InputError(sentence(f"targets must be class numbers from 0 to {classes - 1}", "got others"))
    return wide, wide.ndim == 1, numbers
