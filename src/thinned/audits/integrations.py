"""Audits at the first batch of a training run: callbacks for Lightning and for the Trainer of transformers."""

import warnings
from typing import Any

from torch import nn

from thinned.audits.api import examine
from thinned.audits.findings import SEVERITIES, Audit, Severity
from thinned.tracing import sites

__all__ = ["FirstBatch", "lightning_callback", "trainer_callback"]


class FirstBatch:
    """Catches the first call of a model, or of its first part that is called, and audits it with those inputs.

    Attributes:
        result: None until the audit, and after one that raised.
        done: whether there was one.
    """

    def __init__(self, least: Severity = "warning") -> None:
        self.least = least
        self.result: Audit | None = None
        self.done = False
        self._hooks: list[Any] = []
        self._caught: tuple[str, nn.Module, tuple[Any, ...], dict[str, Any], dict[str, bool]] | None = None

    def arm(self, model: nn.Module) -> None:
        """Wait for the first call."""
        for name, module in model.named_modules():
            self._hooks.append(module.register_forward_pre_hook(self._catch(name), with_kwargs=True))

    def _catch(self, name: str) -> Any:
        def hook(module: nn.Module, args: Any, kwargs: Any) -> None:
            if self._caught is None:  # the outermost comes first
                modes = {path: part.training for path, part in sites.named(module)}
                self._caught = name, module, args, kwargs, modes | {"": True}

        return hook

    def disarm(self) -> None:
        """Take the hooks away."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    def audit(self) -> None:
        """Audit what was called, once, and warn of what was found."""
        self.disarm()
        if self._caught is None or self.done:
            return
        self.done = True
        (name, module, args, kwargs, modes), self._caught = self._caught, None
        try:
            self.result, _ = examine(module, args, kwargs, modes=modes)
        except Exception as error:  # noqa: BLE001 - a training run must not end because of its audit
            warnings.warn(f"thinned: the audit of {name or 'the model'} raised {error!r}", stacklevel=3)
            return
        found = self.result.of(*SEVERITIES[: SEVERITIES.index(self.least) + 1])
        if found:
            lines = "\n".join(f"  {finding}" for finding in found)
            warnings.warn(f"thinned: dropout findings in {name or type(module).__name__}:\n{lines}", stacklevel=3)


def lightning_callback(least: Severity = "warning") -> Any:
    """A callback for ``lightning.Trainer(callbacks=[...])`` that audits at the first batch and warns once.

    Args:
        least: the least severity to warn of.
    """
    try:
        from lightning.pytorch.callbacks import Callback  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415 - only where it is used
    except ImportError:
        from pytorch_lightning.callbacks import Callback  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415

    class AuditCallback(Callback):  # type: ignore[misc, unused-ignore]
        def __init__(self) -> None:
            self.first = FirstBatch(least)

        def on_train_batch_start(self, trainer: Any, pl_module: Any, *_: Any) -> None:  # noqa: ARG002
            if not self.first.done:
                self.first.arm(pl_module)

        def on_train_batch_end(self, *_: Any) -> None:
            self.first.audit()

    return AuditCallback()


def trainer_callback(least: Severity = "warning") -> Any:
    """A callback for ``transformers.Trainer(callbacks=[...])`` that audits at the first batch and warns once.

    Args:
        least: the least severity to warn of.
    """
    from transformers import TrainerCallback  # noqa: PLC0415 - only where it is used

    class AuditCallback(TrainerCallback):
        def __init__(self) -> None:
            self.first = FirstBatch(least)

        def on_train_begin(self, *_: Any, model: Any = None, **__: Any) -> None:
            self.first.arm(model)

        def on_step_end(self, *_: Any, **__: Any) -> None:
            self.first.audit()

        def on_train_end(self, *_: Any, **__: Any) -> None:
            self.first.disarm()

    return AuditCallback()
