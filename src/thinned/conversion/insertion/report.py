"""The result of an insertion: where dropout was placed, where not, and why."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

__all__ = ["InsertedSite", "InsertionReport", "shown"]

Key = TypeVar("Key")

_NAMES = 3  # of a group, in the short form


class InsertedSite(NamedTuple):
    """A dropout site that insertion has placed.

    Attributes:
        name: qualified name of the dropout layer, which is that of the site for :func:`thinned.sites.find`.
        layer: qualified name of the layer whose input it drops.
        dropout: class of the dropout layer.
        p: probability of dropping.
        shape: shape of the dropped tensor in the recorded pass.
        reason: why this class, there.
    """

    name: str
    layer: str
    dropout: str
    p: float
    shape: tuple[int, ...]
    reason: str


@dataclass(frozen=True)
class InsertionReport:
    """Where dropout was placed in a network, and where not.

    Attributes:
        placed: sites in order of the network's pass.
        unplaced: name of a layer, or ``name:function`` for a function with weights, to the reason why not there.
    """

    placed: tuple[InsertedSite, ...]
    unplaced: Mapping[str, str]

    @property
    def layers(self) -> list[str]:
        """Names of the layers with a site: ``where=report.layers`` places the same sites in another instance."""
        return [site.layer for site in self.placed]

    def __repr__(self) -> str:
        placed, unplaced = len(self.placed), len(self.unplaced)
        lines = [f"{placed} site{'s' * (placed != 1)} placed, {unplaced} layer{'s' * (unplaced != 1)} without"]
        grouped = _grouped(((site.dropout, site.reason), site.layer) for site in self.placed)
        lines += [f"  {dropout} before {names}: {reason}" for (dropout, reason), names in grouped]
        reasons = _grouped((reason, name) for name, reason in self.unplaced.items())
        lines += [f"  NOT PLACED before {names}: {reason}" for reason, names in reasons]
        return "\n".join(lines)


def shown(name: str) -> str:
    """The name of a layer or function for a reader; that of the model itself is empty."""
    return f"(the model){name}" if name.partition(":")[0] == "" else name


def _grouped(pairs: Iterable[tuple[Key, str]]) -> Iterator[tuple[Key, str]]:
    """Yield each key once, with its names, the middle ones of many left out."""
    groups: dict[Key, list[str]] = {}
    for key, name in pairs:
        groups.setdefault(key, []).append(shown(name))
    for key, names in groups.items():
        if len(names) > _NAMES:
            names = [*names[: _NAMES - 1], f"… {names[-1]} ({len(names)} layers)"]  # noqa: PLW2901
        yield key, ", ".join(names)
