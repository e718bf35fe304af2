"""Running statistics of batch norm, corrected for dropout.

Inverted dropout keeps the mean of an activation and multiplies its second moment by 1 / (1 − p). A batch norm that
sees dropped inputs in training therefore keeps a running variance that is too large for evaluation (Hendrycks & Gimpel
2016, "Adjusting for dropout variance in batch normalization and weight initialization").
"""

from collections.abc import Callable, Iterable

import torch
from torch import nn

from thinned.errors import sentence

__all__ = ["recalibrate_batchnorm"]


@torch.no_grad()
def recalibrate_batchnorm(
    model: nn.Module,
    loader: Iterable[object],
    forward: Callable[[nn.Module, object], object] | None = None,
    device: torch.device | str | None = None,
) -> nn.Module:
    """Estimate the running statistics of all batch norms again, with dropout off (Hendrycks & Gimpel 2016, §3).

    One pass over training data puts the statistics right. Everything but the batch norms is in evaluation mode, and
    nothing is learned: only ``running_mean``, ``running_var`` and ``num_batches_tracked`` change.

    Args:
        model: trained model. Its training flags and momenta are restored afterwards, even when an error occurs.
        loader: training batches: tensors, or tuples or lists whose first element is the input.
        forward: function that runs ``model`` on a batch; None calls the model with the input.
        device: device that inputs are moved to; None leaves them where they are.

    Returns:
        The model.

    Raises:
        ValueError: the loader is empty, or no batch norm keeps statistics.
    """
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.running_var is not None]
    if not norms:
        raise ValueError(sentence("the model must have a batch norm with running statistics", "got none"))
    training_flags = [(module, module.training) for module in model.modules()]
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
        for module, training in training_flags:
            module.training = training
        for norm, momentum in momenta:
            norm.momentum = momentum
    if batches == 0:
        raise ValueError(sentence("the loader must have at least one batch", "got none"))
    return model


def _call_with_input(device: torch.device | str | None) -> Callable[[nn.Module, object], object]:
    def run(model: nn.Module, batch: object) -> object:
        x = batch[0] if isinstance(batch, tuple | list) else batch
        return model(x.to(device) if device is not None and hasattr(x, "to") else x)

    return run
