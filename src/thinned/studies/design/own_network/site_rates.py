"""The rate that a dropout site of a network of one's own has under a setting, and by which settings are told apart."""

from collections.abc import Sequence

from thinned.studies.design.own_network.site_groups import NetworkSite
from thinned.studies.design.setting import Setting

__all__ = ["LARGEST_RATE", "has_other_form", "site_rate", "trained_network"]

#: no site gets a higher rate by a scale
LARGEST_RATE = 0.95


def site_rate(setting: Setting, site: NetworkSite) -> float:
    """The rate of a site under a setting."""
    rates = setting.sites
    if rates is None:
        return setting.dropout
    if not rates.includes(site.group):
        return 0.0
    if rates.scale is None:
        return setting.dropout
    return min(site.rate * rates.scale, max(LARGEST_RATE, site.rate))


def has_other_form(setting: Setting, site: NetworkSite) -> bool:
    """True where masks of a site have another form under a setting than in the user's network."""
    return setting.sites is not None and setting.sites.form is not None and site.form == setting.sites.form


def trained_network(setting: Setting, sites: Sequence[NetworkSite]) -> tuple[object, ...]:
    """Two settings with equal ones train the same network, however they are written."""
    dropped = tuple((rate, rate > 0 and has_other_form(setting, s)) for s in sites for rate in [site_rate(setting, s)])
    return dropped, setting.weight_decay, setting.learning_rate, setting.max_norm, setting.schedule
