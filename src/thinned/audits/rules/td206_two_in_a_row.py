"""TD206: two dropouts with no weight between."""

import math
from collections.abc import Iterator

from thinned.audits.findings import Finding
from thinned.audits.observation.observation import Observation
from thinned.audits.observation.recorder import ObservedDropout
from thinned.audits.rules.base import Rule
from thinned.audits.rules.dropouts import describe, first_at_each_line

__all__ = ["TwoInARow"]


class TwoInARow(Rule):
    """Two dropouts in a row."""

    code = "TD206"
    severities = ("warning",)
    why = "Together they drop 1 − (1 − p₁)(1 − p₂), a rate that neither of them shows"
    source = "Srivastava et al. 2014, section 4: one mask a layer"
    wrong = "nn.Sequential(nn.Dropout(0.5), nn.ReLU(), nn.Dropout(0.5))"
    right = "nn.Sequential(nn.ReLU(), nn.Dropout(0.75))"

    def check(self, observation: Observation) -> Iterator[Finding]:
        """The input of a dropout already carries a dropout, with nothing but activations and views between."""
        dropouts = observation.training
        earlier_by_index = {
            dropout.index: [dropouts[index] for index in dropout.earlier_dropouts if _counts(dropouts[index])]
            for dropout in dropouts
            if dropout.drops
        }
        second = [dropout for dropout in dropouts if earlier_by_index.get(dropout.index)]
        for dropout, _ in first_at_each_line(second):
            earlier = earlier_by_index[dropout.index]
            p = 1 - math.prod(1 - other.site.p for other in (*earlier, dropout))
            names = ", ".join(other.site.name or "(the model)" for other in earlier)
            evidence = f"{describe(dropout)} follows {names} with no weight between; together they drop {p:.2g}"
            fix = f"keep one of them, with the rate that you want (p={p:.2g} as it is)"
            yield self.dropout_finding("warning", dropout, evidence, fix, total=p)


def _counts(earlier: ObservedDropout) -> bool:
    """False for dropout of whole words, which another dropout of their features is meant to follow."""
    return earlier.drops and earlier.site.op not in {"EmbeddingDropout", "WordDropout"}
