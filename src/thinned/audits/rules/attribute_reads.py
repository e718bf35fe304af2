"""Find out from source code whether an attribute of a module may be read: needed before TD301 removes one."""

import ast
import inspect
from collections.abc import Iterable
from pathlib import Path

from torch import nn

__all__ = ["may_be_read"]

#: ways to reach parts of a module other than by their names
_DYNAMIC = {"_modules", "children", "getattr", "get_submodule", "named_children", "vars", "__dict__"}


def may_be_read(name: str, parent: nn.Module, modules: Iterable[nn.Module]) -> bool:
    """False only if all source of a model is known and none of it can read the attribute ``name`` of ``parent``.

    Args:
        name: name of the attribute.
        parent: module that has it.
        modules: all modules of the model; the whole files of their classes are read.
    """
    if any(inspect.isroutine(value) for value in vars(parent).values()):
        return True  # a function that somebody assigned to the instance may read anything
    classes = {cls for module in modules for cls in type(module).__mro__ if _is_own(cls)}
    files = {_file_of(cls) for cls in classes}
    if None in files:
        return True
    names_by_file = {file: _names(file) for file in files if file is not None}
    if any(name in names for names in names_by_file.values()):
        return True
    return any(
        _DYNAMIC & names_by_file[file] for cls in type(parent).__mro__ if (file := _file_of(cls)) in names_by_file
    )


def _is_own(cls: type) -> bool:
    return cls is not object and cls.__module__.partition(".")[0] not in {"torch", "typing"}


def _file_of(cls: type) -> Path | None:
    try:
        file = inspect.getsourcefile(cls)
    except (OSError, TypeError):
        return None
    return Path(file) if file is not None and Path(file).exists() else None


def _names(file: Path) -> set[str]:
    """Names and attributes that a file reads, and its strings, which may be names for getattr."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Attribute | ast.Name) and isinstance(node.ctx, ast.Load):
            names.add(node.attr if isinstance(node, ast.Attribute) else node.id)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names.add(node.value)
    return names
