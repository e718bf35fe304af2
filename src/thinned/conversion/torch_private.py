"""Every private function of torch that conversion needs."""

import inspect
import sys
from contextlib import AbstractContextManager
from types import CodeType, FrameType

import torch
import torch.fx
from torch.overrides import TorchFunctionMode
from torch.utils.checkpoint import CheckpointFunction, checkpoint

__all__ = [
    "CHECKPOINT",
    "REENTRANT_CHECKPOINT",
    "in_backward",
    "innermost_function_mode",
    "non_reentrant",
    "saving",
    "symbolic_tracing",
    "without_innermost_function_mode",
]

#: the code whose frame has the generator of the non-reentrant form, of ``checkpoint`` or of its part since torch 2.14
CHECKPOINT: CodeType = inspect.unwrap(getattr(torch.utils.checkpoint, "_checkpoint_impl", checkpoint)).__code__
#: the code of the reentrant form, whose frame holds ``ctx``
REENTRANT_CHECKPOINT: CodeType = CheckpointFunction.forward.__code__


def symbolic_tracing() -> bool:
    """True while ``torch.fx.symbolic_trace`` runs a model with proxies."""
    trace = torch.fx._symbolic_trace
    if hasattr(trace, "is_fx_symbolic_tracing"):
        return trace.is_fx_symbolic_tracing()
    return bool(trace._is_fx_tracing_flag)  # torch 2.6


def in_backward() -> bool:
    """True in a thread that runs a backward pass."""
    return torch._C._current_graph_task_id() != -1


def saving() -> object:
    """The function that packs tensors for the backward pass; None by default."""
    if not hasattr(torch._C._autograd, "_top_saved_tensors_default_hooks"):
        return _saving_torch_2_6()
    hooks = torch._C._autograd._top_saved_tensors_default_hooks(True)
    return hooks[0] if hooks else None


def _saving_torch_2_6() -> object:
    """What the innermost non-reentrant checkpoint keeps, for torch before 2.8, which doesn't tell who packs tensors.

    Each such checkpoint packs by a function of its own. Other functions that pack run no module again.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code is CHECKPOINT and (checkpoint_frame := non_reentrant(frame)) is not None:
            return checkpoint_frame.f_locals["new_frame"]
        frame = frame.f_back
    return None


def non_reentrant(frame: FrameType) -> FrameType | None:
    """The frame of the generator that does the work of the non-reentrant form; None for the reentrant form.

    Args:
        frame: of :data:`CHECKPOINT`.
    """
    generator = frame.f_locals.get("gen")
    inner: FrameType | None = None if generator is None else generator.gi_frame
    return inner if inner is not None and "new_frame" in inner.f_locals else None


def innermost_function_mode() -> TorchFunctionMode | None:
    """The TorchFunctionMode that sees a function first."""
    mode: TorchFunctionMode | None = torch.overrides._get_current_function_mode()  # type: ignore[no-untyped-call]
    return mode


def without_innermost_function_mode() -> AbstractContextManager[object]:
    """Within, the innermost TorchFunctionMode is off."""
    manager: AbstractContextManager[object] = torch.overrides._pop_mode_temporarily()
    return manager
