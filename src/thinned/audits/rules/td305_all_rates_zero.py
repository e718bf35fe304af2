"""TD305: every rate is 0."""

from collections.abc import Iterator

from thinned.audits.findings import Finding
from thinned.audits.observation.observation import Observation
from thinned.audits.rules.base import Rule

__all__ = ["AllRatesZero"]


class AllRatesZero(Rule):
    """Every rate is 0."""

    code = "TD305"
    severities = ("info",)
    why = "The model has places for dropout and uses none of them"
    source = "Kadra et al. 2021: tuned dropout wins on 30 of 40 tables, ties on 2"
    wrong = "nn.Dropout(0.0)"
    right = "nn.Dropout(0.1)  # or measure it: thinned study"

    def check(self, observation: Observation) -> Iterator[Finding]:
        """Dropouts were called, and all of them with p = 0."""
        dropouts = observation.training
        if dropouts and not any(dropout.site.p for dropout in dropouts):
            evidence, fix = f"{len(dropouts)} dropouts have p=0", "set their rates, or leave it at that"
            yield self.module_finding("info", "", observation.modules[""], evidence, fix, sites=len(dropouts))
