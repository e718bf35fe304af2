"""Keep parameters as they are through a forward pass that writes to them, as a max-norm constraint does."""

from collections.abc import Callable

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from thinned.ops.torch_private import functorch_active
from thinned.tracing.preserve import uninitialised

__all__ = ["RestoreParameters"]

_READERS = ("__get__", "__getitem__", "requires_grad_")


class RestoreParameters(TorchFunctionMode):
    """Copy a parameter before a function first writes to it, and put the values back on exit."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        strided = [p for p in model.parameters() if not uninitialised(p) and p.layout is torch.strided]
        self._parameters = {p.untyped_storage()._cdata: p for p in strided}
        self._data = [(p, p.data) for p in strided]  # the same memory: `weight.data = ...` only exchanges it
        self._values: dict[int, tuple[nn.Parameter, torch.Tensor]] = {}

    def before_call(self, name: str, args: tuple[object, ...]) -> None:
        """Copy the parameter that the function of this name is about to write to."""
        if not name.endswith("_") or name in _READERS or not args or not isinstance(args[0], torch.Tensor):
            return
        if functorch_active():
            return  # transformed tensors have no memory of their own
        if args[0].layout is not torch.strided or not self._parameters:
            return
        memory = args[0].untyped_storage()._cdata
        if memory in self._parameters and memory not in self._values:
            parameter = self._parameters[memory]
            self._values[memory] = parameter, parameter.detach().clone()

    def restore(self) -> None:
        """Put back the memory and the values of all parameters."""
        with torch.no_grad():
            for parameter, data in self._data:
                if parameter.data_ptr() != data.data_ptr():
                    parameter.data = data
            for parameter, value in self._values.values():
                parameter.copy_(value)

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: object,
        args: tuple[object, ...] = (),
        kwargs: dict[str, object] | None = None,
    ) -> object:
        self.before_call(getattr(func, "__name__", ""), args)
        return func(*args, **(kwargs or {}))

    def __exit__(self, *exception: object) -> None:
        super().__exit__(*exception)  # type: ignore[no-untyped-call]
        self.restore()
