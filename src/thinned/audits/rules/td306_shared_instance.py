"""TD306: one dropout module used in several places."""

from collections.abc import Iterator

from thinned.audits.findings import Finding
from thinned.audits.observation.observation import Observation
from thinned.audits.observation.recorder import ObservedDropout
from thinned.audits.rules.base import Rule
from thinned.audits.rules.configured_rates import enclosing_module
from thinned.audits.rules.dropouts import describe

__all__ = ["SharedInstance"]


class SharedInstance(Rule):
    """One dropout module used in several places."""

    code = "TD306"
    severities = ("info",)
    why = "The masks are independent, but the places cannot have rates of their own"
    source = "torch.nn.Dropout"
    wrong = "x = self.drop(self.second(self.drop(self.first(x))))"
    right = "x = self.drop2(self.second(self.drop1(self.first(x))))"

    def check(self, observation: Observation) -> Iterator[Finding]:
        """A dropout module was called from several lines, or more often than the module around it."""
        calls_by_module: dict[str, list[ObservedDropout]] = {}
        for dropout in observation.training:
            if dropout.site.kind == "module":
                calls_by_module.setdefault(dropout.path, []).append(dropout)
        for path, calls in calls_by_module.items():
            enclosing = enclosing_module(path, observation) or ""
            if len(calls) > max(1, observation.module_calls.get(enclosing, 1)):
                lines = sorted({call.location.line for call in calls if call.location})
                evidence = f"{describe(calls[0])} is called {len(calls)} times, from lines {', '.join(map(str, lines))}"
                yield self.dropout_finding("info", calls[0], evidence, "one module for each place", calls=len(calls))
