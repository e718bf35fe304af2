"""Which leaf module made a tensor and which took it, in one pass."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

__all__ = ["Step", "Trace"]


class Step(NamedTuple):
    """A call of a leaf module that takes one tensor and makes one."""

    module: nn.Module
    source: torch.Tensor
    made: torch.Tensor


class Trace(TorchFunctionMode):
    """The calls of leaf modules in one pass, and how often a tensor was used.

    All tensors of the pass are kept alive: it is meant for an example of a few rows.

    Attributes:
        steps: in order of time.
    """

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[Step] = []
        self._calls: Counter[int] = Counter()
        self._uses: Counter[int] = Counter()
        self._alive: list[Any] = []

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Within, modules and functions are seen."""
        handle = nn.modules.module.register_module_forward_hook(self._leave)
        try:
            with self:
                yield
        finally:
            handle.remove()

    def end(self, output: Any) -> None:
        """What the model returns is used, too."""
        self._uses.update(id(leaf) for leaf in tree_leaves(output) if isinstance(leaf, torch.Tensor))

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        if not module._modules and len(args) == 1 and isinstance(output, torch.Tensor):
            self._calls[id(module)] += 1
            self.steps.append(Step(module, args[0], output))

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if any(isinstance(leaf, torch.Tensor) for leaf in tree_leaves(result)):
            tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
            self._uses.update({id(tensor) for tensor in tensors})
            self._alive += [tensors, result]
        return result

    def step(self, module: nn.Module) -> Step | None:
        """A module's call; None where there is not exactly one."""
        return next(s for s in self.steps if s.module is module) if self._calls[id(module)] == 1 else None

    def takers(self, tensor: torch.Tensor) -> list[Step] | None:
        """The calls of leaf modules that took a tensor; None where something else did, too."""
        steps = [step for step in self.steps if step.source is tensor]
        return steps if self._uses[id(tensor)] == len(steps) else None

    def maker(self, tensor: torch.Tensor) -> Step | None:
        """The call of the leaf module that made a tensor, if the module is not called again."""
        step = next((step for step in self.steps if step.made is tensor), None)
        return None if step is None else self.step(step.module)
