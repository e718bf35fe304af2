"""TD211: dropout in place on a tensor that is needed elsewhere."""

from collections.abc import Iterator

from thinned.audits.findings import Finding
from thinned.audits.observation.observation import Observation
from thinned.audits.rules.base import Rule
from thinned.audits.rules.dropouts import describe, first_at_each_line

__all__ = ["NeededInputOverwritten"]


class NeededInputOverwritten(Rule):
    """Dropout in place on a tensor that is needed elsewhere."""

    code = "TD211"
    severities = ("warning",)
    why = "With inplace=True the other use, such as a skip connection, gets the dropped values, too"
    source = "torch.nn.functional.dropout, argument inplace"
    wrong = "x = x + self.f(self.drop(x))  # with nn.Dropout(0.1, inplace=True)"
    right = "x = x + self.f(self.drop(x))  # with nn.Dropout(0.1)"

    def check(self, observation: Observation) -> Iterator[Finding]:
        """A dropout works in place on a variable that is read again."""
        overwriting = [d for d in observation.training if d.drops and d.needed_input is not None]
        for dropout, _ in first_at_each_line(overwriting):
            if dropout.needed_input is None:
                continue
            name, _, line = dropout.needed_input
            evidence = f"{describe(dropout)} works in place on {name}, which line {line} reads as well"
            yield self.dropout_finding("warning", dropout, evidence, "inplace=False", variable=name, read_line=line)
