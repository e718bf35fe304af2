"""How sure an ensemble is, and whether it is right to be."""

from typing import NamedTuple

import torch

from thinned._checks import InputError, sentence

__all__ = ["Split", "split_entropy", "split_variance"]


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
        probabilities: ``(members, ..., classes)``; with one class, or ``(members, rows)``, that of the positive one.

    Returns:
        Nats, ``(...)``.
    """
    if probabilities.ndim < 2:
        raise InputError(
            sentence("probabilities must have members and rows", f"got shape {tuple(probabilities.shape)}")
        )
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
        noise: the variance of the noise, known or predicted by each member; None is 0.

    Returns:
        In squared units of the values, ``(...)``.
    """
    epistemic = values.var(0)
    noise = torch.zeros(()) if noise is None else torch.as_tensor(noise, dtype=values.dtype, device=values.device)
    aleatoric = noise.expand(values.shape).mean(0)
    return Split(epistemic + aleatoric, aleatoric, epistemic)
