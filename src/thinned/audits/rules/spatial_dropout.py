"""The dimension that a dropout is for, and the one that its tensor asks for: shared by TD203 and TD204."""

from torch import nn

from thinned.audits.findings import Finding
from thinned.audits.observation.observation import Observation
from thinned.audits.observation.recorder import ObservedDropout
from thinned.audits.rules.base import Repair
from thinned.audits.rules.dropouts import is_on_output

__all__ = ["convolution_dims", "named_dims", "spatial_variant"]

_LAYERS: dict[int | None, type[nn.Module]] = {1: nn.Dropout1d, 2: nn.Dropout2d, 3: nn.Dropout3d, None: nn.Dropout}


def named_dims(dropout: ObservedDropout) -> int | None:
    """The number of spatial axes in the name of a dropout: 2 for Dropout2d, None for Dropout."""
    name = dropout.site.op
    return int(name[-2]) if name.lower() in {"dropout1d", "dropout2d", "dropout3d"} else None


def convolution_dims(dropout: ObservedDropout) -> int | None:
    """The number of spatial axes where the tensor has the layout of a convolution's output; None elsewhere."""
    return None if dropout.origin is None else dropout.origin.convolution_dims(dropout.site.shape)


def spatial_variant(finding: Finding, observation: Observation) -> Repair | None:
    """Change the class of a dropout module to the variant that all its calls ask for."""
    module = observation.modules[finding.module]
    calls = [call for call in observation.training if call.site.kind == "module" and call.path == finding.module]
    if not calls or type(module) not in _LAYERS.values() or any(map(is_on_output, calls)):
        return None  # on an output, whole channels are whole classes
    variants = {convolution_dims(call) for call in calls}
    all_vectors = all(len(call.site.shape) == 2 for call in calls)
    if len(variants) != 1 or (variants == {None} and not all_vectors):
        return None  # features in the last axis: only the author knows which axis is meant
    layer = _LAYERS[variants.pop()]
    if type(module) is layer:
        return None
    before, module.__class__ = type(module).__name__, layer
    return Repair(f"{before} became {layer.__name__}")
