"""Read Python source into its calls and classes: names resolved through imports, training-only code marked."""

import ast
import operator
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeGuard

from thinned.audits.observation.mode_conditions import training_implied

__all__ = [
    "SourceCall",
    "SourceClass",
    "SourceFile",
    "SourceScope",
    "constant",
    "parse",
    "statement_calls",
]

_FUNCTIONAL, _NN = "torch.nn.functional.", "torch.nn."
_DROPOUT_FUNCTIONS = {f"{_FUNCTIONAL}{name}" for name in ("dropout", "dropout1d", "dropout2d", "dropout3d")}
_TORCH_LAYERS = {"Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout", "FeatureAlphaDropout"}
_DROPOUT_LAYERS = {f"{_NN}{name}" for name in _TORCH_LAYERS}
_DROPOUT_LAYERS |= {f"thinned.{name}" for name in _TORCH_LAYERS | {"DropPath", "LockedDropout"}}
_RECURRENT_LAYERS = {f"{_NN}{name}" for name in ("LSTM", "GRU", "RNN")}


_ARITHMETIC = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul}
_CONFIGURATIONS = {"config", "cfg", "conf", "args", "opt", "opts", "hparams", "params", "settings"}


@dataclass(frozen=True)
class SourceScope:
    """The surroundings of a piece of code.

    Attributes:
        file: its file.
        classes: names of the classes around it, outermost first.
        function: innermost function around it within those classes; None outside of functions.
        training_only: True if it runs in training mode only.
        constants: numbers that the file assigns to names of its own.
        forward_methods: names of the methods of the class that its ``forward`` runs in both modes, that one included.
    """

    file: str
    classes: tuple[str, ...]
    function: ast.FunctionDef | None
    training_only: bool
    constants: Mapping[str, float] = field(default_factory=dict)
    forward_methods: frozenset[str] = frozenset()

    @property
    def path(self) -> str:
        """Names of the classes and of the function, joined by dots."""
        return ".".join((*self.classes, *((self.function.name,) if self.function else ())))

    @property
    def in_forward(self) -> bool:
        """True within the ``forward`` of a class, and within methods of the class that it runs."""
        return bool(self.classes) and self.function is not None and self.function.name in self.forward_methods

    @property
    def in_method(self) -> bool:
        """True within a method that may run in either mode: any but ``__init__``."""
        return bool(self.classes) and self.function is not None and self.function.name != "__init__"

    @property
    def parameters(self) -> set[str]:
        """Names of the function's parameters."""
        nodes = ast.walk(self.function.args) if self.function else iter(())
        return {node.arg for node in nodes if isinstance(node, ast.arg)}

    def number(self, node: ast.expr | None) -> float | None:
        """The value of a literal number, of a name that stands for one, or of arithmetic on such; None elsewhere.

        A parameter stands for its default.
        """
        value = constant(node)
        if isinstance(value, float | int) and not isinstance(value, bool):
            return float(value)
        if isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
            left, right = self.number(node.left), self.number(node.right)
            return None if left is None or right is None else _ARITHMETIC[type(node.op)](left, right)
        if not isinstance(node, ast.Name):
            return None
        values = self.assigned_values().get(node.id, [])
        if node.id in self.parameters:
            return None if values else self.number(self._default(node.id))
        if values:
            return self.number(values[0]) if len(values) == 1 and not _names_in(values[0]) & {node.id} else None
        return self.constants.get(node.id)

    def _default(self, name: str) -> ast.expr | None:
        """The default of a parameter."""
        arguments = self.function.args if self.function else None
        if arguments is None:
            return None
        plain = [*arguments.posonlyargs, *arguments.args]
        pairs = list(zip(reversed(plain), reversed(arguments.defaults), strict=False))
        pairs += [
            (arg, default) for arg, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if default
        ]
        return next((default for arg, default in pairs if arg.arg == name), None)

    def assigned_values(self) -> dict[str, list[ast.expr]]:
        """Expressions that the function assigns to each of its local names."""
        values: dict[str, list[ast.expr]] = {}
        for node in ast.walk(self.function) if self.function else ():
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    if isinstance(target, ast.Name):
                        values.setdefault(target.id, []).append(node.value)
        return values


