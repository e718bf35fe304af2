"""TD307: few training rows for any dropout to help."""

from collections.abc import Iterator

from thinned.audits.findings import Finding, Severity
from thinned.audits.observation.observation import Observation
from thinned.audits.rules.base import Rule

__all__ = ["FewRows"]


class FewRows(Rule):
    """Few rows for any dropout to help."""

    code = "TD307"
    severities = ("warning", "info")
    why = "Published experiments on few rows saw no gain from dropout; a study measures whether yours do"
    source = "Srivastava et al. 2014, figure 10 (no gain at 100 and 500 examples); Kadra et al. 2021"
    wrong = "thinned.audit(model, x, rows=300)  # with nn.Dropout(0.5)"
    right = "thinned study data.csv --target y --out runs/y"

    def check(self, observation: Observation) -> Iterator[Finding]:
        """The number of rows was given, is at most 1,100, and a dropout has p ≥ 0.1."""
        rows = observation.rows
        highest = max((dropout.site.p for dropout in observation.training if dropout.drops), default=0.0)
        if rows is None or rows > 1100 or highest < 0.1:
            return
        evidence = f"the highest rate is p={highest:g}, and there are {rows} training rows"
        fix = "thinned study data.csv --target COLUMN --out runs/study"
        severity: Severity = "warning" if rows <= 500 else "info"
        yield self.module_finding(severity, "", observation.modules[""], evidence, fix, p=highest, rows=rows)
