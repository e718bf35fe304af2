"""TD207: a dropout whose result is thrown away."""

import ast
from collections.abc import Iterator
from pathlib import Path

from thinned.audits.findings import Finding
from thinned.audits.observation.observation import Observation
from thinned.audits.observation.recorder import ObservedDropout
from thinned.audits.observation.source_code import SourceCall, SourceClass, constant, statement_calls
from thinned.audits.rules.base import Rule
from thinned.audits.rules.dropouts import describe, first_at_each_line

__all__ = ["ResultThrownAway"]


class ResultThrownAway(Rule):
    """Dropout whose result is thrown away."""

    code = "TD207"
    severities = ("error",)
    why = "Dropout returns a new tensor unless inplace=True, so the network trains without it"
    source = "torch.nn.functional.dropout, argument inplace; templateGPT issue 1"
    wrong = "self.drop(x)"
    right = "x = self.drop(x)"

    def check(self, observation: Observation) -> Iterator[Finding]:
        """A statement consists of a call of dropout, whose result nothing takes and the model does not return."""
        unused = [d for d in observation.training if d.drops and not d.site.consumers and not d.is_output]
        for dropout, _ in first_at_each_line(dropout for dropout in unused if _is_statement(dropout)):
            evidence = f"the result of {describe(dropout)} is thrown away"
            yield self.dropout_finding("error", dropout, evidence, "assign it: x = ...")

    def check_call(self, call: SourceCall) -> Iterator[Finding]:
        """A statement consists of a call of a dropout function that is not in place."""
        if (
            call.dropout_function is not None
            and call.is_statement
            and constant(call.argument("inplace", 3)) is not True
        ):
            evidence = f"the result of F.{call.dropout_function} is thrown away"
            yield self.source_finding(call.scope, call.node, evidence, f"x = {ast.unparse(call.node)}")

    def check_class(self, source_class: SourceClass) -> Iterator[Finding]:
        """A statement consists of a call of a dropout layer that is not in place."""
        layers = {
            name
            for name, layer in source_class.dropout_layers
            if constant(layer.argument("inplace", 1)) is not True and not layer.has_unpacked_arguments
        }
        for call in statement_calls(source_class.node):
            if isinstance(call.func, ast.Attribute) and call.func.attr in layers and _is_self(call.func.value):
                evidence = f"the result of {ast.unparse(call.func)} is thrown away"
                yield self.source_finding(source_class.scope, call, evidence, f"x = {ast.unparse(call)}")


def _is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "self"


def _is_statement(dropout: ObservedDropout) -> bool:
    """True if the line that calls a dropout is a statement of that call alone."""
    if dropout.location is None:
        return False
    site = dropout.site
    name = dropout.path.rpartition(".")[2] if site.kind == "module" else site.op.strip("_")
    try:
        tree = ast.parse(Path(dropout.location.file).read_text("utf-8"))
    except (OSError, SyntaxError, ValueError):
        return False
    for call in statement_calls(tree):
        if call.lineno <= dropout.location.line <= (call.end_lineno or call.lineno):
            function = call.func
            called = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
            return bool(called == name)
    return False
