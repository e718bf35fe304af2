"""TD308: a dropout that drops everything, as with the training flag in the place of the rate."""

from collections.abc import Iterator

from thinned.audits.findings import Finding
from thinned.audits.observation.mode_conditions import is_training
from thinned.audits.observation.observation import Observation
from thinned.audits.observation.source_code import SourceCall, constant
from thinned.audits.rules.base import Rule
from thinned.audits.rules.dropouts import describe, first_at_each_line

__all__ = ["DropsEverything"]


class DropsEverything(Rule):
    """Dropout that drops everything."""

    code = "TD308"
    severities = ("error",)
    why = "Training zeroes the whole tensor, and nothing before it learns; True in the place of the rate is p=1"
    source = "torch.nn.functional.dropout, whose second argument is p; pyGAT issue 55"
    wrong = "x = F.dropout(x, self.training)"
    right = "x = F.dropout(x, training=self.training)"

    def check(self, observation: Observation) -> Iterator[Finding]:
        """A dropout has p = 1 in training."""
        everything = [dropout for dropout in observation.training if dropout.drops and dropout.site.p == 1]
        for dropout, _ in first_at_each_line(everything):
            fix = f"nn.{dropout.site.op}(p) with a rate p below 1"
            if dropout.site.kind == "functional":
                fix = _fix(dropout.site.op)
            yield self.dropout_finding("error", dropout, f"{describe(dropout)} drops everything", fix)

    def check_call(self, call: SourceCall) -> Iterator[Finding]:
        """A dropout is written with p = 1, or with the training flag in the place of the rate."""
        name = call.dropout_function or call.dropout_layer
        p = call.argument("p", 1 if call.dropout_function else 0)
        if name is None or p is None:
            return
        if call.rate == 1 or constant(p) is True or is_training(p):
            rate = "the training flag" if is_training(p) else "1"
            fix = _fix(name) if call.dropout_function else f"nn.{name}(p) with a rate p below 1"
            yield self.source_finding(call.scope, call.node, f"{name} has {rate} as its rate p", fix)


def _fix(function: str) -> str:
    return f"F.{function.strip('_')}(x, p, training=self.training), with a rate p below 1"
