"""TD201: dropout on the output of the model."""

from collections.abc import Iterator

from thinned.audits.findings import Finding
from thinned.audits.observation.observation import Observation
from thinned.audits.observation.recorder import ObservedDropout
from thinned.audits.rules.base import Rule
from thinned.audits.rules.dropouts import describe, first_at_each_line
from thinned.tracing.sites import VIEWS

__all__ = ["DropoutOnOutput"]

_SQUASHES = frozenset(["softmax", "log_softmax", "sigmoid", "logsigmoid", "softmin"])
_LOSSES = frozenset(
    [
        "cross_entropy",
        "nll_loss",
        "mse_loss",
        "l1_loss",
        "smooth_l1_loss",
        "huber_loss",
        "binary_cross_entropy",
        "kl_div",
        "binary_cross_entropy_with_logits",
        "gaussian_nll_loss",
        "poisson_nll_loss",
        "multi_margin_loss",
    ]
)
_ENDS = _LOSSES | _SQUASHES | {"LogSoftmax", "Softmax"}
_PASSED = _SQUASHES | {view.strip("_") for view in VIEWS}


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
        on_output = [dropout for dropout in observation.training if dropout.drops and _is_on_output(dropout)]
        for dropout, _ in first_at_each_line(on_output):
            evidence = f"{describe(dropout)} is on the output of the last layer"
            fix = "put it before the last layer: x = self.head(self.drop(x))"
            yield self.dropout_finding("warning", dropout, evidence, fix)


def _is_on_output(dropout: ObservedDropout) -> bool:
    origin = dropout.origin
    if dropout.site.kind not in {"module", "functional"} or origin is None:
        return False
    if not origin.op.startswith(("linear", "conv", "addmm", "bilinear")) or not set(origin.later_ops) <= _PASSED:
        return False
    consumers = {op.name.strip("_") for op in dropout.site.consumers}
    return consumers <= _ENDS if consumers else dropout.is_output
