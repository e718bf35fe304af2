"""Layers whose noise, or what it is added to, differs from dropout's."""

import torch
from torch import nn

from thinned import functional
from thinned.errors import check_p, sentence
from thinned.functional import variants
from thinned.layers._addressed import Addressed
from thinned.layers.elements import Dropout

__all__ = ["AlphaDropout", "ConcreteDropout", "DropoutAdd", "FeatureAlphaDropout", "GaussianDropout"]


class AlphaDropout(Dropout):
    """Drop-in replacement for ``torch.nn.AlphaDropout`` (Klambauer et al. 2017): for networks of SELU units.

    A dropped element takes SELU's most negative value, and an affine map restores mean 0 and variance 1. Each element
    is its own decision. Put it after SELU; after ReLU or GELU, whose activations are not standardised, use ``Dropout``.

    Args:
        p: probability of dropping, in [0, 1].
        inplace: taken for compatibility, and without effect, as in torch.

    Shape:
        Any.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Drop in training, pass ``x`` through in evaluation."""
        return functional.alpha_dropout(x, self._rate, self.training, **self._where)


class FeatureAlphaDropout(AlphaDropout):
    """Drop-in replacement for ``torch.nn.FeatureAlphaDropout``: ``AlphaDropout`` of whole channels.

    Put it after convolutions with SELU; not after other activations, and not where channels are few.

    Args:
        p: probability of dropping a channel, in [0, 1].
        inplace: taken for compatibility, and without effect, as in torch.

    Shape:
        ``(N, C, ...)``; all after C share a decision.

    Raises:
        RuntimeError: in training, the input has fewer than 2 dimensions.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Drop channels in training, pass ``x`` through in evaluation."""
        return variants.feature_alpha_dropout(x, self._rate, self.training, **self._where)


class GaussianDropout(Dropout):
    """Multiplicative noise N(1, p / (1 − p)) instead of zeros (Srivastava et al. 2014, §10).

    Mean and variance are those of ``Dropout`` with the same rate; no element is lost. Each element has its own normal.
    Put it where ``Dropout`` would stand and exact zeros hurt; not before anything that needs its input's sign, which
    large rates flip, and not on the output.

    Args:
        p: rate of the dropout that it stands for, in [0, 1).
        inplace: overwrite the input.

    Shape:
        Any.

    Raises:
        ValueError: ``p`` lies outside [0, 1).
    """

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        if check_p(p) == 1:
            raise ValueError(sentence("p must lie in [0, 1) for Gaussian noise", f"got p={p!r}"))
        super().__init__(p, inplace)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Multiply by noise in training, pass ``x`` through in evaluation."""
        return functional.gaussian_dropout(x, self._rate, self.training, self.inplace, **self._where)


class DropoutAdd(Addressed):
    """``residual + dropout(x)`` in one pass over memory: the end of a residual branch (Vaswani et al. 2017, §5.4).

    Each element of ``x`` is its own decision; the residual is never dropped. Put it where a transformer block has
    ``residual + dropout(sublayer(x))``; not where the sum is dropped as a whole.

    Args:
        p: probability of dropping, in [0, 1].

    Shape:
        Two tensors of one shape, any; the output has it too.
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self._hold(p)

    def forward(self, x: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        """``residual + dropout(x)`` in training, ``residual + x`` in evaluation."""
        return functional.dropout_add(x, residual, self._rate, self.training, **self._where)

    def extra_repr(self) -> str:
        """Rate."""
        return f"p={self.p}"


class ConcreteDropout(Addressed):
    """Dropout that learns its rate (Gal, Hron & Kendall 2017, "Concrete dropout").

    The decisions, each element its own unless ``shared`` names axes, are relaxed so that the loss has a gradient in
    the rate; the regulariser keeps it from going to 0 and must be added to the loss. Put it before a linear or
    convolutional layer (there with ``shared=(2, 3)``) of a regression with enough data to say what noise it has; not
    without its regulariser, and not on the output. A ``rate`` buffer takes the place of the learned rate.

    Args:
        p: the initial probability of dropping, strictly between 0 and 1.
        temperature: of the relaxation.
        shared: axes that share a decision.

    Attributes:
        logit: 0-dim parameter, ln p − ln(1 − p).

    Shape:
        Any.

    Example:
        >>> import torch, thinned
        >>> site, linear = thinned.layers.ConcreteDropout(0.1), torch.nn.Linear(8, 4)
        >>> output = linear(site(torch.ones(2, 8)))
        >>> loss = output.square().mean() + site.regulariser(linear.weight, rows=1000)
    """

    def __init__(self, p: float = 0.1, temperature: float = 0.1, shared: tuple[int, ...] = ()) -> None:
        super().__init__()
        if not 0 < check_p(p) < 1:
            raise ValueError(sentence("a rate that is learned must start strictly between 0 and 1", f"got p={p!r}"))
        for name in ("key", "call", "rate"):
            self.register_buffer(name, None, persistent=False)
        self.logit = nn.Parameter(torch.logit(torch.tensor(float(p))))
        self.temperature = temperature
        self.shared = shared

    @property
    def p(self) -> torch.Tensor:  # type: ignore[override]
        """The rate as it is learned, 0-dim."""
        return torch.sigmoid(self.logit)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Relaxed dropout in training, ``x`` itself in evaluation."""
        return variants.concrete_dropout(
            x, self._rate, self.training, self.temperature, shared=self.shared, **self._where
        )

    def regulariser(self, weight: torch.Tensor, rows: int, length_scale: float = 1e-2) -> torch.Tensor:
        """What to add to a *mean* log-likelihood loss (equations 3 and 4): KL of the weights, minus the entropy of p.

        Args:
            weight: of the layer that follows, ``(out, in, ...)``; dropout acts on its ``in`` inputs.
            rows: number of training examples.
            length_scale: of the prior over functions; larger pulls the weights to 0 more.

        Returns:
            0-dim: length_scale² · Σ w² / ((1 − p) · 2 · rows) − in · H(p) / rows.
        """
        p = self.p
        entropy = -(p * torch.log(p) + (1 - p) * torch.log1p(-p))
        return (length_scale**2 * weight.square().sum() / (2 * (1 - p)) - weight.shape[1] * entropy) / rows

    def extra_repr(self) -> str:
        """The rate now, temperature and shared axes."""
        return f"p={self.p.item():.4g}, temperature={self.temperature}, shared={self.shared}"
