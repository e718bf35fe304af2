"""What dropout does to variances, put right: batch norm's statistics, and the initial weights.

Inverted dropout keeps the mean of an activation and multiplies its second moment by 1 / (1 − p). Hendrycks & Gimpel
(2016, "Adjusting for dropout variance in batch normalization and weight initialization") correct both places where this
matters.
"""

from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch
from torch import nn

from thinned.errors import check_p, sentence

__all__ = ["dropout_init_", "recalibrate_batchnorm"]


@torch.no_grad()
def recalibrate_batchnorm(
    model: nn.Module,
    loader: Iterable[Any],
    forward: Callable[[nn.Module, Any], object] | None = None,
    device: torch.device | str | None = None,
) -> nn.Module:
    """Estimate the running statistics of all batch norms again, with dropout off (Hendrycks & Gimpel 2016, §3).

    A batch norm that sees dropped inputs in training keeps a running variance that is too large for evaluation, where
    nothing is dropped. One pass over training data with everything in evaluation mode but the batch norms puts it
    right: nothing is learned, and only ``running_mean``, ``running_var`` and ``num_batches_tracked`` change.

    Args:
        model: after training. Training flags and momenta are as before afterwards, also when an error occurs.
        loader: training batches: tensors, or tuples or lists whose first element is the input.
        forward: runs ``model`` on a batch; None calls it with the input.
        device: to move inputs to.

    Returns:
        The model.

    Raises:
        ValueError: the loader is empty, or no batch norm keeps statistics.
    """
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.running_var is not None]
    if not norms:
        raise ValueError(sentence("the model must have a batch norm with running statistics", "it has none"))
    flags = [(module, module.training) for module in model.modules()]
    momenta = [(norm, norm.momentum) for norm in norms]
    run = _call_with_input(device) if forward is None else forward
    batches = 0
    try:
        model.eval()
        for norm in norms:
            norm.train()
            norm.momentum = None  # a plain average over the batches
        for batches, batch in enumerate(loader, start=1):
            if batches == 1:
                for norm in norms:
                    norm.reset_running_stats()
            run(model, batch)
    finally:
        for module, training in flags:
            module.training = training
        for norm, momentum in momenta:
            norm.momentum = momentum
    if batches == 0:
        raise ValueError(sentence("the loader must have at least one batch", "it has none"))
    return model


def _call_with_input(device: torch.device | str | None) -> Callable[[nn.Module, Any], object]:
    def run(model: nn.Module, batch: Any) -> object:
        x = batch[0] if isinstance(batch, tuple | list) else batch
        return model(x if device is None else x.to(device))

    return run


@torch.no_grad()
def dropout_init_(
    weight: torch.Tensor,
    p: float,
    activation: Callable[[torch.Tensor], torch.Tensor] | None = torch.relu,
    mode: Literal["fan_in", "fan_out", "fan_avg"] = "fan_in",
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """Initialise a weight for inputs ``dropout(activation(z))``, so that variances stay 1 (Hendrycks & Gimpel, §2).

    For standard normal z, the inputs of the layer have second moment E[f(z)²] / (1 − p), and gradients through them
    E[f'(z)²] / (1 − p). The variance of the weights is the inverse of ``in`` times the first (``"fan_in"``: the
    variance of pre-activations is kept in the forward pass), ``out`` times the second (``"fan_out"``: that of
    gradients), or the mean of the two (``"fan_avg"``). With p = 0 and ReLU, ``"fan_in"`` is He's initialisation.

    Args:
        weight: ``(out, in, *kernel)``; overwritten with normals.
        p: rate of the dropout on the layer's inputs, below 1.
        activation: elementwise f that made the layer's inputs; None where they are standardised data.
        mode: what is kept.
        generator: None is torch's default.

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
