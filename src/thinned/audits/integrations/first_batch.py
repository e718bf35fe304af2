"""Audit the first call of a model in a training run."""

import textwrap
import warnings
from typing import NamedTuple

from torch import nn
from torch.utils.hooks import RemovableHandle

from thinned.audits.api import examine
from thinned.audits.findings import Audit, Severity, at_least
from thinned.tracing.modules import named

__all__ = ["FirstBatch"]


class _Call(NamedTuple):
    """A call of a module: its name and arguments, and the modes of its parts at that time."""

    name: str
    module: nn.Module
    args: tuple[object, ...]
    kwargs: dict[str, object]
    modes: dict[str, bool]


class FirstBatch:
    """Catch the first call of a model, or of its first part that is called, and audit it with those inputs.

    Attributes:
        result: None until the audit, and after an audit that raised.
        done: True after the audit.

    Args:
        least: least severity to warn about.
    """

    def __init__(self, least: Severity = "warning") -> None:
        self.least = least
        self.result: Audit | None = None
        self.done = False
        self._handles: list[RemovableHandle] = []
        self._call: _Call | None = None

    def attach(self, model: nn.Module) -> None:
        """Wait for the first call."""
        for name, module in model.named_modules():
            hook = _FirstCallHook(self, name)
            self._handles.append(module.register_forward_pre_hook(hook, with_kwargs=True))

    def note_call(self, name: str, module: nn.Module, args: tuple[object, ...], kwargs: dict[str, object]) -> None:
        """Keep the first call, which is that of the outermost module."""
        if self._call is None:
            modes = {path: part.training for path, part in named(module)}
            self._call = _Call(name, module, args, kwargs, modes | {"": True})

    def detach(self) -> None:
        """Take the hooks away."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def audit(self) -> None:
        """Audit the call that was caught, once, and warn about its findings."""
        self.detach()
        if self._call is None or self.done:
            return
        self.done = True
        call, self._call = self._call, None
        try:
            self.result = examine(call.module, call.args, call.kwargs, modes=call.modes).audit
        except Exception as error:  # noqa: BLE001 - a training run must not end because of its audit
            warnings.warn(f"thinned: the audit of {call.name or 'the model'} raised {error!r}", stacklevel=3)
            return
        findings = self.result.with_severity(*at_least(self.least))
        if findings:
            lines = textwrap.indent("\n".join(map(str, findings)), "  ")
            name = call.name or type(call.module).__name__
            warnings.warn(f"thinned: dropout findings in {name}:\n{lines}", stacklevel=3)


class _FirstCallHook:
    """A forward pre-hook that tells the name of its module, too."""

    def __init__(self, first_batch: FirstBatch, name: str) -> None:
        self._first_batch, self._name = first_batch, name

    def __call__(self, module: nn.Module, args: tuple[object, ...], kwargs: dict[str, object]) -> None:
        self._first_batch.note_call(self._name, module, args, kwargs)
