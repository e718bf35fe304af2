"""Sharded masks: which part of a larger mask the tensor of this process is."""

from collections.abc import Callable, Mapping, Sequence

from thinned import layers
from thinned.errors import sentence
from thinned.kernels.address import Region

__all__ = ["WHOLE_WEIGHT_LAYERS", "Parts", "PartsOfSite", "check_parts", "place"]

Parts = Mapping[int, tuple[int, int]]  # axis -> (number of the part, number of equal parts)
PartsOfSite = Callable[[str], Parts]
WHOLE_WEIGHT_LAYERS = (
    layers.DropConnect,
    layers.EmbeddingDropout,
)  # their masks are of weights that all processes have


def check_parts(parts: Parts | PartsOfSite | None) -> Parts | PartsOfSite:
    """Return ``parts``, an empty mapping for None.

    Raises:
        ValueError: a part does not exist.
    """
    if parts is None:
        return {}
    if not callable(parts):
        for axis, (part, count) in parts.items():
            if not 0 <= part < count:
                requirement = "parts must give (part, count) with 0 <= part < count"
                raise ValueError(sentence(requirement, f"got {(part, count)} for axis {axis}"))
    return parts


def place(parts: Parts, region: Region, shape: Sequence[int]) -> Region:
    """The region of a tensor of ``shape`` in a mask that is larger along the axes of ``parts``.

    Raises:
        IndexError: the tensor has no such axis.
    """
    full, start = list(region.full or shape), list(region.start or [0] * len(shape))
    for axis, (part, count) in parts.items():
        if not -len(full) <= axis < len(full):
            requirement = f"an axis of parts must lie in [{-len(full)}, {len(full) - 1}] here"
            raise IndexError(sentence(requirement, f"got {axis}"))
        start[axis] += part * full[axis]
        full[axis] *= count
    return Region(region.shared, tuple(full), tuple(start))