@dataclass(frozen=True)
class SourceCall:
    """A call.

    Attributes:
        node: its syntax tree.
        name: full dotted name of what is called, imports resolved; "" if it has none.
        scope: its surroundings.
        is_statement: True if a statement consists of this call, so that its result is thrown away.
    """

    node: ast.Call
    name: str
    scope: SourceScope
    is_statement: bool = False

    @property
    def dropout_function(self) -> str | None:
        """Name of the dropout function of torch that is called, such as "dropout2d"."""
        return self.name.rpartition(".")[2] if self.name in _DROPOUT_FUNCTIONS else None

    @property
    def dropout_layer(self) -> str | None:
        """Name of the dropout layer that is built, such as "Dropout2d"."""
        return self.name.rpartition(".")[2] if self.name in _DROPOUT_LAYERS else None

    @property
    def recurrent_layer(self) -> str | None:
        """Name of the recurrent layer that is built, such as "LSTM"."""
        return self.name.rpartition(".")[2] if self.name in _RECURRENT_LAYERS else None

    def argument(self, name: str, position: int | None = None) -> ast.expr | None:
        """The expression of an argument, by name or by position."""
        for keyword in self.node.keywords:
            if keyword.arg == name:
                return keyword.value
        return self.node.args[position] if position is not None and len(self.node.args) > position else None

    @property
    def has_unpacked_arguments(self) -> bool:
        """True if the call has ``*args`` or ``**kwargs``."""
        starred = any(isinstance(argument, ast.Starred) for argument in self.node.args)
        return starred or any(keyword.arg is None for keyword in self.node.keywords)

    @property
    def rate(self) -> float | None:
        """The rate of a dropout function or layer; None where the source does not say."""
        if self.dropout_function is None and self.dropout_layer is None:
            return None
        return self.scope.number(self.argument("p", 1 if self.dropout_function else 0))


@dataclass(frozen=True)
class SourceClass:
    """A class.

    Attributes:
        node: its syntax tree.
        scope: the class itself and its surroundings.
        dropout_layers: the dropout layers that its ``__init__`` assigns to attributes.
    """

    node: ast.ClassDef
    scope: SourceScope
    dropout_layers: tuple[tuple[str, SourceCall], ...]

    @property
    def has_forward(self) -> bool:
        """True if the class defines ``forward`` itself."""
        return any(isinstance(node, ast.FunctionDef) and node.name == "forward" for node in self.node.body)

    def names_read(self) -> set[str]:
        """Attributes that the class reads, but those of a configuration, and strings in it that could name one."""
        nodes = list(ast.walk(self.node))
        loaded = [node for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)]
        read = {node.attr for node in loaded if not _is_configuration(node.value)}
        return read | {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}


@dataclass(frozen=True)
class SourceFile:
    """A whole file.

    Attributes:
        tree: its syntax tree.
        scope: its surroundings: the file alone.
    """

    tree: ast.Module
    scope: SourceScope


def parse(text: str, file: str) -> list[SourceCall | SourceClass | SourceFile]:
    """The file itself, and its calls and classes, outer ones first.

    Raises:
        SyntaxError: ``text`` is not Python.
    """
    tree = ast.parse(text)
    reader = _Reader(file, tree)
    reader.visit(tree)
    return [SourceFile(tree, SourceScope(file, (), None, False)), *reader.parts]


def _numbers(tree: ast.Module) -> dict[str, float]:
    """Numbers that a file assigns to names, each once."""
    numbers: dict[str, float] = {}
    names = Counter(
        node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    )
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            name, value = statement.targets[0].id, constant(statement.value)
            if names[name] == 1 and isinstance(value, float | int) and not isinstance(value, bool):
                numbers[name] = float(value)
    return numbers


def _is_configuration(node: ast.expr) -> bool:
    """True for a name or an attribute under which people keep settings."""
    name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    return name in _CONFIGURATIONS


def _forward_methods(node: ast.ClassDef) -> frozenset[str]:
    """``forward``, and the methods of its class that it names, or that those name, whatever the module's state is."""
    methods = {method.name: method for method in node.body if isinstance(method, ast.FunctionDef)}
    names, waiting = set[str](), ["forward"]
    while waiting:
        name = waiting.pop()
        if name in methods and name not in names:
            names.add(name)
            waiting += _own_attributes(methods[name])
    return frozenset(names)


def _own_attributes(node: ast.AST) -> Iterator[str]:
    """Attributes of ``self`` that code reads, but those behind a condition on other attributes, as on its mode."""
    if isinstance(node, ast.If | ast.IfExp) and any(map(_is_own_attribute, ast.walk(node.test))):
        return
    if _is_own_attribute(node):
        yield node.attr
    for part in ast.iter_child_nodes(node):
        yield from _own_attributes(part)


def _is_own_attribute(node: ast.AST) -> TypeGuard[ast.Attribute]:
    return isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self"


def _names_in(node: ast.AST) -> set[str]:
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}


