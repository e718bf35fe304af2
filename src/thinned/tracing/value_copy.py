"""Copies of attribute values that hold modules, or tensors of modules, which are to be replaced by their twins."""

import copy
import enum
import functools
import types
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, cast

import torch
from torch import nn

__all__ = ["ValueCopier"]

_LEAVES = {bool, int, float, complex, str, bytes, type(None), weakref.ProxyType, weakref.CallableProxyType}
_UNCOPIED = (type, types.ModuleType, types.BuiltinFunctionType, enum.Enum, torch.Tensor)


class ValueCopier:
    """Rebuilds values in which modules or their tensors occur; any other value stays the same object.

    It looks into dicts, lists, tuples, sets, deques and their subclasses, attributes of objects, bound methods,
    partials, weak references, and what functions close over. Objects of torch's own, of classes with ``__del__`` and of
    classes written in C stay as they are.

    Args:
        module: gives the twin of a module.
        tensors: twins of tensors, by the identity of the original.
    """

    def __init__(self, module: Callable[[nn.Module], nn.Module], tensors: Mapping[int, torch.Tensor]) -> None:
        self._module = module
        self._tensors = tensors
        self._copied: dict[int, tuple[object, object]] = {}  # with the original, so that no other takes its identity
        self._clean: dict[int, object] = {}

    def copy(self, value: Any) -> Any:
        """The value with twins in place of modules and tensors."""
        kind = type(value)
        if kind in _LEAVES:
            return value
        if isinstance(value, nn.Module):
            return self._module(value)
        if isinstance(value, torch.Tensor):
            return self._tensors.get(id(value), value)
        if id(value) not in self._copied:
            if not self._holds_module(value):
                return value
            twin = self._immutable(value)
            self._copied.setdefault(id(value), (value, self._mutable(value) if twin is None else twin))
        return self._copied[id(value)][1]

    def _holds_module(self, value: object) -> bool:
        seen: dict[int, object] = {}
        stack = [value]
        while stack:
            part = stack.pop()
            if type(part) in _LEAVES or id(part) in seen or id(part) in self._clean:
                continue
            if isinstance(part, nn.Module) or id(part) in self._tensors:
                return True
            seen[id(part)] = part
            stack += _parts(part)
        self._clean |= seen
        return False

    def _immutable(self, value: Any) -> Any:
        """The twin of a value whose parts must be known when it is made; None for any other value."""
        twin: Any = None
        if isinstance(value, types.MethodType):
            twin = types.MethodType(self.copy(value.__func__), self.copy(value.__self__))
        elif isinstance(value, functools.partial):
            keywords = {name: self.copy(part) for name, part in value.keywords.items()}
            twin = type(value)(self.copy(value.func), *map(self.copy, value.args), **keywords)
        elif isinstance(value, weakref.ref):
            twin = weakref.ref(self.copy(value()))
        elif isinstance(value, types.MappingProxyType):
            twin = types.MappingProxyType({self.copy(key): self.copy(part) for key, part in value.items()})
        elif isinstance(value, (tuple, frozenset)):
            base: Any = tuple if isinstance(value, tuple) else frozenset
            twin = base.__new__(type(value), [self.copy(part) for part in value])  # a namedtuple, too
        if twin is not None:
            self._copy_attributes(value, twin)
        return twin

    def _mutable(self, value: Any) -> Any:
        """The twin of a value that may hold itself: made first, filled then."""
        if isinstance(value, types.FunctionType):
            return self._function(value)
        if not isinstance(value, (dict, list, set, deque)):
            twin = object.__new__(type(value))
            self._copied[id(value)] = value, twin
            self._copy_attributes(value, twin)
            return twin
        twin = copy.copy(value)
        self._copied[id(value)] = value, twin
        base: Any = next(c for c in (OrderedDict, dict, list, set, deque) if isinstance(value, c))
        base.clear(twin)  # of the base: a subclass may do more
        if isinstance(value, dict):
            for key, part in list(base.items(value)):
                base.__setitem__(twin, self.copy(key), self.copy(part))
        else:
            add: Callable[..., None] = getattr(base, "update" if base is set else "extend")
            add(twin, [self.copy(part) for part in list(base.__iter__(value))])
        self._copy_attributes(value, twin)
        return twin

    def _function(self, function: types.FunctionType) -> types.FunctionType:
        closure = function.__closure__ or ()
        cells = [types.CellType() if self._holds_module(cell) else cell for cell in closure]
        for cell, twin_cell in zip(closure, cells, strict=True):
            if twin_cell is not cell:
                self._copied.setdefault(id(cell), (cell, twin_cell))
        cells = [cast("types.CellType", self._copied.get(id(cell), (cell, cell))[1]) for cell in closure]
        code, name = function.__code__, function.__name__
        twin = types.FunctionType(code, function.__globals__, name, None, tuple(cells) or None)
        self._copied[id(function)] = function, twin
        for cell, twin_cell in zip(closure, cells, strict=True):
            if twin_cell is not cell:
                twin_cell.cell_contents = self.copy(cell.cell_contents)
        twin.__defaults__ = self.copy(function.__defaults__)
        twin.__kwdefaults__ = self.copy(function.__kwdefaults__)
        twin.__qualname__, twin.__module__, twin.__doc__ = function.__qualname__, function.__module__, function.__doc__
        twin.__dict__.update(function.__dict__)
        return twin

    def _copy_attributes(self, value: object, twin: object) -> None:
        if isinstance(attributes := getattr(value, "__dict__", None), dict) and not isinstance(value, types.MethodType):
            twin.__dict__.update({name: self.copy(part) for name, part in list(attributes.items())})
        for slot, part in _slots(value):
            slot.__set__(twin, self.copy(part))


def _parts(value: Any) -> list[object]:
    """What a value consists of, as far as its twin can be made."""
    parts: list[object] = []
    if isinstance(value, types.MethodType):
        return [value.__func__, value.__self__]
    if isinstance(value, types.FunctionType):
        return [*(value.__closure__ or ()), value.__defaults__, value.__kwdefaults__]
    if isinstance(value, types.CellType):
        with suppress(ValueError):  # an empty one
            parts = [value.cell_contents]
        return parts
    if type(value) is weakref.ref:
        return [value()]
    if isinstance(value, functools.partial):
        parts = [value.func, *value.args, *value.keywords.values()]
    elif isinstance(value, (dict, types.MappingProxyType)):
        parts = [*list(value.keys()), *list(value.values())]
    elif isinstance(value, (list, tuple, set, frozenset, deque)):
        parts = list(value)
    elif not _is_plain(value):
        return []
    attributes = getattr(value, "__dict__", None)
    return parts + list(attributes.values() if isinstance(attributes, dict) else ()) + [v for _, v in _slots(value)]


def _slots(value: object) -> Iterator[tuple[types.MemberDescriptorType, object]]:
    for cls in type(value).__mro__:
        if "__slots__" in vars(cls):
            for slot in vars(cls).values():
                if isinstance(slot, types.MemberDescriptorType) and hasattr(value, slot.__name__):
                    yield slot, slot.__get__(value, type(value))


def _is_plain(value: object) -> bool:
    """Tell whether ``object.__new__`` and the attributes give an equal object, whose end does no harm."""
    cls = type(value)
    if isinstance(value, _UNCOPIED) or hasattr(cls, "__del__") or cls.__module__.partition(".")[0] == "torch":
        return False
    try:
        object.__new__(cls)
    except TypeError:  # a class written in C, or an abstract one
        return False
    return True
