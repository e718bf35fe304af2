"""A callback for Lightning."""

from typing import Any

from torch import nn

from thinned.audits.findings import Severity
from thinned.audits.integrations.first_batch import FirstBatch

__all__ = ["lightning_callback"]


def lightning_callback(least: Severity = "warning") -> Any:
    """A callback for ``lightning.Trainer(callbacks=[...])`` that audits the model at the first batch and warns once.

    Args:
        least: least severity to warn about.

    Raises:
        ImportError: neither ``lightning`` nor ``pytorch_lightning`` is installed.
    """
    try:
        from lightning.pytorch.callbacks import Callback  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415 - only where it is used
    except ImportError:
        from pytorch_lightning.callbacks import Callback  # type: ignore[import-not-found,assignment,unused-ignore]  # noqa: PLC0415

    class AuditCallback(Callback):  # type: ignore[misc, unused-ignore]
        def __init__(self) -> None:
            self.first = FirstBatch(least)

        def on_train_batch_start(self, trainer: object, pl_module: nn.Module, *_: object) -> None:  # noqa: ARG002
            if not self.first.done:
                self.first.attach(pl_module)

        def on_train_batch_end(self, *_: object) -> None:
            self.first.audit()

    return AuditCallback()
