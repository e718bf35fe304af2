"""The sites whose rates a study varies: those of the network, or those that are put into one that has none."""

from typing import NamedTuple

from torch import nn

from thinned.conversion.insertion.api import insert_dropout
from thinned.conversion.insertion.placement import Where
from thinned.errors import InputError
from thinned.studies.design.own_network.drop_paths import take_over_drop_paths
from thinned.studies.design.own_network.network_design import Insertion
from thinned.studies.design.own_network.site_groups import NetworkSite, NetworkSites, find_network_sites
from thinned.tracing.forward_arguments import forward_arguments

__all__ = ["StudiedSites", "insert_sites", "studied_sites"]


class StudiedSites(NamedTuple):
    """The sites whose rates a study varies.

    Attributes:
        sites: in the order of the calls; inserted ones have the rate 0, since they are not the network's own.
        noise: functions by which the network draws random numbers of its own.
        inserted: where sites were put into the network; None where all are its own.
    """

    sites: tuple[NetworkSite, ...]
    noise: tuple[str, ...]
    inserted: Insertion | None = None


def studied_sites(network: nn.Module, example: object, insert: Where | None = None) -> StudiedSites:
    """Find the sites of a network, and put some into it where it has none, or where the user asks for it.

    Args:
        network: a fresh network, changed in place: drop paths of other libraries become ours, and sites are put in.
        example: a batch of at least two examples on the network's device: a tensor, a tuple of positional arguments, or
            a mapping of keyword arguments.
        insert: argument ``where`` of :func:`thinned.insert_dropout`; None puts "hidden" ones into a network without
            dropout. A network that can have none keeps what it has.

    Raises:
        InputError: ``insert`` is given and no layer can have a site, or a site's rate can't be set.
        Exception: whatever the forward pass raises.
    """
    take_over_drop_paths(network)
    args, kwargs = forward_arguments(example, None, "studied_sites")
    found = find_network_sites(network, *args, **kwargs)
    if insert is None and _has_dropout(found):
        return StudiedSites(found.studied, found.noise)
    where: Where = "hidden" if insert is None else insert
    try:
        layers = insert_sites(network, example, where)
    except InputError:
        if insert is not None:
            raise
        return StudiedSites(found.sites, found.noise)
    inserted = Insertion(where if isinstance(where, str) else "chosen layers", layers)
    own = {site.name for site in found.sites}
    sites = find_network_sites(network, *args, **kwargs).sites
    return StudiedSites(tuple(s if s.name in own else s._replace(rate=0.0) for s in sites), found.noise, inserted)


def insert_sites(network: nn.Module, example: object, where: Where) -> tuple[str, ...]:
    """Put sites into a network in place, and return the names of the layers before which they stand."""
    return tuple(insert_dropout(network, example, where=where).layers)


def _has_dropout(found: NetworkSites) -> bool:
    """True where the author has put dropout into the network, be it at a rate of 0."""
    return any(site.rate > 0 or site.kind == "module" for site in found.sites)
