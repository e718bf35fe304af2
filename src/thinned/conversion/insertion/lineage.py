"""Where a tensor comes from, in terms of calls of layers with weights."""

from collections.abc import Iterable
from typing import NamedTuple

__all__ = ["Lineage", "joined"]


class Lineage(NamedTuple):
    """Where a tensor comes from.

    Attributes:
        calls: numbers of the calls that made it, with nothing that has weights between; empty for the network's input.
        is_weight: True for a parameter, and for what is computed from parameters alone.
        is_squashed: True behind a function with a bounded range, such as the logistic function.
    """

    calls: frozenset[int] = frozenset()
    is_weight: bool = False
    is_squashed: bool = False


def joined(lineages: Iterable[Lineage], *, squash: bool) -> Lineage:
    """The lineage of what a function without weights makes from tensors of these lineages."""
    parts = list(lineages)
    calls = frozenset[int]().union(*(part.calls for part in parts))
    is_weight = bool(parts) and all(part.is_weight for part in parts)
    return Lineage(calls, is_weight, squash or (len(parts) == 1 and parts[0].is_squashed))
