"""TD107: dropout that is active in a part that is not trained."""

from collections.abc import Iterator

from thinned.audits.findings import Finding, Severity
from thinned.audits.observation.dropout_uses import Use
from thinned.audits.observation.observation import Observation
from thinned.audits.observation.recorder import ObservedDropout
from thinned.audits.rules.base import Rule
from thinned.audits.rules.dropouts import describe, first_at_each_line

__all__ = ["ActiveWithoutGradient"]


class ActiveWithoutGradient(Rule):
    """Dropout active in a part that is not trained."""

    code = "TD107"
    severities = ("warning", "info")
    why = "A part that does not learn gives random targets or features, and a momentum encoder should be a steady one"
    source = "ALBEF issue 124; torch.nn.Module.train, which reaches frozen parts, too"
    wrong = "with torch.no_grad():\n    target = self.teacher(x)  # in training mode, as self is"
    right = "def train(self, mode=True):\n    super().train(mode)\n    self.teacher.eval()\n    return self"

    def check(self, observation: Observation) -> Iterator[Finding]:
        """A dropout ran under ``no_grad``, or in a frozen part, before weights that get no gradient."""
        if not any(p.requires_grad for p in observation.modules[""].parameters()):
            return  # nothing is trained
        trained = {d.path for d in observation.training if Use.TRAINED in d.uses}
        idle = [
            dropout
            for dropout in observation.training
            if dropout.drops and Use.NOT_TRAINED in dropout.uses and dropout.path not in trained
        ]
        for dropout, calls in first_at_each_line(dropout for dropout in idle if _is_untrained(dropout)):
            severity: Severity = "warning" if dropout.in_no_grad else "info"
            where = "under torch.no_grad()" if dropout.in_no_grad else "in a frozen part"
            evidence = f"{describe(dropout)} is active {where}; no weight behind it gets a gradient"
            part = _part(dropout.path)
            fix = f"self.{part}.eval()  # after each train()" if part else "the part's .eval(), after each train()"
            yield self.dropout_finding(severity, dropout, evidence, fix, calls=calls)


def _is_untrained(dropout: ObservedDropout) -> bool:
    return Use.TRAINED not in dropout.uses and dropout.origin is not None


def _part(path: str) -> str:
    """The part of the model that a path belongs to."""
    return path.partition(".")[0]
