"""TD204: Dropout1d, 2d or 3d on a tensor that has other axes."""

from collections.abc import Iterator
from enum import Enum, auto

from thinned.audits.findings import Finding, Severity
from thinned.audits.observation.observation import Observation
from thinned.audits.observation.recorder import ObservedDropout
from thinned.audits.rules.base import Repair, Rule
from thinned.audits.rules.dropouts import describe, first_at_each_line
from thinned.audits.rules.spatial_dropout import convolution_dims, named_dims, spatial_variant

__all__ = ["WrongDimension"]

_FEATURES_LAST = frozenset(
    ["linear", "embedding", "lstm", "gru", "rnn_tanh", "rnn_relu", "multi_head_attention_forward"]
)


class _Mistake(Enum):
    DROPS_SAMPLES = auto()
    OTHER_AXES = auto()
    FEATURES_LAST = auto()


class WrongDimension(Rule):
    """Dropout1d, 2d or 3d on a tensor of the wrong shape."""

    code = "TD204"
    severities = ("error", "warning")
    why = (
        "The axis that the layer takes for channels is another one, so it drops whole samples, time steps "
        "or single elements instead"
    )
    source = "torch.nn.Dropout1d, Dropout2d, Dropout3d; pytorch issue 77081"
    wrong = "nn.Dropout1d(0.5)(features)  # (N, F): whole samples become 0"
    right = "nn.Dropout(0.5)(features)"

    def check(self, observation: Observation) -> Iterator[Finding]:
        """The tensor has fewer axes than the dropout is for, or its features are in the last axis."""
        mistakes = [(dropout, _mistake(dropout, observation)) for dropout in observation.training if dropout.drops]
        for kind in _Mistake:
            for dropout, _ in first_at_each_line(dropout for dropout, mistake in mistakes if mistake is kind):
                severity: Severity = "error" if kind is _Mistake.DROPS_SAMPLES else "warning"
                yield self.dropout_finding(severity, dropout, _evidence(dropout, kind), _right_call(dropout, kind))

    def repair(self, finding: Finding, observation: Observation) -> Repair | None:
        """Change the dropout module to the variant that its tensors ask for."""
        return spatial_variant(finding, observation)


def _mistake(dropout: ObservedDropout, observation: Observation) -> _Mistake | None:
    dims, shape = named_dims(dropout), dropout.site.shape
    if dims is None:
        return None
    if len(shape) == dims + 1 and dims != 2:  # torch takes it for one sample without a batch
        has_batch_axis = shape[0] > 1 and shape[0] == observation.batch_size
        return _Mistake.DROPS_SAMPLES if has_batch_axis else None
    if len(shape) != dims + 2:
        return _Mistake.OTHER_AXES
    return _Mistake.FEATURES_LAST if _features_are_last(dropout) else None


def _features_are_last(dropout: ObservedDropout) -> bool:
    convolved = any(op.name.lower().startswith("conv") for op in dropout.site.consumers)
    return (
        dropout.origin is not None
        and dropout.origin.op in _FEATURES_LAST
        and not dropout.origin.moved_axes()
        and not convolved
        and not {"view", "reshape", "unflatten", "unsqueeze"} & set(dropout.origin.later_ops)
    )


def _evidence(dropout: ObservedDropout, mistake: _Mistake) -> str:
    n_axes = len(dropout.site.shape)
    if mistake is _Mistake.DROPS_SAMPLES:
        return (
            f"{describe(dropout)} has {n_axes} axes; torch takes it for one sample without a batch, "
            "and drops whole samples"
        )
    if mistake is _Mistake.OTHER_AXES:
        effect = "each element has its own decision" if n_axes == 2 else "it drops along axes 0 and 1"
        return f"{describe(dropout)} is for {(named_dims(dropout) or 0) + 2} axes; got {n_axes}, so that {effect}"
    return f"{describe(dropout)} drops along axis 1, but the features are in the last axis"


def _right_call(dropout: ObservedDropout, mistake: _Mistake) -> str:
    p, dims = dropout.site.p, convolution_dims(dropout)
    if mistake is _Mistake.FEATURES_LAST:
        return f"thinned.LockedDropout({p:g}), or x.transpose(1, -1) before and after it"
    name = f"Dropout{dims}d" if dims else "Dropout"
    return f"nn.{name}({p:g})" if dropout.site.kind == "module" else f"F.{name.lower()}(x, {p:g}, self.training)"
