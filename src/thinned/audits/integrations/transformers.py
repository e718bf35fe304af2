"""A callback for the Trainer of transformers."""

from typing import Any

from torch import nn

from thinned.audits.findings import Severity
from thinned.audits.integrations.first_batch import FirstBatch

__all__ = ["trainer_callback"]


def trainer_callback(least: Severity = "warning") -> Any:
    """A callback for ``transformers.Trainer(callbacks=[...])`` that audits the model at the first batch and warns once.

    Args:
        least: least severity to warn about.

    Raises:
        ImportError: ``transformers`` is not installed.
    """
    from transformers import TrainerCallback  # noqa: PLC0415 - only where it is used

    class AuditCallback(TrainerCallback):
        def __init__(self) -> None:
            self.first = FirstBatch(least)

        def on_train_begin(self, *_: object, **kwargs: object) -> None:
            model = kwargs["model"]
            if isinstance(model, nn.Module):
                self.first.attach(model)

        def on_step_end(self, *_: object, **__: object) -> None:
            self.first.audit()

        def on_train_end(self, *_: object, **__: object) -> None:
            self.first.detach()

    return AuditCallback()
