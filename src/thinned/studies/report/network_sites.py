"""The dropout sites of a network of one's own, as the report shows them: each with the effect of its group."""

from collections.abc import Iterable
from typing import NamedTuple

from thinned.studies.results import Comparison, NetworkSummary, PilotSummary, PlannedNetwork, PlannedSite, Results

__all__ = ["SiteRow", "left_network", "network_of", "pilot_of", "site_rows", "trains_itself"]

_KINDS = {"module": "layer", "functional": "function", "attention": "in attention", "rnn": "in a recurrent layer"}


class SiteRow(NamedTuple):
    """Sites in a row that belong together.

    Attributes:
        names: their names in the network.
        kind: what drops there, in words.
        group: the layers that they belong to.
        rates: their own rates in words.
        shapes: shapes of the dropped tensors in words.
        effect: the comparison of the network without dropout on this group with the one that has it; None where it was
            not made.
    """

    names: list[str]
    kind: str
    group: str
    rates: str
    shapes: str
    effect: Comparison | None


def network_of(results: Results) -> PlannedNetwork | None:
    """The plan's part about a network of one's own, or None in a study of a table."""
    return results.plan.own if isinstance(results.plan.own, PlannedNetwork) else None


def trains_itself(results: Results) -> bool:
    """True where the study trained the networks, false where a function of the user's did."""
    network = network_of(results)
    return network is None or network.trains_itself


def pilot_of(results: Results) -> PilotSummary | None:
    """The pilot, or None where there was none."""
    return results.pilot if isinstance(results.pilot, PilotSummary) else None


def left_network(results: Results) -> NetworkSummary | None:
    """The network that the study leaves, or None where it leaves none."""
    return results.network if isinstance(results.network, NetworkSummary) else None


def site_rows(results: Results) -> list[SiteRow]:
    """The sites of the network in the order of its calls; neighbours of one kind and group are one row."""
    network = network_of(results)
    rows: list[SiteRow] = []
    for site in network.sites if network is not None else ():
        row = SiteRow(
            [site.name or "forward"],  # a function that the network's own forward calls
            _KINDS.get(site.kind, site.kind),
            site.group,
            f"{site.rate:g}",
            _shape(site),
            _effect(results.comparisons, site.group),
        )
        if rows and rows[-1][1:] == row[1:]:
            rows[-1].names.append(site.name)
        else:
            rows.append(row)
    return rows


def _shape(site: PlannedSite) -> str:
    """The shape without the axis of the examples."""
    return " × ".join(map(str, site.shape[1:])) or "1"


def _effect(comparisons: Iterable[Comparison], group: str) -> Comparison | None:
    name = f"without_{group.replace(' ', '_')}"
    return next((comparison for comparison in comparisons if comparison.arm == name), None)
