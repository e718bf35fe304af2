"""Reads code that cannot be run: the mistakes that show in the text alone, marked as unconfirmed."""

import ast
from pathlib import Path
from typing import Any

from thinned.audits.findings import Finding
from thinned.audits.observation.recorder import Location
from thinned.audits.rules import Rule
from thinned.audits.rules_masks import CheckpointedMasks, SeedReset
from thinned.audits.rules_modes import ActiveInEvaluation, BuiltInForward
from thinned.audits.rules_rates import HighRate, KeepRate, NeverApplied, OneLayerRecurrent
from thinned.errors import InputError, sentence

__all__ = ["read_source", "read_text"]

_F, _NN = "torch.nn.functional.", "torch.nn."
_FUNCTIONS = {f"{_F}{name}" for name in ("dropout", "dropout1d", "dropout2d", "dropout3d")}
_CLASSES = {"Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout", "FeatureAlphaDropout"}
_MODULES = {f"{_NN}{name}" for name in _CLASSES} | {
    f"thinned.{name}" for name in _CLASSES | {"DropPath", "LockedDropout"}
}
_RECURRENT = {f"{_NN}{name}" for name in ("LSTM", "GRU", "RNN")}
_SDPA = f"{_F}scaled_dot_product_attention"


def read_source(path: Path) -> list[Finding]:
    """The findings in a Python file, or in those of a folder and the folders below it.

    Hidden folders and installed packages are left out.

    Raises:
        InputError: there is no such path, or no file in it is Python.
    """
    files = sorted(file for file in path.rglob("*.py") if _is_own(file.relative_to(path))) if path.is_dir() else [path]
    if not path.exists() or not files:
        raise InputError(sentence("--source must be a Python file or a folder with some", f"got {path}"))
    found = []
    for file in files:
        try:
            found += read_text(file.read_text("utf-8"), str(file))
        except (SyntaxError, ValueError) as error:
            if not path.is_dir():
                raise InputError(sentence(f"{file} must be Python", str(error))) from None
    return found


def _is_own(file: Path) -> bool:
    return not any(part.startswith(".") or part == "site-packages" for part in file.parts)


def read_text(text: str, file: str = "<text>") -> list[Finding]:
    """The findings in source code."""
    reader = _Reader(file)
    reader.visit(ast.parse(text))
    return sorted(reader.found, key=lambda finding: finding.line or 0)


