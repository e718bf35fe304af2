"""Find out whether a variable that a dropout overwrites in place is read afterwards."""

import ast
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import NamedTuple

import torch

from thinned.audits.observation.random_masks import Location

__all__ = ["NeededInput", "needed_input"]

_FACTS = frozenset({"shape", "size", "dim", "ndim", "dtype", "device", "numel", "is_cuda", "requires_grad"})


class NeededInput(NamedTuple):
    """A variable that a dropout overwrote in place, and that is read again.

    Attributes:
        name: its name.
        location: line of the call that overwrites it.
        read_line: line that reads it.
    """

    name: str
    location: Location
    read_line: int


def needed_input(
    tensor: torch.Tensor, frames: Iterator[FrameType], files: dict[str, ast.Module | None]
) -> NeededInput | None:
    """The variable of the user's code that holds a tensor and is read after the call that each frame is in.

    Args:
        tensor: the tensor that was overwritten.
        frames: frames of the user's code, innermost first.
        files: files that were parsed before, by name; others are added.
    """
    for frame in frames:
        names = [name for name, value in frame.f_locals.items() if value is tensor]
        body = _function_body(frame, files) if names else None
        for name in names if body is not None else ():
            line = _later_read(body or [], frame.f_lineno, name)
            if line is not None:
                return NeededInput(name, Location(frame.f_code.co_filename, frame.f_lineno), line)
    return None


def _function_body(frame: FrameType, files: dict[str, ast.Module | None]) -> list[ast.stmt] | None:
    file = frame.f_code.co_filename
    if file not in files:
        files[file] = _parsed(file)
    tree = files[file]
    for node in ast.walk(tree) if tree is not None else ():
        if isinstance(node, ast.FunctionDef) and node.name == frame.f_code.co_name:
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            if first == frame.f_code.co_firstlineno:
                return node.body
    return None


def _parsed(file: str) -> ast.Module | None:
    try:
        return ast.parse(Path(file).read_text("utf-8"))
    except (OSError, SyntaxError, ValueError):
        return None


def _later_read(body: list[ast.stmt], line: int, name: str) -> int | None:
    """The line that reads a variable after the call on ``line``; None if it is assigned before, or never read."""
    path = _path(body, line)
    statement = path[-1][1] if path else None
    if statement is None or (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call)):
        return None  # a call for its effect alone
    reads = list(_reads(statement, name))
    if len(reads) > 1:
        return reads[0]
    is_end = _assigns(statement, name) or isinstance(statement, ast.Return)
    return None if is_end else _first_read(path, name)


def _first_read(path: list[tuple[list[ast.stmt], ast.stmt]], name: str) -> int | None:
    """The line that reads a variable behind a statement, given by the statements around it."""
    for block, inner in reversed(path):
        for later in block[block.index(inner) + 1 :]:
            reads = list(_reads(later, name))
            if reads:
                return reads[0]
            if _assigns(later, name) or isinstance(later, ast.Return | ast.Raise):
                return None
    return None


def _path(body: list[ast.stmt], line: int) -> list[tuple[list[ast.stmt], ast.stmt]]:
    """The statements around a line, outermost first, each with the block that it stands in."""
    for statement in reversed(body):  # of several on one line, the last
        if statement.lineno <= line <= (statement.end_lineno or statement.lineno):
            blocks = [value for _, value in ast.iter_fields(statement) if isinstance(value, list)]
            inner = [_path(block, line) for block in blocks if block and isinstance(block[0], ast.stmt)]
            return [(body, statement), *next(filter(None, inner), [])]
    return []


def _reads(node: ast.AST, name: str) -> Iterator[int]:
    """Lines that read a variable's values; its shape and the like are not values."""
    if isinstance(node, ast.Attribute) and node.attr in _FACTS:
        return
    if isinstance(node, ast.IfExp):
        branches = [list(_reads(branch, name)) for branch in (node.body, node.orelse)]
        yield from max(branches, key=len)  # one of the two runs
        return
    if isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Load):
        yield node.lineno
    for child in ast.iter_child_nodes(node):
        yield from _reads(child, name)


def _assigns(statement: ast.stmt, name: str) -> bool:
    return any(
        isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Store)
        for node in ast.walk(statement)
    )
