"""Dropout that learns its rate."""

import torch
from torch import nn

from thinned import functional
from thinned.errors import check_p, sentence
from thinned.layers.base import Addressed

__all__ = ["ConcreteDropout"]


class ConcreteDropout(Addressed):
    """Dropout that learns its rate (Gal, Hron & Kendall 2017, "Concrete dropout").

    The decisions, each element its own unless ``shared`` names axes, are relaxed so that the loss has a gradient in
    the rate; the regulariser keeps it from going to 0 and must be added to the loss. Put it before a linear or
    convolutional layer (there with ``shared=(2, 3)``) of a regression with enough data to say what noise it has; not
    without its regulariser, and not on the output. A ``rate`` buffer takes the place of the learned rate.

    Args:
        p: the initial probability of dropping, strictly between 0 and 1.
        temperature: scale of the relaxed Bernoulli.
        shared: axes that share a decision.

    Attributes:
        logit: 0-dim parameter, ln p − ln(1 − p).

    Shape:
        - Input: ``(*)``, any shape; the axes ``shared`` share a decision.
        - Output: ``(*)``, as the input.

    Example:
        >>> import torch, thinned
        >>> site, linear = thinned.layers.ConcreteDropout(0.1), torch.nn.Linear(8, 4)
        >>> output = linear(site(torch.ones(2, 8)))
        >>> loss = output.square().mean() + site.regulariser(linear.weight, rows=1000)
    """

    def __init__(self, p: float = 0.1, temperature: float = 0.1, shared: tuple[int, ...] = ()) -> None:
        super().__init__(p)
        self.temperature = temperature
        self.shared = shared

    @property  # type: ignore[override]
    def p(self) -> torch.Tensor:
        """The learned rate, 0-dim; setting it to a number starts learning anew."""
        return torch.sigmoid(self.logit)

    @p.setter
    def p(self, value: float) -> None:
        if not 0 < check_p(value) < 1:
            requirement = "a rate that is learned must start strictly between 0 and 1"
            raise ValueError(sentence(requirement, f"got p={value!r}"))
        self.logit = nn.Parameter(torch.logit(torch.tensor(float(value))))

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Relaxed dropout in training, ``input`` itself in evaluation."""
        return functional.concrete_dropout(
            input, self._rate, self.training, self.temperature, shared=self.shared, **self._mask_address
        )

    def regulariser(self, weight: torch.Tensor, rows: int, length_scale: float = 1e-2) -> torch.Tensor:
        """The term to add to a *mean* log-likelihood loss (equations 3 and 4): KL of the weights minus entropy of p.

        Args:
            weight: weight of the layer that follows, ``(out, in, ...)``; dropout acts on its ``in`` inputs.
            rows: number of training examples.
            length_scale: length scale of the prior over functions; a larger one pulls the weights to 0 more.

        Returns:
            0-dim: length_scale² · Σ w² / ((1 − p) · 2 · rows) − in · H(p) / rows.
        """
        p = self.p
        entropy = -(p * torch.log(p) + (1 - p) * torch.log1p(-p))
        return (length_scale**2 * weight.square().sum() / (2 * (1 - p)) - weight.shape[1] * entropy) / rows

    def extra_repr(self) -> str:
        """The rate now, temperature and shared axes."""
        return f"p={self.p.item():.4g}, temperature={self.temperature}, shared={self.shared}"
