"""Facts that the code of a module's class tells: the attributes that its methods read, and lines that define things."""

import ast
import dis
import inspect
import linecache
import re
import textwrap
from collections.abc import Iterator, Mapping
from types import CodeType, FunctionType
from typing import NamedTuple

from torch import nn

from thinned.audits.observation.random_masks import Location
from thinned.tracing.modules import original_class

__all__ = ["ClassSources", "reads_attribute"]

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
    return any(_loads(code, name) for code in _codes(original_class(module), overridden))


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


def _loads(code: CodeType, name: str) -> bool:
    """True if a piece of code loads this attribute, or this string, which may be a name for getattr."""
    names = (*code.co_names, *code.co_varnames, *code.co_freevars, *code.co_cellvars, *map(str, code.co_consts))
    if name in names:  # reading the steps takes a hundred times as long
        steps = dis.get_instructions(code)
        if any(step.opname.startswith("LOAD_") and str(step.argval) == name for step in steps):
            return True
    return any(_loads(part, name) for part in code.co_consts if isinstance(part, CodeType))


class _Source(NamedTuple):
    """The source of a class.

    Attributes:
        file: the file.
        first: its first line, with decorators.
        class_line: number of the first line of ``text``.
        text: the source from the word ``class`` on.
        tree: the same, parsed.
    """

    file: str
    first: int
    class_line: int
    text: str
    tree: ast.Module


class ClassSources:
    """The sources of classes, each read once."""

    def __init__(self) -> None:
        self._sources: dict[type, _Source | None] = {}

    def definition_line(self, path: str, modules: Mapping[str, nn.Module]) -> Location | None:
        """The line that assigns a module to an attribute of the nearest class that is not torch's.

        Where no such line exists, it is the first line of that class; None where no source is known.
        """
        attribute, parent = "", path
        while True:
            if parent in modules and (cls := original_class(modules[parent])) and _is_own(cls):
                line = self._assignment_line(cls, attribute) or self._class_line(cls)
                if line is not None:
                    return line
            if not parent:
                return None
            parent, _, attribute = parent.rpartition(".")

    def _assignment_line(self, cls: type, attribute: str) -> Location | None:
        """The line that assigns an attribute in a class or one of its bases."""
        for base in filter(_is_own, cls.__mro__) if attribute else ():
            source = self._source(base)
            if source is None or attribute not in source.text:
                continue
            for node in ast.walk(source.tree):
                if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and node.attr == attribute:
                    return Location(source.file, source.class_line + node.lineno - 1)
        return None

    def _class_line(self, cls: type) -> Location | None:
        source = self._source(cls)
        return None if source is None else Location(source.file, source.first)

    def _source(self, cls: type) -> _Source | None:
        if cls not in self._sources:
            self._sources[cls] = _class_source(cls)
        return self._sources[cls]


def _is_own(thing: type | FunctionType) -> bool:
    return thing is not object and thing.__module__.partition(".")[0] not in {"torch", "typing"}


def _class_source(cls: type) -> _Source | None:
    """The source of a class; None where it is unknown."""
    try:
        file = inspect.getsourcefile(cls)
        source = _only_class(cls, file) if file is not None else None
        if file is None or source is not None:
            return source
        lines, first = inspect.getsourcelines(cls)  # parses the whole file
        text = textwrap.dedent("".join(lines))
        return _Source(file, first, first, text, ast.parse(text))
    except (OSError, TypeError, SyntaxError):
        return None


def _only_class(cls: type, file: str) -> _Source | None:
    """The source of a class whose name one line of its file defines; None for others, and where it does not parse."""
    lines = linecache.getlines(file)
    definition = re.compile(rf"(\s*)class\s+{re.escape(cls.__name__)}\b")
    starts = [number for number, line in enumerate(lines) if definition.match(line)]
    if len(starts) != 1:
        return None
    start, indent = starts[0], _indent(lines[starts[0]])
    below = range(start + 1, len(lines))
    end = next((i for i in below if _is_code(lines[i]) and _indent(lines[i]) <= indent), len(lines))
    text = textwrap.dedent("".join(lines[start:end]))
    try:
        tree = ast.parse(text)
    except SyntaxError:  # a text or a bracket goes on at the margin
        return None
    first = start
    for above in range(start - 1, -1, -1):
        line = lines[above]
        if not line.strip() or (_indent(line) <= indent and line.strip()[0] not in "@)]}"):
            break
        first = above if line.strip()[0] == "@" and _indent(line) == indent else first
    return _Source(file, first + 1, start + 1, text, tree)


def _is_code(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())
