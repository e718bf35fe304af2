"""TD203: element-wise dropout on convolutional features."""

import math
from collections.abc import Iterator

from thinned.audits.findings import Finding
from thinned.audits.observation.observation import Observation
from thinned.audits.rules.base import Repair, Rule
from thinned.audits.rules.dropouts import describe, first_at_each_line, is_elementwise
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
        """An element-wise dropout is on the output of a convolution that still has its spatial axes."""
        elementwise = [dropout for dropout in observation.training if dropout.drops and is_elementwise(dropout)]
        for dropout, _ in first_at_each_line(elementwise):
            dims = convolution_dims(dropout)
            if dropout.origin is None or dims is None or math.prod(dropout.site.shape[2:]) <= 1:
                continue
            name = f"Dropout{dims}d"
            fix = f"nn.{name}({dropout.site.p:g})" if dropout.site.kind == "module" else f"F.{name.lower()}(...)"
            evidence = f"{describe(dropout)} is on the output of {dropout.origin.op}"
            yield self.dropout_finding("info", dropout, evidence, fix)

    def repair(self, finding: Finding, observation: Observation) -> Repair | None:
        """Change the dropout module to its spatial variant."""
        return spatial_variant(finding, observation)
