"""Every private function of torch that conversion needs."""

import inspect
from contextlib import AbstractContextManager
from types import CodeType

import torch
import torch.fx
from torch.overrides import TorchFunctionMode
from torch.utils.checkpoint import CheckpointFunction, checkpoint

__all__ = [
    "CHECKPOINT",
    "REENTRANT_CHECKPOINT",
    "in_backward",
    "innermost_function_mode",
    "saving",
    "symbolic_tracing",
    "without_innermost_function_mode",
]

#: the code of ``torch.utils.checkpoint.checkpoint``, whose frame holds the generator of the non-reentrant form
CHECKPOINT: CodeType = inspect.unwrap(checkpoint).__code__
#: the code of the reentrant form, whose frame holds ``ctx``
REENTRANT_CHECKPOINT: CodeType = CheckpointFunction.forward.__code__


def symbolic_tracing() -> bool:
    """True while ``torch.fx.symbolic_trace`` runs a model with proxies."""
    return bool(torch.fx._symbolic_trace._is_fx_tracing_flag)


def in_backward() -> bool:
    """True in a thread that runs a backward pass."""
    return torch._C._current_graph_task_id() != -1


def saving() -> object:
    """The function that packs tensors for the backward pass; None by default."""
    hooks = torch._C._autograd._top_saved_tensors_default_hooks(True)
    return hooks[0] if hooks else None


def innermost_function_mode() -> TorchFunctionMode | None:
    """The TorchFunctionMode that sees a function first."""
    mode: TorchFunctionMode | None = torch.overrides._get_current_function_mode()  # type: ignore[no-untyped-call]
    return mode


def without_innermost_function_mode() -> AbstractContextManager[object]:
    """Within, the innermost TorchFunctionMode is off."""
    manager: AbstractContextManager[object] = torch.overrides._pop_mode_temporarily()
    return manager
