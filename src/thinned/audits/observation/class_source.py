"""Facts that the code of a module's class tells: the attributes that its methods read, and lines that define things."""

import ast
import dis
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from types import CodeType, FunctionType

from torch import nn

from thinned.audits.observation.random_masks import Location
from thinned.tracing.modules import original_class

__all__ = ["definition_line", "reads_attribute"]

#: methods that describe or build a module, and apply nothing
_DESCRIBING = frozenset({"__init__", "__repr__", "extra_repr", "reset_parameters"})


def reads_attribute(module: nn.Module, name: str, *, overridden: bool = False) -> bool:
    """True if a method of the module's class may read its attribute ``name``.

    Args:
        module: the module.
        name: name of the attribute.
        overridden: count methods that a subclass overrides; by default only where it calls ``super()``.
    """
    if any(inspect.isroutine(value) for value in vars(module).values()):
        return True  # a function that somebody assigned to the instance may read anything
    return any(name in _names(code) for code in _codes(original_class(module), overridden))


def _codes(cls: type, overridden: bool) -> Iterator[CodeType]:
    """The code of the methods that objects of a class run, and of the functions that they call by name."""
    left_out = set(_DESCRIBING)
    for base in filter(_is_own, cls.__mro__):
        for name, value in vars(base).items():
            function = _function(value)
            if function is None or name in left_out:
                continue
            yield function.__code__
            for called in function.__code__.co_names:
                helper = _function(function.__globals__.get(called))
                if helper is not None:
                    yield helper.__code__
            if not overridden and "super" not in function.__code__.co_names:
                left_out.add(name)


def _function(value: object) -> FunctionType | None:
    if isinstance(value, property):
        value = value.fget
    if isinstance(value, staticmethod | classmethod):
        value = value.__func__
    if not callable(value):
        return None
    function = inspect.unwrap(value)
    return function if isinstance(function, FunctionType) and _is_own(function) else None


def _names(code: CodeType) -> set[str]:
    """Attributes that a piece of code loads, and its strings, which may be names for getattr."""
    names = {str(step.argval) for step in dis.get_instructions(code) if step.opname.startswith("LOAD_")}
    for part in code.co_consts:
        if isinstance(part, CodeType):
            names |= _names(part)
    return names


def definition_line(path: str, modules: Mapping[str, nn.Module]) -> Location | None:
    """The line that assigns a module to an attribute of the nearest class that is not torch's.

    Where no such line exists, it is the first line of that class; None where no source is known.
    """
    attribute, parent = "", path
    while True:
        if parent in modules and (cls := original_class(modules[parent])) and _is_own(cls):
            line = _assignment_line(cls, attribute) or _class_line(cls)
            if line is not None:
                return line
        if not parent:
            return None
        parent, _, attribute = parent.rpartition(".")


def _is_own(thing: type | FunctionType) -> bool:
    return thing is not object and thing.__module__.partition(".")[0] not in {"torch", "typing"}


def _assignment_line(cls: type, attribute: str) -> Location | None:
    """The line that assigns an attribute in a class or one of its bases."""
    if not attribute:
        return None
    for base in filter(_is_own, cls.__mro__):
        lines, first = _source_lines(base)
        try:
            tree = ast.parse(textwrap.dedent("".join(lines)))
        except SyntaxError:
            continue
        file = inspect.getsourcefile(base) if lines else None
        for node in ast.walk(tree):
            if file is None or not isinstance(node, ast.Attribute) or not isinstance(node.ctx, ast.Store):
                continue
            if node.attr == attribute:
                return Location(file, first + node.lineno - 1)
    return None


def _class_line(cls: type) -> Location | None:
    lines, first = _source_lines(cls)
    file = inspect.getsourcefile(cls) if lines else None
    return Location(file, first) if file is not None else None


def _source_lines(cls: type) -> tuple[list[str], int]:
    try:
        return inspect.getsourcelines(cls)
    except (OSError, TypeError):
        return [], 0
