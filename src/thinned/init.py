"""Initial weights of layers behind dropout.

Inverted dropout multiplies the second moment of an activation by 1 / (1 − p), which an initialisation must undo for
variances to stay 1 through a deep network (Hendrycks & Gimpel 2016, "Adjusting for dropout variance in batch
normalization and weight initialization").
"""

from collections.abc import Callable
from typing import Literal

import torch

from thinned.errors import check_p, sentence

__all__ = ["dropout_init_"]


@torch.no_grad()
def dropout_init_(
    weight: torch.Tensor,
    p: float,
    activation: Callable[[torch.Tensor], torch.Tensor] | None = torch.relu,
    mode: Literal["fan_in", "fan_out", "fan_avg"] = "fan_in",
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """Initialise a weight such that variances stay 1 behind ``dropout(activation(z))`` (Hendrycks & Gimpel, §2).

    For standard normal z, the inputs of the layer have second moment E[f(z)²] / (1 − p), and gradients through them
    E[f'(z)²] / (1 − p). The variance of the weights is the inverse of one of three numbers:

    - ``"fan_in"``: ``in`` times the first moment, which preserves the variance of pre-activations in the forward pass;
    - ``"fan_out"``: ``out`` times the second, which preserves the variance of gradients in the backward pass;
    - ``"fan_avg"``: the mean of the two.

    With p = 0 and ReLU, ``"fan_in"`` is He's initialisation.

    Args:
        weight: ``(out, in, *kernel)``, overwritten with normals.
        p: rate of the dropout on the layer's inputs, below 1.
        activation: elementwise function f behind which the layer stands; None for standardised data.
        mode: direction in which the variance is preserved.
        generator: source of the normals; None is torch's default generator.

    Returns:
        ``weight``.

    Raises:
        ValueError: ``p`` is 1 or outside [0, 1], ``mode`` is unknown, or ``weight`` has fewer than 2 dimensions.

    Example:
        >>> import torch
        >>> round(float(dropout_init_(torch.empty(1000, 1000), p=0.5).std()), 3)  # sqrt(0.5 * 2 / 1000)
        0.032
    """
    if check_p(p) == 1:
        raise ValueError(sentence("p must be below 1 for anything to get through", f"got p={p!r}"))
    if weight.ndim < 2:
        raise ValueError(sentence("weight must have at least 2 dimensions", f"got {weight.ndim}"))
    forward, backward = (1.0, 1.0) if activation is None else _second_moments(activation)
    kernel = weight[0, 0].numel()
    precisions = {
        "fan_in": weight.shape[1] * kernel * forward / (1 - p),
        "fan_out": weight.shape[0] * kernel * backward / (1 - p),
    }
    precisions["fan_avg"] = (precisions["fan_in"] + precisions["fan_out"]) / 2
    if mode not in precisions:
        raise ValueError(sentence(f"mode must be one of {', '.join(precisions)}", f"got mode={mode!r}"))
    return weight.normal_(0, precisions[mode] ** -0.5, generator=generator)


def _second_moments(activation: Callable[[torch.Tensor], torch.Tensor]) -> tuple[float, float]:
    """E[f(z)²] and E[f'(z)²] for standard normal z, by the trapezoid rule."""
    with torch.enable_grad():
        z = torch.linspace(-12, 12, 48_001, dtype=torch.float64, requires_grad=True)
        value = activation(z)
        (slope,) = torch.autograd.grad(value.sum(), z)
    density = torch.exp(-0.5 * z.detach() ** 2)
    density /= density.sum()
    return float((value.detach() ** 2 * density).sum()), float((slope**2 * density).sum())
