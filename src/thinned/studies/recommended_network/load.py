"""``thinned.load_network``: the network that a study recommends, from its folder."""

import os
import warnings
from collections.abc import Callable
from pathlib import Path

from torch import nn

from thinned import layers
from thinned.conversion.insertion.input_dropout import attach
from thinned.errors import InputError, sentence
from thinned.import_path import import_object, source_digest
from thinned.studies.design.own_network.drop_paths import take_over_drop_paths
from thinned.studies.examples.generators import seeded_generators
from thinned.studies.recommended_network.metadata import NetworkMetadata
from thinned.studies.recommended_network.storage import give_weights, read_network
from thinned.studies.training.apply_setting import apply_setting

__all__ = ["load_network"]


def load_network(folder: str | os.PathLike[str], build: str | Callable[[], nn.Module]) -> nn.Module:
    """Load the network that a study of a network of one's own recommends, with the weights of all examples.

    It predicts as ``build()`` does with the same weights. Its dropout has the rates that the study recommends, and
    sites that the study put into it, so that it can be trained further. Nothing in the files is executed; every file
    must be the one that was saved. The generators of torch, NumPy and Python stay as they are.

    Args:
        folder: the folder ``network`` in that of the study.
        build: the function that the study had as ``network``, or its path "module:function".

    Returns:
        The network on the device on which ``build`` makes it, in evaluation mode.

    Raises:
        InputError: there is no network, a file is damaged, or ``build`` makes another network.
    """
    about, tensors = (saved := read_network(Path(folder))).about, saved.tensors
    function = import_object(build, "the network") if isinstance(build, str) else build
    if not callable(function):
        value = f"got {type(function).__name__}"
        raise InputError(sentence("build must be a function without arguments that builds a module", value))
    source = source_digest(function)
    if about.identities.build is not None and source is not None and source != about.identities.build:
        text = "the file that builds the network has changed since the study: check that it computes the same"
        warnings.warn(text, stacklevel=2)
    with seeded_generators(0):
        network: object = function()
    if not isinstance(network, nn.Module):
        raise InputError(sentence("build must return a torch.nn.Module", f"it returned a {type(network).__name__}"))
    give_weights(network, tensors)
    _give_dropout(network, about)
    return network.eval()


def _give_dropout(network: nn.Module, about: NetworkMetadata) -> None:
    take_over_drop_paths(network)
    modules = dict(network.named_modules())
    for name, kind in about.inserted.items():
        if name not in modules:
            value = f"it has no layer {name}"
            raise InputError(sentence("build must make the network of the study", value))
        attach(modules[name], getattr(layers, kind)(0.0))
    apply_setting(network, about.setting, about.sites)
