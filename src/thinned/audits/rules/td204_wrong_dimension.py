"""TD204: Dropout1d, 2d or 3d on a tensor that has other axes."""

from collections.abc import Iterator

from thinned.audits.findings import Finding
from thinned.audits.observation.observation import Observation
from thinned.audits.observation.recorder import ObservedDropout
from thinned.audits.rules.base import Repair, Rule
from thinned.audits.rules.dropouts import describe, first_at_each_line
from thinned.audits.rules.spatial_dropout import convolution_dims, named_dims, spatial_variant

__all__ = ["WrongDimension"]

_FEATURES_LAST = frozenset(
    ["linear", "embedding", "lstm", "gru", "rnn_tanh", "rnn_relu", "multi_head_attention_forward"]
)


class WrongDimension(Rule):
    """Dropout1d, 2d or 3d on a tensor of another form."""

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
        for dropout, _ in first_at_each_line(dropout for dropout in observation.training if dropout.drops):
            dims, n_axes = named_dims(dropout), len(dropout.site.shape)
            if dims is None:
                continue
            looks_unbatched = n_axes == dims + 1 and dims != 2
            if looks_unbatched and _has_batch_axis(dropout, observation):
                evidence = (
                    f"{describe(dropout)} has {n_axes} axes; torch takes it for one sample without a batch, "
                    "and drops whole samples"
                )
                yield self.dropout_finding("error", dropout, evidence, _right_call(dropout))
            elif n_axes != dims + 2 and not looks_unbatched:
                effect = "each element has its own decision" if n_axes == 2 else "it drops along axes 0 and 1"
                evidence = f"{describe(dropout)} is for {dims + 2} axes; got {n_axes}, so that {effect}"
                yield self.dropout_finding("warning", dropout, evidence, _right_call(dropout))
            elif n_axes == dims + 2 and _features_are_last(dropout):
                evidence = f"{describe(dropout)} drops along axis 1, but the features are in the last axis"
                fix = f"thinned.LockedDropout({dropout.site.p:g}), or x.transpose(1, -1) before and after it"
                yield self.dropout_finding("warning", dropout, evidence, fix)

    def repair(self, finding: Finding, observation: Observation) -> Repair | None:
        """Change the dropout module to the variant that its tensors ask for."""
        return spatial_variant(finding, observation)


def _has_batch_axis(dropout: ObservedDropout, observation: Observation) -> bool:
    return dropout.site.shape[0] > 1 and dropout.site.shape[0] == observation.batch_size


def _features_are_last(dropout: ObservedDropout) -> bool:
    convolved = any(op.name.lower().startswith("conv") for op in dropout.site.consumers)
    return (
        dropout.origin is not None
        and dropout.origin.op in _FEATURES_LAST
        and not dropout.origin.moved_axes()
        and not convolved
        and not {"view", "reshape", "unflatten", "unsqueeze"} & set(dropout.origin.later_ops)
    )


def _right_call(dropout: ObservedDropout) -> str:
    dims = convolution_dims(dropout)
    name = f"Dropout{dims}d" if dims else "Dropout"
    if dropout.site.kind == "module":
        return f"nn.{name}({dropout.site.p:g})"
    return f"F.{name.lower()}(x, {dropout.site.p:g}, self.training)"
