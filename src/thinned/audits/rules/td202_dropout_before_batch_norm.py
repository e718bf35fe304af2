"""TD202: dropout before batch norm, which then learns a variance that evaluation does not have."""

from collections.abc import Iterator

from thinned.audits.findings import Finding, Severity
from thinned.audits.observation.observation import Observation
from thinned.audits.observation.recorder import ObservedDropout
from thinned.audits.observation.variance_shifts import NOTABLE_RATIO, VarianceShift
from thinned.audits.rules.base import Rule
from thinned.audits.rules.dropouts import describe, first_at_each_line

__all__ = ["DropoutBeforeBatchNorm"]

_LEAST_MEASURED = 1.03  # dropout on a small part of a sum shifts less than this


class DropoutBeforeBatchNorm(Rule):
    """Dropout before batch norm, with no weight between."""

    code = "TD202"
    severities = ("warning", "info")
    why = "Batch norm learns the variance that dropout has raised, and evaluation has another one"
    source = "Li et al. 2019, 'Understanding the disharmony between dropout and batch normalization by variance shift'"
    wrong = "nn.Sequential(nn.Conv2d(3, 8, 3), nn.Dropout(0.5), nn.BatchNorm2d(8), nn.ReLU())"
    right = "nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.5))"

    def check(self, observation: Observation) -> Iterator[Finding]:
        """The input of a batch norm carries a dropout's output; graded by the ratio of its variances."""
        worst: dict[int, VarianceShift] = {}
        for shift in observation.variance_shifts:
            for index in shift.batch_norm.dropouts:
                if observation.training[index].drops and _ratio(shift) >= _ratio(worst.get(index)):
                    worst[index] = shift
        shifted = [
            observation.training[index]
            for index, shift in sorted(worst.items())
            if shift.ratio is None or shift.ratio >= _LEAST_MEASURED
        ]
        for dropout, _ in first_at_each_line(shifted):
            shift = worst[dropout.index]
            severity: Severity = "warning" if (shift.ratio or 0) >= NOTABLE_RATIO else "info"
            path = shift.batch_norm.path
            evidence = f"{describe(dropout)} comes before batch norm {path}{_ratio_in_words(dropout, shift)}"
            fix = f"move it behind batch norm {path}, or thinned.recalibrate_batchnorm(model, batches) after training"
            yield self.dropout_finding(severity, dropout, evidence, fix, norm=path, variance_ratio=shift.ratio)


def _theoretical_ratio(dropout: ObservedDropout) -> float:
    """The ratio of the variances of values with mean 0."""
    return 1 / (1 - min(dropout.site.p, 0.99))


def _ratio_in_words(dropout: ObservedDropout, shift: VarianceShift) -> str:
    if shift.ratio is not None:
        return f"; the variance there, with dropout over without: {shift.ratio:.2f}"
    size = shift.batch_norm.channel_size
    return (
        f". The shift was not measured, or {size} values per channel are too few for that; dropout multiplies "
        f"the variance of plain values of mean 0 by {_theoretical_ratio(dropout):.2f}, and that of a sum by less"
    )


def _ratio(shift: VarianceShift | None) -> float:
    return -1.0 if shift is None else shift.ratio or 0.0
