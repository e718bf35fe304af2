"""Keeps parameters as they are through a forward pass that writes to them, as a max-norm constraint does."""

from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from thinned.tracing.sites import uninitialised

__all__ = ["Guard"]

_READERS = ("__get__", "__getitem__", "requires_grad_")


class Guard(TorchFunctionMode):
    """Within, a parameter is copied before it is written to for the first time, and put back at the end."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        strided = [p for p in model.parameters() if not uninitialised(p) and p.layout is torch.strided]
        self._parameters = {p.untyped_storage()._cdata: p for p in strided}
        self._data = [(p, p.data) for p in strided]  # the same memory: `weight.data = ...` only exchanges it
        self._written: dict[int, tuple[nn.Parameter, torch.Tensor]] = {}

    def note(self, func: Any, args: Any) -> None:
        """A function is about to be called."""
        name = getattr(func, "__name__", "")
        if not name.endswith("_") or name in _READERS or not args or not isinstance(args[0], torch.Tensor):
            return
        if args[0].layout is not torch.strided or not self._parameters:
            return
        memory = args[0].untyped_storage()._cdata
        if memory in self._parameters and memory not in self._written:
            parameter = self._parameters[memory]
            self._written[memory] = parameter, parameter.detach().clone()

    def restore(self) -> None:
        """Undo what was done to parameters."""
        with torch.no_grad():
            for parameter, data in self._data:
                if parameter.data_ptr() != data.data_ptr():
                    parameter.data = data
            for parameter, value in self._written.values():
                parameter.copy_(value)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.note(func, args)
        return func(*args, **(kwargs or {}))

    def __exit__(self, *exception: object) -> None:
        super().__exit__(*exception)  # type: ignore[no-untyped-call]
        self.restore()
