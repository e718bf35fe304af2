"""A structural copy of a model: modules of its own, the same parameters.

A recorded pass and a pass of the ensemble set training flags, attributes and hooks. They do so on such a copy, so that
the user's model can train, serve or be sampled in other threads meanwhile. Parameters are shared; buffers are cloned,
since a forward may change them in place.
"""

import copy
import functools
import types
from typing import cast

import torch
from torch import nn

from thinned.tracing.modules import WRAPPER, original_class

__all__ = ["copy_modules"]


def copy_modules(model: nn.Module) -> nn.Module:
    """Copy the modules of ``model`` in evaluation mode, without conversion and without ``torch.compile``.

    Modules in lists, tuples, dicts and bound methods among the attributes are replaced by their copies. TorchScript
    modules are copied with their parameters. A closure over a module keeps the module of the user.
    """
    copied = _Copier().module(model)
    for module in copied.modules():
        module.training = False
    return copied


class _Copier:
    """Copies by the identity of the original, so that shared modules and buffers stay shared."""

    def __init__(self) -> None:
        self._modules: dict[int, nn.Module] = {}
        self._buffers: dict[int, torch.Tensor] = {}

    def module(self, module: nn.Module) -> nn.Module:
        key = id(module)
        if key in self._modules:
            return self._modules[key]
        if isinstance(module, torch.jit.ScriptModule):
            self._modules[key] = copy.deepcopy(module)
        elif isinstance(compiled := module._modules.get("_orig_mod"), nn.Module):
            self._modules[key] = self.module(compiled)
        else:
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
        elif name == "_parameters":
            copied = self._parameters(module)
        elif name == "_buffers":
            buffers = module._buffers.items()
            copied = {key: None if buffer is None else self._buffer(buffer) for key, buffer in buffers}
        elif name == "_compiled_call_impl":
            copied = None
        elif isinstance(value, dict) and "hooks" in name:
            copied = type(value)((key, self._value(hook)) for key, hook in value.items())
        else:
            copied = self._value(value)
        return copied

    @staticmethod
    def _parameters(module: nn.Module) -> dict[str, nn.Parameter | None]:
        parameters = dict(module._parameters)
        weight = parameters.get("weight")
        if isinstance(module, nn.Embedding) and module.max_norm and weight is not None:
            parameters["weight"] = nn.Parameter(weight.detach().clone(), False)  # a pass renormalises it in place
        return parameters

    def _buffer(self, buffer: torch.Tensor) -> torch.Tensor:
        if torch.nn.parameter.is_lazy(buffer) or buffer.is_meta:
            return buffer
        if id(buffer) not in self._buffers:
            self._buffers[id(buffer)] = buffer.detach().clone()
        return self._buffers[id(buffer)]

    def _value(self, value: object) -> object:
        """The value with modules replaced by their copies; the value itself where it holds no module."""
        if isinstance(value, nn.Module):
            return self.module(value)
        if isinstance(value, types.MethodType) and isinstance(value.__self__, nn.Module):
            return types.MethodType(value.__func__, self.module(value.__self__))
        if isinstance(value, functools.partial):
            return self._partial(value)
        if type(value) in {list, tuple}:
            items = cast("list[object] | tuple[object, ...]", value)
            return type(items)(map(self._value, items)) if any(map(_holds_module, items)) else value
        if type(value) is dict:
            entries = cast("dict[object, object]", value)
            holds = any(map(_holds_module, entries.values()))
            return {key: self._value(entry) for key, entry in entries.items()} if holds else value
        return value

    def _partial(self, value: "functools.partial[object]") -> object:
        function, args = self._value(value.func), tuple(map(self._value, value.args))
        copied = functools.partial(cast("types.FunctionType", function), *args, **value.keywords)
        copied.__dict__.update(value.__dict__)
        return copied


def _set_forward(module: nn.Module) -> None:
    """Let the forward of the class stand where the user set none, and the function behind one that is compiled."""
    if module.__dict__.get("forward") is None:
        module.__dict__.pop("forward", None)
        if (eager := getattr(type(module).forward, "_torchdynamo_orig_callable", None)) is not None:
            module.__dict__["forward"] = types.MethodType(eager, module)


def _holds_module(value: object) -> bool:
    return isinstance(value, nn.Module | types.MethodType | functools.partial | list | tuple | dict)
