"""Descriptions and properties of observed dropouts that several rules need."""

from collections.abc import Iterable, Iterator

from thinned.audits.observation.recorder import Location, ObservedDropout

__all__ = ["describe", "first_at_each_line", "is_elementwise"]


def describe(dropout: ObservedDropout) -> str:
    """The function or class of a dropout, its rate and shape, and the measured zeros."""
    zeros = "" if dropout.zero_fraction is None else f" (output {dropout.zero_fraction:.0%} zero)"
    return f"{dropout.site.op} with p={dropout.site.p:g} on {tuple(dropout.site.shape)}{zeros}"


def first_at_each_line(dropouts: Iterable[ObservedDropout]) -> Iterator[tuple[ObservedDropout, int]]:
    """The first dropout of each module and line, and their number; a loop calls the same line many times."""
    groups: dict[tuple[str, str, Location | None], list[ObservedDropout]] = {}
    for dropout in dropouts:
        groups.setdefault((dropout.path, dropout.site.op, dropout.location), []).append(dropout)
    for group in groups.values():
        yield group[0], len(group)


def is_elementwise(dropout: ObservedDropout) -> bool:
    """True if each element has a decision of its own."""
    names = {"Dropout", "dropout", "dropout_", "AlphaDropout", "alpha_dropout"}
    return dropout.site.op in names and dropout.site.kind != "attention"