class _Reader(ast.NodeVisitor):
    """Walks a file with the names that its imports have given, and knows what runs in training only."""

    def __init__(self, file: str) -> None:
        self.file, self.found = file, list[Finding]()
        self.names: dict[str, str] = {}
        self.classes: list[ast.ClassDef] = []
        self.functions: list[ast.FunctionDef] = []
        self.gated = False  # whether this code runs in training mode only

    def name(self, node: ast.AST) -> str:
        """A dotted name in full, imports resolved; "" if it is none."""
        parts = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            return ""
        return ".".join([self.names.get(node.id, node.id), *reversed(parts)])

    def report(self, rule: type[Rule], node: ast.AST, text: str, fix: str, **data: Any) -> None:
        cls = self.classes[-1].name if self.classes else ""
        path = ".".join([part.name for part in self.classes] + [part.name for part in self.functions[-1:]])
        location = Location(self.file, getattr(node, "lineno", 1))
        severity = rule.severities[0]
        self.found.append(
            rule().finding(severity, path, cls or "module", text, fix, location=location, confirmed=False, **data)
        )

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self.names[alias.asname or alias.name.split(".")[0]] = (
                alias.name if alias.asname else alias.name.split(".")[0]
            )

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for alias in node.names:
            self.names[alias.asname or alias.name] = f"{'.' * node.level}{node.module or ''}.{alias.name}"

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        functions, self.functions = self.functions, []
        self.classes.append(node)
        self._unused(node)
        self.generic_visit(node)
        self.classes.pop()
        self.functions = functions

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        gated, self.gated = self.gated, False
        self.functions.append(node)
        for part in (*node.decorator_list, node.args):
            self.visit(part)
        self._block(node.body)
        self.functions.pop()
        self.gated = gated

    def generic_visit(self, node: ast.AST) -> None:
        for _, value in ast.iter_fields(node):
            if isinstance(value, list) and value and isinstance(value[0], ast.stmt):
                self._block(value)
            else:
                for part in value if isinstance(value, list) else [value]:
                    if isinstance(part, ast.AST):
                        self.visit(part)

    def visit_If(self, node: ast.If) -> None:
        self.visit(node.test)
        self._block(node.body, gated=_implied(node.test, True) is True)
        self._block(node.orelse, gated=_implied(node.test, False) is True)

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self.visit(node.test)
        self._block([node.body], gated=_implied(node.test, True) is True)
        self._block([node.orelse], gated=_implied(node.test, False) is True)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        gated = isinstance(node.op, ast.And) and any(_implied(value, True) for value in node.values[:-1])
        self._block(list(node.values), gated=gated)

    def _block(self, body: list[Any], *, gated: bool = False) -> None:
        """Visit statements; after ``if not self.training: return``, and after an assertion, is training only."""
        before, self.gated = self.gated, self.gated or gated
        for node in body:
            self.visit(node)
            leaves = isinstance(node, ast.If) and isinstance(node.body[-1], ast.Return | ast.Raise) and not node.orelse
            if leaves or isinstance(node, ast.Assert):
                self.gated |= _implied(node.test, isinstance(node, ast.Assert)) is True
        self.gated = before

    def visit_Call(self, node: ast.Call) -> None:
        name = self.name(node.func)
        if name in _FUNCTIONS:
            self._functional(node, name.rpartition(".")[2])
        elif name == _SDPA:
            self._attention(node)
        elif name in _MODULES:
            self._module(node, name.rpartition(".")[2])
        elif name in _RECURRENT:
            self._recurrent(node, name.rpartition(".")[2])
        elif name == "torch.manual_seed" and self._in_forward():
            self.report(SeedReset, node, "torch.manual_seed is called in forward", "call it once, before training")
        elif name == "torch.utils.checkpoint.checkpoint" and _value(_argument(node, "preserve_rng_state")) is False:
            text = "checkpoint is called with preserve_rng_state=False; if the block drops, its masks change"
            self.report(CheckpointedMasks, node, text, "checkpoint(..., preserve_rng_state=True), which is the default")
        self.generic_visit(node)

    def _in_forward(self) -> bool:
        return bool(self.classes and self.functions and self.functions[-1].name == "forward")

    def _in_module(self) -> bool:
        """Whether this code is a method of something like a module."""
        return bool(self.classes and self.functions and self.functions[-1].name != "__init__")

    def _functional(self, node: ast.Call, name: str) -> None:
        p, training = _argument(node, "p", 1), _argument(node, "training", 2)
        self._rate(node, _value(p), name)
        unpacked = any(isinstance(arg, ast.Starred) for arg in node.args) or any(k.arg is None for k in node.keywords)
        always = training is None or _value(training) is True
        if self._in_module() and always and not self.gated and not unpacked and _value(p) != 0:
            if p is not None and _mentions_training(p, self._locals()):
                return  # a rate that is 0 in evaluation
            fix = f"F.{name}(x, {ast.unparse(p) if p else 'p'}, training=self.training)"
            seen = "training=True" if training is not None else "without training=, whose default is True"
            self.report(ActiveInEvaluation, node, f"F.{name} is called {seen}", fix)

    def _attention(self, node: ast.Call) -> None:
        p = _argument(node, "dropout_p", 4)
        if p is None or _value(p) == 0 or self.gated or not self._in_module() or _mentions_training(p, self._locals()):
            return
        if isinstance(p, ast.Name) and p.id in {
            arg.arg for arg in ast.walk(self.functions[-1].args) if isinstance(arg, ast.arg)
        }:
            return  # the caller decides
        text = f"scaled_dot_product_attention is called with dropout_p={ast.unparse(p)} in either mode"
        self.report(ActiveInEvaluation, node, text, f"dropout_p={ast.unparse(p)} if self.training else 0.0")

    def _module(self, node: ast.Call, name: str) -> None:
        self._rate(node, _value(_argument(node, "p", 0)), name)
        if self._in_forward() and not self.gated:
            text = f"nn.{name} is built in forward, in training mode whatever the model's mode"
            self.report(BuiltInForward, node, text, f"self.drop = {ast.unparse(node)}  # in __init__")

    def _recurrent(self, node: ast.Call, name: str) -> None:
        p, layers = _value(_argument(node, "dropout")), _argument(node, "num_layers", 2)
        if isinstance(p, float | int) and 0 < p <= 1 and (layers is None or _value(layers) == 1):
            text = f"nn.{name} with dropout={p:g} has num_layers=1, and drops nothing"
            self.report(OneLayerRecurrent, node, text, f"nn.Dropout({p:g}) on its output, or dropout=0", p=p)

    def _rate(self, node: ast.AST, p: object, name: str) -> None:
        if isinstance(p, float | int) and not isinstance(p, bool) and 0.7 < p <= 1:
            rule = KeepRate if p >= 0.85 else HighRate
            fix = f"p={1 - p:.2g}, if {p:g} was meant to be kept" if rule is KeepRate else "a rate of 0.2 to 0.6"
            self.report(rule, node, f"{name} has p={p:g}", fix, p=p)

    def _locals(self) -> dict[str, list[ast.expr]]:
        """What is assigned to the local names of this function."""
        values: dict[str, list[ast.expr]] = {}
        for node in ast.walk(self.functions[-1]):
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    if isinstance(target, ast.Name):
                        values.setdefault(target.id, []).append(node.value)
        return values

    def _unused(self, cls: ast.ClassDef) -> None:
        """Dropout modules that a class makes, has a forward, and never looks at."""
        methods = {node.name: node for node in cls.body if isinstance(node, ast.FunctionDef)}
        if "forward" not in methods or "__init__" not in methods:
            return
        read = {
            node.attr for node in ast.walk(cls) if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
        }
        read |= {node.value for node in ast.walk(cls) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
        for node in ast.walk(methods["__init__"]):
            if (
                isinstance(node, ast.Assign | ast.AnnAssign)
                and isinstance(node.value, ast.Call)
                and self.name(node.value.func) in _MODULES
            ):
                for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                    if (
                        isinstance(target, ast.Attribute)
                        and target.attr not in read
                        and _value(_argument(node.value, "p", 0)) != 0
                    ):
                        text = f"self.{target.attr} = {ast.unparse(node.value)} is not used in this class"
                        self.report(NeverApplied, node, text, f"call self.{target.attr} in forward, or remove it")


def _argument(node: ast.Call, name: str, position: int | None = None) -> ast.expr | None:
    for keyword in node.keywords:
        if keyword.arg == name:
            return keyword.value
    return node.args[position] if position is not None and len(node.args) > position else None


def _value(node: ast.expr | None) -> Any:
    return node.value if isinstance(node, ast.Constant) else None


def _implied(test: ast.expr, holds: bool) -> bool | None:
    """What ``training`` must be where a test holds, or where it does not; None where that can't be told."""
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        return _implied(test.operand, not holds)
    if isinstance(test, ast.BoolOp):
        found = [_implied(value, holds) for value in test.values]
        if isinstance(test.op, ast.And) is holds:  # all parts hold, or none does: each of them tells
            return next((mode for mode in found if mode is not None), None)
        return found[0] if len(set(found)) == 1 else None
    return holds if isinstance(test, ast.Attribute | ast.Name) and _name(test) == "training" else None


def _name(node: ast.Attribute | ast.Name) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id


def _mentions_training(node: ast.expr, values: dict[str, list[ast.expr]]) -> bool:
    """Whether an expression depends on the mode, by itself or by what its local names were given."""
    for part in ast.walk(node):
        if isinstance(part, ast.Attribute | ast.Name) and _name(part) == "training":
            return True
        if isinstance(part, ast.Name) and any(_mentions_training(v, {}) for v in values.get(part.id, [])):
            return True
    return False
