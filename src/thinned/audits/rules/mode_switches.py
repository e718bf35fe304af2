"""Calls in source code that train a model, run it, or switch its mode: shared by TD105 and TD106."""

import ast
import re
from collections.abc import Iterable, Iterator

__all__ = [
    "called_names",
    "calls_below",
    "functions_of",
    "is_model",
    "is_no_grad",
    "optimised_names",
    "receiver",
    "sets_training",
    "stops_training",
]

_MODEL = re.compile(r"^_?(model|net|network|classifier|module)$")
_OPTIMISER = re.compile(r"^[A-Z]|optim")
_LOSS = re.compile(r"criterion|loss", re.IGNORECASE)  # one with parameters of its own has no mode
_DEPTH = 3  # of functions that are followed


def receiver(call: ast.Call) -> str:
    """The object that a method is called on, as ``self.model``; "" for a function."""
    return ast.unparse(call.func.value) if isinstance(call.func, ast.Attribute) else ""


def is_model(name: str) -> bool:
    """True for the name of a model, such as ``net`` and ``self.model``."""
    return bool(_MODEL.match(name.rpartition(".")[2]))


def is_no_grad(node: ast.AST) -> bool:
    """True for ``with torch.no_grad():`` and the like, and for a function that is decorated with it."""
    if isinstance(node, ast.With):
        names = [ast.unparse(item.context_expr) for item in node.items]
    else:
        names = [ast.unparse(part) for part in node.decorator_list] if isinstance(node, ast.FunctionDef) else []
    plain = {name.removeprefix("torch.").removesuffix("()") for name in names}
    return bool(plain & {"no_grad", "inference_mode", "set_grad_enabled(False)"})


def optimised_names(tree: ast.AST) -> set[str]:
    """The objects whose ``parameters()`` an optimiser is built from, as ``self.policy``."""
    names = set()
    for call in ast.walk(tree):
        if isinstance(call, ast.Call) and _OPTIMISER.search(ast.unparse(call.func).rpartition(".")[2]):
            inner = [part for part in ast.walk(call) if isinstance(part, ast.Call)]
            names |= {receiver(part) for part in inner if ast.unparse(part.func).endswith(".parameters")}
    return {name for name in names - {"", "self"} if not _LOSS.search(name)}


def called_names(node: ast.AST) -> set[str]:
    """Names and attributes that are called outside of ``no_grad`` within a piece of code."""
    if is_no_grad(node):
        return set()
    called = {ast.unparse(node.func)} if isinstance(node, ast.Call) else set()
    return called.union(*(called_names(child) for child in ast.iter_child_nodes(node)))


def stops_training(call: ast.Call) -> bool:
    """True for ``model.eval()`` and ``model.train(False)``, and for ``model.train(mode)``, which may be that."""
    method = call.func.attr if isinstance(call.func, ast.Attribute) else ""
    if method == "eval":
        return not call.args
    return method == "train" and bool(call.args or call.keywords)


def sets_training(call: ast.Call) -> bool:
    """True for ``model.train()`` and ``model.train(mode)``."""
    return isinstance(call.func, ast.Attribute) and call.func.attr == "train"


def functions_of(tree: ast.AST) -> dict[str, list[ast.FunctionDef]]:
    """The functions and methods of a file, by name."""
    functions: dict[str, list[ast.FunctionDef]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            functions.setdefault(node.name, []).append(node)
    return functions


def calls_below(
    nodes: Iterable[ast.AST], functions: dict[str, list[ast.FunctionDef]], depth: int = _DEPTH
) -> Iterator[ast.Call]:
    """The calls in pieces of code, and those in the functions of the same file that they call."""
    for node in nodes:
        for call in ast.walk(node):
            if not isinstance(call, ast.Call):
                continue
            yield call
            name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
            if depth and name in functions:
                yield from calls_below(functions[name], functions, depth - 1)
