"""TD208: dropout on scores, before their softmax."""

from collections.abc import Iterator

from thinned.audits.findings import Finding, Severity
from thinned.audits.observation.dropout_uses import Use
from thinned.audits.observation.observation import Observation
from thinned.audits.rules.base import Rule
from thinned.audits.rules.dropouts import describe, first_at_each_line, is_elementwise, is_on_output

__all__ = ["DropoutBeforeSoftmax"]

_PRODUCTS = frozenset(["matmul", "bmm", "mm", "baddbmm", "einsum"])
_SCALES = frozenset(["mul", "div", "truediv", "rmul", "imul", "add", "iadd", "radd", "masked_fill", "where"])


class DropoutBeforeSoftmax(Rule):
    """Dropout before softmax."""

    code = "TD208"
    severities = ("warning", "info")
    why = "A score of 0 is an ordinary score, so that softmax drops nothing; the other scores are sharpened"
    source = "Vaswani et al. 2017, whose dropout is on the weights; Parakeet pull requests 74 and 76"
    wrong = "weights = self.drop(scores).softmax(-1)"
    right = "weights = self.drop(scores.softmax(-1))"

    def check(self, observation: Observation) -> Iterator[Finding]:
        """A softmax takes the result of an element-wise dropout on scores; information where they are no products."""
        before = [
            dropout
            for dropout in observation.training
            if dropout.drops and Use.SOFTMAX in dropout.uses and is_elementwise(dropout) and not is_on_output(dropout)
        ]
        for dropout, _ in first_at_each_line(before):
            origin = dropout.origin
            if origin is None or "softmax" in origin.later_ops:
                continue
            are_products = origin.op in _PRODUCTS
            severity: Severity = "warning" if are_products else "info"
            evidence = f"{describe(dropout)} is on the output of {origin.op}, before a softmax"
            yield self.dropout_finding(severity, dropout, evidence, "weights = self.drop(scores.softmax(-1))")
