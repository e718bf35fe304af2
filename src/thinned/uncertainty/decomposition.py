"""Uncertainty of an ensemble, split by its source."""

from typing import NamedTuple

import torch

from thinned.errors import InputError, sentence
from thinned.uncertainty.representation import short_repr
from thinned.uncertainty.validation import checked_probabilities

__all__ = ["Split", "split_entropy", "split_variance"]


class Split(NamedTuple):
    """Uncertainty split by its source.

    Attributes:
        total: sum of the other two, up to rounding.
        aleatoric: uncertainty that each member has by itself.
        epistemic: disagreement of the members; never negative.
    """

    total: torch.Tensor
    aleatoric: torch.Tensor
    epistemic: torch.Tensor

    def __repr__(self) -> str:
        """Shapes and dtypes."""
        return short_repr("Split", self._asdict())


def split_entropy(probabilities: torch.Tensor) -> Split:
    """Entropy of the mean probability = mean entropy of members + mutual information (Houlsby et al. 2011).

    The mean is taken of probabilities. The softmax of mean logits is the normalised geometric mean, and its entropy is
    another number.

    Args:
        probabilities: ``(members, rows, classes)``, or for binary classification ``(members, rows)`` or
            ``(members, rows, 1)``. More axes may stand between rows and classes.

    Returns:
        Nats, ``(rows,)``.

    Raises:
        InputError: an axis is missing, a value lies outside [0, 1], or the classes of a row do not sum to 1.

    Example:
        >>> import torch
        >>> split_entropy(torch.tensor([[1.0, 0.5], [0.0, 0.5]])).epistemic  # two that disagree, two that don't know
        tensor([0.6931, 0.0000])
    """
    if probabilities.ndim < 2:
        value = f"got shape {tuple(probabilities.shape)}"
        raise InputError(sentence("probabilities must have axes of members and rows", value))
    p = checked_probabilities(probabilities.unsqueeze(-1) if probabilities.ndim == 2 else probabilities)
    p = torch.cat([1 - p, p], -1) if p.shape[-1] == 1 else p
    total, aleatoric = _entropy(p.mean(0)), _entropy(p).mean(0)
    # Mutual information is not negative; the difference of two rounded sums may be.
    return Split(total, aleatoric, (total - aleatoric).clamp(min=0))


def _entropy(p: torch.Tensor) -> torch.Tensor:
    out: torch.Tensor = torch.special.entr(p).sum(-1)
    return out


def split_variance(values: torch.Tensor, noise: float | torch.Tensor | None = None) -> Split:
    """Variance = mean noise variance + variance of the members' values (Kendall & Gal 2017, equation 9).

    Args:
        values: ``(members, ...)``.
        noise: variance of the noise, known, or predicted by each member; None is 0.

    Returns:
        Squared units of the values, ``(...)``.

    Raises:
        InputError: there are fewer than two members, or a noise variance is negative.
    """
    if values.ndim == 0 or len(values) < 2:
        raise InputError(sentence("a variance needs at least two members", f"got shape {tuple(values.shape)}"))
    epistemic = values.var(0) if values.numel() else values.sum(0)  # var warns about a tensor without elements
    noise = torch.as_tensor(0.0 if noise is None else noise, dtype=values.dtype, device=values.device)
    if not bool((noise >= 0).all()):
        raise InputError(sentence("noise must be a variance, at least 0", f"got {float(noise.min()):.4g}"))
    aleatoric = noise.expand(values.shape).mean(0)
    return Split(epistemic + aleatoric, aleatoric, epistemic)
