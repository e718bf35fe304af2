"""TD304: a rate that looks like a keep rate."""

from collections.abc import Iterator

from thinned.audits.findings import Finding
from thinned.audits.observation.observation import Observation
from thinned.audits.observation.source_code import SourceCall
from thinned.audits.rules.base import Rule
from thinned.audits.rules.dropouts import describe, first_at_each_line

__all__ = ["KeepRate"]

_LEAST = 0.85


class KeepRate(Rule):
    """A rate that looks like a keep rate."""

    code = "TD304"
    severities = ("warning",)
    why = "p is the probability of dropping in PyTorch, and of keeping in the paper and in TensorFlow 1"
    source = "Srivastava et al. 2014; tf.compat.v1.nn.dropout; CheXpert_Baseline issue 5"
    wrong = "nn.Dropout(p=0.9)  # keep 0.9"
    right = "nn.Dropout(p=0.1)"

    def check(self, observation: Observation) -> Iterator[Finding]:
        """A dropout has 0.85 ≤ p < 1."""
        high = [d for d in observation.training if d.site.active and _LEAST <= d.site.p < 1]
        for dropout, _ in first_at_each_line(high):
            p = dropout.site.p
            evidence = f"{describe(dropout)} keeps {1 - p:.2g} of its input"
            yield self.dropout_finding("warning", dropout, evidence, _fix(p))

    def check_call(self, call: SourceCall) -> Iterator[Finding]:
        """A dropout is written with 0.85 ≤ p < 1."""
        if call.rate is not None and _LEAST <= call.rate < 1:
            evidence = f"{call.dropout_function or call.dropout_layer} has p={call.rate:g}"
            yield self.source_finding(call.scope, call.node, evidence, _fix(call.rate), p=call.rate)


def _fix(p: float) -> str:
    return f"p={1 - p:.2g}, if {p:g} was meant to be kept"
