"""TD201: dropout on the output of the model."""

from collections.abc import Iterator

from thinned.audits.findings import Finding
from thinned.audits.observation.observation import Observation
from thinned.audits.rules.base import Rule
from thinned.audits.rules.dropouts import describe, first_at_each_line, is_on_output

__all__ = ["DropoutOnOutput"]


class DropoutOnOutput(Rule):
    """Dropout on the output."""

    code = "TD201"
    severities = ("warning",)
    why = (
        "Training sets predictions themselves to 0 and scales the others; the noise reaches the loss, "
        "and no later weight can average it out"
    )
    source = "Srivastava et al. 2014, section 4, who drop input and hidden units"
    wrong = "return self.drop(self.head(x))"
    right = "return self.head(self.drop(x))"

    def check(self, observation: Observation) -> Iterator[Finding]:
        """The input of a dropout is a layer's plain output, and its result is the model's output or goes to a loss."""
        on_output = [dropout for dropout in observation.training if dropout.drops and is_on_output(dropout)]
        for dropout, _ in first_at_each_line(on_output):
            evidence = f"{describe(dropout)} is on the output of the last layer"
            fix = "put it before the last layer: x = self.head(self.drop(x))"
            yield self.dropout_finding("warning", dropout, evidence, fix)
