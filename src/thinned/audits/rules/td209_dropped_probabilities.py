"""TD209: probabilities that dropout has changed, and that are used as probabilities."""

from collections.abc import Iterator

from thinned.audits.findings import Finding
from thinned.audits.observation.dropout_uses import Use
from thinned.audits.observation.observation import Observation
from thinned.audits.observation.recorder import ObservedDropout
from thinned.audits.rules.base import Rule
from thinned.audits.rules.dropouts import describe, first_at_each_line

__all__ = ["DroppedProbabilities"]

_IN_WORDS = {
    Use.LOGARITHM: "go to a logarithm",
    Use.LOSS: "go to a loss of probabilities",
    Use.OUTPUT: "are an output of the model",
}


class DroppedProbabilities(Rule):
    """Dropped probabilities used as probabilities."""

    code = "TD209"
    severities = ("warning",)
    why = (
        "Dropout sets some of them to 0 and scales the others, so that they do not sum to 1 and may exceed 1; "
        "a negative log-likelihood of them can be negative"
    )
    source = "fairseq-gec issue 18; torch.nn.MultiheadAttention returns its weights after dropout"
    wrong = "weights = self.drop(scores.softmax(-1))\nreturn weights @ v, weights"
    right = "weights = scores.softmax(-1)\nreturn self.drop(weights) @ v, weights"

    def check(self, observation: Observation) -> Iterator[Finding]:
        """The result of a dropout on a softmax is an output of the model, or goes to a logarithm or such a loss."""
        dropped = [dropout for dropout in observation.training if dropout.drops and _is_on_probabilities(dropout)]
        for dropout, _ in first_at_each_line(dropout for dropout in dropped if dropout.uses & _ANY):
            uses = [words for use, words in _IN_WORDS.items() if use in dropout.uses]
            evidence = f"the probabilities after {describe(dropout)} {' and '.join(uses)}"
            fix = "use the probabilities from before the dropout there: weights = scores.softmax(-1)"
            if dropout.site.op == "multi_head_attention_forward":
                fix = "nn.MultiheadAttention(..., dropout=0.0), and nn.Dropout on its first output"
            yield self.dropout_finding("warning", dropout, evidence, fix)


_ANY = Use.LOGARITHM | Use.LOSS | Use.OUTPUT


def _is_on_probabilities(dropout: ObservedDropout) -> bool:
    site = dropout.site
    if site.op == "multi_head_attention_forward":
        return True
    return (
        site.kind in {"module", "functional"} and site.producer is not None and site.producer.name.lower() == "softmax"
    )
