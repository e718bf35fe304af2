"""TD303: a rate above 0.7."""

from collections.abc import Iterator

from thinned.audits.findings import Finding
from thinned.audits.observation.observation import Observation
from thinned.audits.observation.source_code import SourceCall
from thinned.audits.rules.base import Rule
from thinned.audits.rules.dropouts import describe, first_at_each_line

__all__ = ["HighRate"]

_LEAST, _LEAST_KEEP_RATE = 0.7, 0.85  # from the second on, TD304 takes it for a keep rate


class HighRate(Rule):
    """A rate above 0.7."""

    code = "TD303"
    severities = ("warning",)
    why = "The test error is flat for rates of 0.2 to 0.6 and rises beyond"
    source = "Srivastava et al. 2014, figure 9"
    wrong = "nn.Dropout(0.8)"
    right = "nn.Dropout(0.5)  # or measure it: thinned study"

    def check(self, observation: Observation) -> Iterator[Finding]:
        """A dropout has 0.7 < p < 0.85."""
        high = [d for d in observation.training if d.site.active and _LEAST < d.site.p < _LEAST_KEEP_RATE]
        for dropout, _ in first_at_each_line(high):
            fix = "a rate of 0.2 to 0.6; `thinned study` measures it"
            yield self.dropout_finding("warning", dropout, f"{describe(dropout)} drops more than 0.7", fix)

    def check_call(self, call: SourceCall) -> Iterator[Finding]:
        """A dropout is written with 0.7 < p < 0.85."""
        if call.rate is not None and _LEAST < call.rate < _LEAST_KEEP_RATE:
            evidence = f"{call.dropout_function or call.dropout_layer} has p={call.rate:g}"
            yield self.source_finding(call.scope, call.node, evidence, "a rate of 0.2 to 0.6", p=call.rate)