class _Reader(ast.NodeVisitor):
    """Walk a file; keep the names that its imports give, and know what runs in training mode only."""

    def __init__(self, file: str, tree: ast.Module) -> None:
        self.parts: list[SourceCall | SourceClass] = []
        self._file, self._constants = file, _numbers(tree)
        self._names: dict[str, str] = {}
        self._classes: list[str] = []
        self._forward_methods = frozenset[str]()
        self._functions: list[ast.FunctionDef] = []
        self._training_only = False
        self._statements: set[ast.Call] = set()

    def _scope(self) -> SourceScope:
        function = self._functions[-1] if self._functions else None
        names = tuple(self._classes)
        return SourceScope(self._file, names, function, self._training_only, self._constants, self._forward_methods)

    def _name(self, node: ast.expr) -> str:
        attributes: list[str] = []
        while isinstance(node, ast.Attribute):
            attributes.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            return ""
        return ".".join([self._names.get(node.id, node.id), *reversed(attributes)])

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            package = alias.name.split(".")[0]
            self._names[alias.asname or package] = alias.name if alias.asname else package

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for alias in node.names:
            self._names[alias.asname or alias.name] = f"{'.' * node.level}{node.module or ''}.{alias.name}"

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        functions, self._functions = self._functions, []
        methods, self._forward_methods = self._forward_methods, _forward_methods(node)
        self._classes.append(node.name)
        self.parts.append(SourceClass(node, self._scope(), tuple(self._dropout_layers(node))))
        self.generic_visit(node)
        self._classes.pop()
        self._functions, self._forward_methods = functions, methods

    def _dropout_layers(self, node: ast.ClassDef) -> list[tuple[str, SourceCall]]:
        methods = {method.name: method for method in node.body if isinstance(method, ast.FunctionDef)}
        layers = []
        for statement in ast.walk(methods["__init__"]) if "__init__" in methods else ():
            if not isinstance(statement, ast.Assign | ast.AnnAssign) or not isinstance(statement.value, ast.Call):
                continue
            scope = replace(self._scope(), function=methods["__init__"])
            call = SourceCall(statement.value, self._name(statement.value.func), scope)
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            attributes = [target.attr for target in targets if isinstance(target, ast.Attribute)]
            layers += [(attribute, call) for attribute in attributes if call.dropout_layer]
        return layers

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        training_only, self._training_only = self._training_only, False
        self._functions.append(node)
        for part in (*node.decorator_list, node.args):
            self.visit(part)
        self._visit_block(node.body)
        self._functions.pop()
        self._training_only = training_only

    def visit_Call(self, node: ast.Call) -> None:
        self.parts.append(SourceCall(node, self._name(node.func), self._scope(), node in self._statements))
        self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Call):
            self._statements.add(node.value)
        self.generic_visit(node)

    def generic_visit(self, node: ast.AST) -> None:
        for _, value in ast.iter_fields(node):
            if isinstance(value, list) and value and isinstance(value[0], ast.stmt):
                self._visit_block(value)
            else:
                for part in value if isinstance(value, list) else [value]:
                    if isinstance(part, ast.AST):
                        self.visit(part)

    def visit_If(self, node: ast.If) -> None:
        self.visit(node.test)
        self._visit_block(node.body, training_only=training_implied(node.test, True) is True)
        self._visit_block(node.orelse, training_only=training_implied(node.test, False) is True)

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self.visit(node.test)
        self._visit_block([node.body], training_only=training_implied(node.test, True) is True)
        self._visit_block([node.orelse], training_only=training_implied(node.test, False) is True)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        implied = any(training_implied(value, True) for value in node.values[:-1])
        self._visit_block(node.values, training_only=isinstance(node.op, ast.And) and implied)

    def _visit_block(self, body: list[ast.stmt] | list[ast.expr], *, training_only: bool = False) -> None:
        """Visit statements; those after ``if not self.training: return`` or an assertion run in training only."""
        before, self._training_only = self._training_only, self._training_only or training_only
        for node in body:
            self.visit(node)
            if isinstance(node, ast.Assert):
                self._training_only |= training_implied(node.test, True) is True
            elif isinstance(node, ast.If) and isinstance(node.body[-1], ast.Return | ast.Raise) and not node.orelse:
                self._training_only |= training_implied(node.test, False) is True
        self._training_only = before


def statement_calls(tree: ast.AST) -> Iterator[ast.Call]:
    """Calls that make up a whole statement each."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            yield node.value


def constant(node: ast.expr | None) -> object:
    """The value of a literal; None for every other expression."""
    return node.value if isinstance(node, ast.Constant) else None
