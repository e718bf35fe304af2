"""A structural copy of a model: modules of its own, the same parameters.

A recorded pass and a pass of the ensemble set training flags, attributes and hooks. They do so on such a copy, so that
the user's model can train, serve or be sampled in other threads meanwhile. Parameters are shared; buffers are cloned,
since a forward may change them in place.
"""

import copy
import types

import torch
from torch import nn

from thinned.tracing.modules import WRAPPER, original_class
from thinned.tracing.preserve import renormalises, uninitialised
from thinned.tracing.value_copy import ValueCopier

__all__ = ["copy_modules"]

_HOOK_TABLES = {name for name in vars(nn.Module()) if "hooks" in name}


def copy_modules(model: nn.Module) -> nn.Module:
    """Copy the modules of ``model`` in evaluation mode, without conversion and without ``torch.compile``.

    Modules within attributes are replaced by their copies: in containers, objects, bound methods, partials and closures
    (see :class:`ValueCopier`). TorchScript modules are copied with their parameters. A global variable, a generator and
    an object of a class written in C keep the module of the user, which a pass then runs, and may change.
    """
    copier = _Copier(model)
    try:
        copied = copier.module(model)
    finally:
        del copier._value  # which refers to the copier: a cycle would keep the copy alive
    for module in copied.modules():
        module.training = False
    return copied


class _Copier:
    """Copies by the identity of the original, so that shared modules and buffers stay shared."""

    def __init__(self, model: nn.Module) -> None:
        self._modules: dict[int, nn.Module] = {}
        self._tensors: dict[int, torch.Tensor] = {}
        self._value = ValueCopier(self.module, self._tensors).copy
        for module in model.modules():  # before any module is copied: another one may hold its tensors
            self._clone_tensors(module)

    def module(self, module: nn.Module) -> nn.Module:
        key = id(module)
        if key in self._modules:
            return self._modules[key]
        if isinstance(module, torch.jit.ScriptModule):
            self._modules[key] = copy.deepcopy(module)
        elif isinstance(compiled := module._modules.get("_orig_mod"), nn.Module):
            self._modules[key] = self.module(compiled)
        else:
            self._clone_tensors(module)
            copied = self._modules[key] = object.__new__(original_class(module))
            for name, value in list(module.__dict__.items()):
                if name != WRAPPER:
                    copied.__dict__[name] = self._attribute(module, name, value)
            inner = getattr(module.__dict__.get(WRAPPER), "inner", None)
            if inner is not None:
                copied.__dict__["forward"] = self._value(inner)
            _set_forward(copied)
        return self._modules[key]

    def _attribute(self, module: nn.Module, name: str, value: object) -> object:
        copied = value
        if name == "_modules":
            copied = {key: None if child is None else self.module(child) for key, child in module._modules.items()}
        elif name in {"_parameters", "_buffers"}:
            table = module._parameters if name == "_parameters" else module._buffers
            copied = {key: self._tensors.get(id(tensor), tensor) for key, tensor in table.items()}
        elif name == "_compiled_call_impl":
            copied = None
        elif isinstance(value, dict) and name in _HOOK_TABLES:
            copied = type(value)((key, self._value(hook)) for key, hook in value.items())
        else:
            copied = self._value(value)
        return copied

    def _clone_tensors(self, module: nn.Module) -> None:
        """Clone what a pass may change in place."""
        if isinstance(module, torch.jit.ScriptModule):
            return
        for buffer in module._buffers.values():
            if buffer is not None and id(buffer) not in self._tensors and not uninitialised(buffer):
                self._tensors[id(buffer)] = buffer if buffer.is_meta else buffer.detach().clone()
        weight = module._parameters.get("weight")
        if renormalises(module) and weight is not None and id(weight) not in self._tensors:
            self._tensors[id(weight)] = nn.Parameter(weight.detach().clone(), weight.requires_grad)


def _set_forward(module: nn.Module) -> None:
    """Let the forward of the class stand where the user set none, and the function behind one that is compiled."""
    if module.__dict__.get("forward") is None:
        module.__dict__.pop("forward", None)
        if (eager := getattr(type(module).forward, "_torchdynamo_orig_callable", None)) is not None:
            module.__dict__["forward"] = types.MethodType(eager, module)
