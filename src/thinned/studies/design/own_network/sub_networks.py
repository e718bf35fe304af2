"""Sequences of linear layers that compute the sub-network of one mask for a mini-batch, at its real size."""

from collections import Counter
from collections.abc import Iterable

from torch import nn

from thinned import layers
from thinned.ops import torch_private
from thinned.studies.design.own_network.site_groups import NetworkSite

__all__ = ["take_over_sequences"]


def take_over_sequences(network: nn.Module, sites: Iterable[NetworkSite]) -> tuple[str, ...]:
    """Let each ``nn.Sequential`` of linear layers, activations and dropout be a :class:`thinned.ThinnedMLP`, in place.

    Its dropout layers become ``BatchDropout``. A sequence is left alone where it holds other layers, where hooks watch
    one, and where a site can't have one mask, drops units on more than two axes, or is called twice: it is computed
    whole, and masked.

    Args:
        network: any module; parameters, state dict and evaluation stay as they are.
        sites: the sites that the study varies.

    Returns:
        Qualified names of the sequences that were taken over.
    """
    calls = Counter(site.name.partition("#")[0] for site in sites)
    usable = {site.name for site in sites if site.form == "one_mask" and len(site.shape) == 2 and calls[site.name] == 1}
    taken = []
    for path, module in list(network.named_modules()):
        if type(module) is not nn.Sequential or torch_private.any_hook(*module):
            continue
        kinds = nn.Dropout | layers.Dropout
        drops = {name: child for name, child in module._modules.items() if isinstance(child, kinds)}
        if not drops or not {f"{path}.{name}" if path else name for name in drops} <= usable:
            continue
        ours = {name: layers.BatchDropout(drop.p).train(drop.training) for name, drop in drops.items()}
        try:
            layers.ThinnedMLP(*(ours.get(name, child) for name, child in module._modules.items()))
        except TypeError:  # it holds another layer
            continue
        for name, drop in ours.items():
            module._modules[name] = drop
        module.__class__ = layers.ThinnedMLP
        taken.append(path)
    return tuple(taken)
