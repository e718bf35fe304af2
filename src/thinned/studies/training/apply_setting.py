"""Gives a network of one's own the rates, and the forms of masks, that a setting asks for."""

import dataclasses
from collections import defaultdict
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from thinned.conversion import SiteOverride, override_sites
from thinned.errors import InputError, sentence
from thinned.layers import Addressed
from thinned.studies.design.own_network.drop_paths import take_over_drop_paths
from thinned.studies.design.own_network.network_design import Insertion
from thinned.studies.design.own_network.site_groups import NetworkSite
from thinned.studies.design.own_network.site_rates import has_other_form, site_rate
from thinned.studies.design.own_network.studied_sites import insert_sites
from thinned.studies.design.own_network.sub_networks import take_over_sequences
from thinned.studies.design.setting import Setting
from thinned.studies.examples.batch import Inputs, map_inputs
from thinned.tracing.modules import named

__all__ = ["SettingApplication", "apply_setting", "site_overrides"]


def site_overrides(setting: Setting, sites: Sequence[NetworkSite]) -> dict[str, SiteOverride]:
    """The rate of each site under a setting, and the axes that share a decision where its form is another."""
    return {
        site.name: SiteOverride(site_rate(setting, site), site.axes if has_other_form(setting, site) else None)
        for site in sites
    }


def apply_setting(network: nn.Module, setting: Setting, sites: Sequence[NetworkSite]) -> nn.Module:
    """Convert a network in place, and give its dropout sites the rates and forms of a setting.

    Where all masks of a module have one rate, the module itself gets it (``p``, or ``dropout`` of attention and
    recurrent modules), so that a printed network tells it. Every site is overridden as well, by
    :func:`thinned.conversion.override_sites`. Parameters, state dict and evaluation stay as they are. Sequences of
    linear layers with one mask for a mini-batch compute their sub-network alone.

    Args:
        network: fresh from the function that builds it.
        setting: the setting.
        sites: the sites whose rates the study varies; others keep their own.

    Returns:
        The network itself.

    Raises:
        InputError: the network is not the one whose sites were found, or a site can't be converted.
    """
    if setting.sites is not None and setting.sites.form == "one_mask":
        take_over_sequences(network, sites)
    return _apply_overrides(network, site_overrides(setting, sites), sites)


def _apply_overrides(
    network: nn.Module, overrides: Mapping[str, SiteOverride], sites: Sequence[NetworkSite]
) -> nn.Module:
    report = override_sites(network, overrides)
    modules = dict(named(network))
    by_module: defaultdict[str, set[float]] = defaultdict(set)
    for site in sites:
        path = site.name.partition("#")[0]
        if path not in modules:
            value = f"it has no module {path!r} any more"
            raise InputError(sentence("the network must be built alike every time", value))
        if site.name in report.unconverted:
            value = f"{site.name}: {report.unconverted[site.name]}"
            raise InputError(sentence("a study must be able to set the rate of each site", value))
        module = modules[path]
        if isinstance(module, Addressed) and module.key is not None:
            value = f"{site.name} has a key already"
            raise InputError(sentence("the study must give the masks their addresses", value, "leave the key out"))
        by_module[path].add(float(overrides[site.name].rate))
    for path, rates in by_module.items():
        if len(rates) == 1:
            _set_rate(modules[path], *rates)
    return network


def _set_rate(module: nn.Module, rate: float) -> None:
    if isinstance(module, Addressed):
        module.p = rate
    elif isinstance(module, nn.MultiheadAttention | nn.RNNBase):
        module.dropout = rate


@dataclasses.dataclass(frozen=True)
class SettingApplication:
    """Makes the network of a setting from a fresh one, in any process.

    Attributes:
        sites: the sites whose rates the study varies.
        inserted: where sites are put into a network that has none; None leaves its own.
        example: input of a small batch, by which sites are put in.
    """

    sites: tuple[NetworkSite, ...]
    inserted: Insertion | None = None
    example: Inputs | None = None

    def __post_init__(self) -> None:
        """Refuse sites that can't be put in."""
        if self.inserted is not None and self.example is None:
            raise ValueError(sentence("sites are put into a network by an example", "got none"))

    def __call__(self, network: nn.Module, setting: Setting) -> nn.Module:
        """Change a fresh network in place, and return it.

        Raises:
            InputError: the network is not the one whose sites were found.
        """
        return apply_setting(self._with_sites(network), setting, self.sites)

    def to_stack(self, network: nn.Module, settings: Sequence[Setting]) -> nn.Module:
        """Change a fresh network in place into one for a stack of networks, one of each setting, and return it.

        Each site has its largest rate of all settings, so that no code that looks at a rate of 0 leaves a site out.

        Args:
            network: fresh from the function that builds it.
            settings: those of the members, with one form of each site.

        Raises:
            InputError: the network is not the one whose sites were found.
        """
        each = [site_overrides(setting, self.sites) for setting in settings]
        largest = {name: max((member[name] for member in each), key=lambda o: o.rate) for name in each[0]}
        return _apply_overrides(self._with_sites(network), largest, self.sites)

    def _with_sites(self, network: nn.Module) -> nn.Module:
        take_over_drop_paths(network)
        if self.inserted is not None and self.example is not None:
            device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
            example = map_inputs(lambda tensor: tensor.to(device), self.example)
            if insert_sites(network, example, self.inserted.layers) != self.inserted.layers:
                value = "other layers can have dropout now"
                raise InputError(sentence("the network must be built alike every time", value))
        return network
