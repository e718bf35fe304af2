"""Every private function of torch that this package's operators need. tests/ops/test_torch_private.py pins each."""

import sys
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch._functorch.pyfunctorch import VmapInterpreter, retrieve_current_functorch_interpreter
from torch.autograd import forward_ad

__all__ = [
    "Context",
    "Inputs",
    "VmapInfo",
    "VmapInterpreter",
    "add_batch_dim",
    "add_rows",
    "any_hook",
    "batch_dim",
    "break_graph",
    "captures_sizes",
    "check_attention_shapes",
    "dispatch_mode_depth",
    "exporting",
    "forward_ad_active",
    "functorch_active",
    "innermost_vmap",
    "only_vmap_active",
    "tracing",
    "without_batch_dim",
]

Context = Any  # the ``ctx`` of an autograd function: torch gives it no type
Inputs = tuple[Any, ...]  # the arguments of an operator as torch hands them over


class VmapInfo(Protocol):
    """The first argument of a vmap rule."""

    @property
    def batch_size(self) -> int:
        """The number of members."""
        ...


#: True within vmap, grad and jvp of torch.func
functorch_active = torch._C._are_functorch_transforms_active
#: how many TorchDispatchModes are in force; 0 is false
dispatch_mode_depth = torch._C._len_torch_dispatch_stack
#: ``(value, dim, level)``: a tensor of members as one that vmap knows
add_batch_dim = torch._C._functorch._add_batch_dim
#: True within torch.jit.trace
tracing: Callable[[], bool] = torch.jit.is_tracing  # type: ignore[attr-defined]
_VMAP = torch._C._functorch.TransformType.Vmap
#: see add_rows; torch's version compares with a text as versions do
_WRONG_INDEX_ADD = torch.__version__ < "2.8"


def forward_ad_active() -> bool:
    """True within ``torch.autograd.forward_ad.dual_level``."""
    return forward_ad._current_level >= 0


def innermost_vmap() -> VmapInterpreter | None:
    """The interpreter of the innermost transform where that is vmap, else None; call it while a transform is active."""
    interpreter = retrieve_current_functorch_interpreter()
    return interpreter if isinstance(interpreter, VmapInterpreter) else None


def only_vmap_active() -> bool:
    """True where no transform differentiates."""
    return all(level.key() == _VMAP for level in torch._C._functorch.get_interpreter_stack() or ())


def batch_dim(value: object, level: int) -> int | None:
    """The axis of members that vmap of ``level`` hides in ``value``; None for all else."""
    functorch = torch._C._functorch
    if isinstance(value, torch.Tensor) and functorch.is_batchedtensor(value):
        return functorch.maybe_get_bdim(value) if functorch.maybe_get_level(value) == level else None
    return None


def without_batch_dim(value: torch.Tensor) -> torch.Tensor:
    """The tensor of all members behind one that vmap shows."""
    return torch._C._functorch.get_unwrapped(value)


def check_attention_shapes(*tensors: torch.Tensor | None, num_heads: int) -> bool:
    """Raise torch's own error where attention's operands don't fit; return True for a batch, False for one example."""
    check: Any = torch.nn.functional._mha_shape_check  # type: ignore[attr-defined]
    return bool(check(*tensors, num_heads))


def break_graph() -> None:
    """End the graph that ``torch.compile`` traces; it goes on with a new one, to which sizes are numbers."""
    torch._dynamo.graph_break()


def captures_sizes() -> bool:
    """True where ``torch.compile`` traces with sizes that depend on data, since its user has asked it to."""
    return torch.compiler.is_compiling() and bool(torch._dynamo.config.capture_dynamic_output_shape_ops)


def _exporting_torch_2_6() -> bool:
    """The same for torch 2.6, where no public function tells it."""
    tracer = getattr(getattr(sys.modules.get("torch._dynamo.symbolic_convert"), "tls", None), "current_tx", None)
    # without a tracer, only torch.export itself sets the flag
    return torch.compiler._is_compiling_flag if tracer is None else bool(tracer.export)


_exporting_torch_2_6._dynamo_marked_constant = True  # type: ignore[attr-defined]  # torch.compile runs it, as Python
#: True while torch.export traces
exporting: Callable[[], bool] = getattr(torch.compiler, "is_exporting", _exporting_torch_2_6)


def add_rows(x: torch.Tensor, index: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """``x.index_add(0, index, rows)``, for distinct indices.

    The compiler of torch 2.6 makes code of it that returns wrong sums on a CPU.
    """
    if _WRONG_INDEX_ADD and torch.compiler.is_compiling():
        return x.index_copy(0, index, x.index_select(0, index) + rows)
    return x.index_add(0, index, rows)


def any_hook(*modules: torch.nn.Module) -> bool:
    """True where a call of one of the modules runs a hook, its own or one of all modules."""
    tables = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    for table in tables:
        if getattr(torch.nn.modules.module, f"_global{table}"):
            return True
        for module in modules:
            if getattr(module, table):
                return True
    return False
