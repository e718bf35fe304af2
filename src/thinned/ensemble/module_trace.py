"""The calls of leaf modules in one pass: the tensor that each took and the tensor that it made."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from thinned.tracing.modules import has_parts

__all__ = ["ModuleCall", "ModuleTrace"]


class ModuleCall(NamedTuple):
    """A call of a leaf module that takes one tensor and makes one."""

    module: nn.Module
    input: torch.Tensor
    output: torch.Tensor


class ModuleTrace(TorchFunctionMode):
    """The calls of leaf modules in one pass, and the number of uses of each tensor.

    All tensors of the pass are kept alive, so that their identities stay unique: trace an example of a few rows.

    Attributes:
        calls: calls in order of time.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[ModuleCall] = []
        self._call_counts: Counter[int] = Counter()
        self._uses: Counter[int] = Counter()
        self._alive: list[object] = []

    @contextmanager
    def recording(self, model: nn.Module) -> Iterator[None]:
        """Record the leaf modules of ``model`` and all functions."""
        leaves = [module for module in model.modules() if not has_parts(module)]
        handles = [leaf.register_forward_hook(self._leave) for leaf in leaves]
        try:
            with self:
                yield
        finally:
            for handle in handles:
                handle.remove()

    def add_output(self, output: object) -> None:
        """Count the output of the model as a use."""
        self._uses.update(id(leaf) for leaf in tree_leaves(output) if isinstance(leaf, torch.Tensor))

    def _leave(self, module: nn.Module, args: tuple[torch.Tensor, ...], output: object) -> None:
        if len(args) == 1 and isinstance(output, torch.Tensor):
            self._call_counts[id(module)] += 1
            self.calls.append(ModuleCall(module, args[0], output))

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: object,
        args: tuple[object, ...] = (),
        kwargs: dict[str, object] | None = None,
    ) -> object:
        result = func(*args, **(kwargs or {}))
        if any(isinstance(leaf, torch.Tensor) for leaf in tree_leaves(result)):
            tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
            self._uses.update({id(tensor) for tensor in tensors})
            self._alive += [tensors, result]
        return result

    def only_call(self, module: nn.Module) -> ModuleCall | None:
        """A module's call; None where there is not exactly one."""
        return next(c for c in self.calls if c.module is module) if self._call_counts[id(module)] == 1 else None

    def consumers(self, tensor: torch.Tensor) -> list[ModuleCall] | None:
        """The calls of leaf modules that took a tensor; None where anything else took it, too."""
        calls = [call for call in self.calls if call.input is tensor]
        return calls if self._uses[id(tensor)] == len(calls) else None

    def producer(self, tensor: torch.Tensor) -> ModuleCall | None:
        """The call of the leaf module that made a tensor, if the module is called only once."""
        call = next((call for call in self.calls if call.output is tensor), None)
        return None if call is None else self.only_call(call.module)
