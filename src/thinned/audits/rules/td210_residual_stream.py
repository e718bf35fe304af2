"""TD210: dropout on the residual stream instead of the branch."""

from collections.abc import Iterator

from thinned.audits.findings import Finding, Severity
from thinned.audits.observation.dropout_uses import Use
from thinned.audits.observation.observation import Observation
from thinned.audits.rules.base import Rule
from thinned.audits.rules.dropouts import describe, first_at_each_line

__all__ = ["ResidualStream"]


class ResidualStream(Rule):
    """Dropout on the residual stream instead of the branch."""

    code = "TD210"
    severities = ("warning", "info")
    why = (
        "What is dropped there is lost to all later blocks, and the rates of all blocks add up; "
        "on the branch, the stream passes whole"
    )
    source = "Vaswani et al. 2017, section 5.4; hyunwoongko/transformer issue 8"
    wrong = "x = self.drop(self.norm(x + self.attention(x)))"
    right = "x = self.norm(x + self.drop(self.attention(x)))"

    def check(self, observation: Observation) -> Iterator[Finding]:
        """The inputs of two dropouts are sums of a block's input and output, and another block adds to the result."""
        on_sums = [d for d in observation.training if d.drops and Use.RESIDUAL_SUM in d.uses]
        on_stream = [d for d in on_sums if Use.RESIDUAL_STREAM in d.uses]
        if len(on_sums) < 2:
            return  # at the beginning of the stream, as behind embeddings of places
        severity: Severity = "warning" if len(on_stream) > 1 else "info"
        for dropout, calls in first_at_each_line(on_stream):
            evidence = f"{describe(dropout)} is on the sum of a block's input and output, {len(on_stream)} in a row"
            fix = "x = x + self.drop(branch(x))"
            yield self.dropout_finding(severity, dropout, evidence, fix, calls=calls)
