"""TD203: element-wise dropout on convolutional features."""

import math
from collections.abc import Iterator

from thinned.audits.findings import Finding
from thinned.audits.observation.observation import Observation
from thinned.audits.observation.recorder import ObservedDropout
from thinned.audits.rules.base import Repair, Rule
from thinned.audits.rules.dropouts import describe, first_at_each_line, is_elementwise, is_on_output
from thinned.audits.rules.spatial_dropout import convolution_dims, spatial_variant

__all__ = ["ElementwiseOnConvolution"]


class ElementwiseOnConvolution(Rule):
    """Element-wise dropout on convolutional features."""

    code = "TD203"
    severities = ("info",)
    why = "Neighbouring positions repeat what was dropped, so it regularises little; dropping whole channels does more"
    source = "Tompson et al. 2015, section 3.2; Ghiasi et al. 2018"
    wrong = "nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Dropout(0.2))"
    right = "nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Dropout2d(0.2))"

    def check(self, observation: Observation) -> Iterator[Finding]:
        """An element-wise dropout is on convolutional features whose neighbouring positions are alike."""
        on_features = [dropout for dropout in observation.training if _is_on_features(dropout)]
        for dropout, _ in first_at_each_line(on_features):
            name = f"Dropout{convolution_dims(dropout)}d"
            fix = f"nn.{name}({dropout.site.p:g})" if dropout.site.kind == "module" else f"F.{name.lower()}(...)"
            function = dropout.origin.op if dropout.origin else "a convolution"
            yield self.dropout_finding("info", dropout, f"{describe(dropout)} is on the output of {function}", fix)

    def repair(self, finding: Finding, observation: Observation) -> Repair | None:
        """Change the dropout module to its spatial variant, unless a call of it is right as it is."""
        calls = [call for call in observation.training if call.path == finding.module]
        return spatial_variant(finding, observation) if all(map(_is_on_features, calls)) else None


def _is_on_features(dropout: ObservedDropout) -> bool:
    """True for features with neighbours; a convolution of one position is a linear layer, and an output has classes."""
    return (
        dropout.drops
        and is_elementwise(dropout)
        and not is_on_output(dropout)
        and dropout.origin is not None
        and dropout.origin.mixes_positions
        and convolution_dims(dropout) is not None
        and math.prod(dropout.site.shape[2:]) > 1
    )
