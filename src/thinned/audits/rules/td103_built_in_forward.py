"""TD103: a dropout module that every forward pass builds anew."""

import ast
from collections.abc import Iterator

from thinned.audits.findings import Finding
from thinned.audits.observation.observation import Observation
from thinned.audits.observation.recorder import ObservedDropout
from thinned.audits.observation.source_code import SourceCall
from thinned.audits.rules.base import Repair, Rule
from thinned.audits.rules.dropouts import describe, first_at_each_line
from thinned.audits.rules.evaluation_gate import gate_in_evaluation

__all__ = ["BuiltInForward"]


class BuiltInForward(Rule):
    """Dropout module built in forward."""

    code = "TD103"
    severities = ("error", "info")
    why = "A new module is in training mode, and model.eval() cannot reach it"
    source = "torch.nn.Module: modules that are not attributes are not part of the model"
    wrong = "x = nn.Dropout(0.5)(x)  # in forward"
    right = "self.drop = nn.Dropout(0.5)  # in __init__\nx = self.drop(x)  # in forward"

    def check(self, observation: Observation) -> Iterator[Finding]:
        """A dropout module ran that is not part of the model and was gone after the pass."""
        active = [dropout for dropout in observation.evaluation if dropout.drops and dropout.is_built_in_forward]
        for dropout, _ in first_at_each_line(active):
            evidence = f"{describe(dropout)} is built anew in each forward pass, and drops in evaluation mode"
            yield self.dropout_finding("error", dropout, evidence, _fix(dropout))
        reported = {(dropout.path, dropout.location) for dropout in active}
        gated = [
            dropout
            for dropout in observation.training
            if dropout.is_built_in_forward and (dropout.path, dropout.location) not in reported
        ]
        for dropout, _ in first_at_each_line(gated):
            evidence = f"{describe(dropout)} is built anew in each forward pass, and is off in evaluation"
            yield self.dropout_finding("info", dropout, evidence, _fix(dropout))

    def check_call(self, call: SourceCall) -> Iterator[Finding]:
        """A ``forward`` builds a dropout layer."""
        if call.dropout_layer is not None and call.scope.in_forward and not call.scope.training_only:
            evidence = f"forward builds nn.{call.dropout_layer}, which is in training mode whatever the model's mode"
            fix = f"self.drop = {ast.unparse(call.node)}  # in __init__"
            yield self.source_finding(call.scope, call.node, evidence, fix)

    def repair(self, finding: Finding, observation: Observation) -> Repair | None:
        """Gate torch's dropout functions by the mode of the module."""
        return gate_in_evaluation(finding, observation)


def _fix(dropout: ObservedDropout) -> str:
    layer = dropout.outside_module.class_name if dropout.outside_module else "Dropout"
    return f"self.drop = nn.{layer}({dropout.site.p:g})  # in __init__; in forward: x = self.drop(x)"
