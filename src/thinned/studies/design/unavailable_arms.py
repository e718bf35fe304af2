"""The arms that a network does not allow, each with the reason."""

from thinned.studies.design.arms import ARMS
from thinned.studies.design.own_network.network_design import NetworkDesign
from thinned.studies.design.plan import Plan
from thinned.studies.design.setting import GROUP_WORDS, SiteForm

__all__ = ["unavailable_arms"]

_FORMS: dict[SiteForm, tuple[str, str]] = {
    "spatial": ("spatial dropout", "no element-wise site is on convolutional features"),
    "locked": ("locked dropout", "no element-wise site is on the steps of a recurrent layer"),
}


def unavailable_arms(plan: Plan) -> dict[str, str]:
    """The label of each arm that can't be made for the network of a plan, and why."""
    if plan.own is not None:
        return _without_sites(plan.own)
    if plan.network is None:
        return {}
    reason = "it changes the structure of the network, which is the user's"
    structural = (arm for arm in ARMS.values() if any(setting.needs_own_mlp for setting in arm.settings))
    return {arm.label: reason for arm in structural if arm.kind != "mix"}


def _without_sites(design: NetworkDesign) -> dict[str, str]:
    sites = design.sites
    found: dict[str, str] = {}
    if not any(site.rate for site in sites):
        found["dropout as it is"] = "no site of the network has a rate of its own"
    groups = {site.group for site in sites}
    if len(groups) < 2:
        words = " and ".join(GROUP_WORDS[group] for group in groups) or "no layer"
        found["dropout on some groups of layers alone"] = f"all sites are on {words}"
    for form, (label, reason) in _FORMS.items():
        if not any(site.form == form for site in sites):
            found[label] = reason
    return found | {label: f"it trains the same networks as {same}" for label, same in design.duplicates}
