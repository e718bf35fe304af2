"""TD101: dropout that is active in evaluation mode."""

import ast
from collections.abc import Iterator

from torch import nn

from thinned.audits.findings import Finding
from thinned.audits.observation.mode_conditions import depends_on_training
from thinned.audits.observation.observation import Observation
from thinned.audits.observation.recorder import ObservedDropout
from thinned.audits.observation.source_code import SourceCall, constant
from thinned.audits.rules.base import Repair, Rule
from thinned.audits.rules.dropouts import describe, first_at_each_line
from thinned.audits.rules.evaluation_gate import gate_in_evaluation
from thinned.tracing.modules import original_class

__all__ = ["ActiveInEvaluation"]

_ATTENTION = "torch.nn.functional.scaled_dot_product_attention"


class ActiveInEvaluation(Rule):
    """Dropout active in evaluation."""

    code = "TD101"
    severities = ("error",)
    why = "Predictions are random, and come from a thinned network; model.eval() should switch dropout off"
    source = "Srivastava et al. 2014, section 10; torch.nn.functional.dropout, whose training defaults to True"
    wrong = "x = F.dropout(x, p=0.5)"
    right = "x = F.dropout(x, p=0.5, training=self.training)"

    def check(self, observation: Observation) -> Iterator[Finding]:
        """In an evaluation pass a dropout was called with p > 0 and in training mode."""
        active = [dropout for dropout in observation.evaluation if dropout.drops and not dropout.is_built_in_forward]
        for dropout, calls in first_at_each_line(active):
            times = f", {calls} calls" if calls > 1 else ""
            evidence = f"{describe(dropout)} drops in evaluation mode{times}"
            fix = _gated_call(dropout, observation)
            if dropout.outside_module is not None:
                class_name = dropout.outside_module.class_name
                evidence += f"; model.eval() does not reach the {class_name}, which is kept outside of the module tree"
                fix = "self.drops = nn.ModuleList(drops)  # not a plain list or dict"
            yield self.dropout_finding("error", dropout, evidence, fix, calls=calls)

    def check_call(self, call: SourceCall) -> Iterator[Finding]:
        """A method calls a dropout function that does not depend on the mode."""
        if call.scope.training_only or not call.scope.in_method:
            return
        if call.dropout_function is not None:
            yield from self._check_function(call, call.dropout_function)
        elif call.name == _ATTENTION:
            yield from self._check_attention(call)

    def _check_function(self, call: SourceCall, name: str) -> Iterator[Finding]:
        p, training = call.argument("p", 1), call.argument("training", 2)
        if (training is not None and constant(training) is not True) or call.has_unpacked_arguments:
            return
        if constant(p) == 0 or (p is not None and depends_on_training(p, call.scope.assigned_values())):
            return  # a rate that is 0 in evaluation
        how = "with training=True" if training is not None else "without training=, whose default is True"
        fix = f"F.{name}(x, {ast.unparse(p) if p else 'p'}, training=self.training)"
        yield self.source_finding(call.scope, call.node, f"F.{name} is called {how}", fix)

    def _check_attention(self, call: SourceCall) -> Iterator[Finding]:
        p = call.argument("dropout_p", 4)
        if p is None or constant(p) == 0 or depends_on_training(p, call.scope.assigned_values()):
            return
        if isinstance(p, ast.Name) and p.id in call.scope.parameters:
            return  # the caller decides
        rate = ast.unparse(p)
        evidence = f"scaled_dot_product_attention is called with dropout_p={rate} in both modes"
        yield self.source_finding(call.scope, call.node, evidence, f"dropout_p={rate} if self.training else 0.0")

    def repair(self, finding: Finding, observation: Observation) -> Repair | None:
        """Gate torch's dropout functions by the mode of the module."""
        return gate_in_evaluation(finding, observation)


def _gated_call(dropout: ObservedDropout, observation: Observation) -> str:
    p, op = f"{dropout.site.p:g}", dropout.site.op
    if op == "scaled_dot_product_attention":
        return f"F.scaled_dot_product_attention(q, k, v, dropout_p={p} if self.training else 0.0)"
    if dropout.site.kind == "module":
        owner = _class_with_own_train(dropout.path, observation)
        if owner is not None:
            return f"super().train(mode)  # in {owner}.train, which keeps {dropout.path} in training mode"
        return f"remove what sets {dropout.path}.training to True after model.eval(), as {dropout.path}.train() does"
    if dropout.site.kind in {"rnn", "attention"}:
        return f"pass training=self.training to {op}"
    return f"F.{op.strip('_')}(x, p={p}, training=self.training)"


def _class_with_own_train(path: str, observation: Observation) -> str | None:
    """The nearest class around a module that overrides ``train``, which ``eval`` calls."""
    while True:
        if path in observation.modules:
            cls = original_class(observation.modules[path])
            if cls.train is not nn.Module.train:
                return cls.__name__
        if not path:
            return None
        path = path.rpartition(".")[0]
