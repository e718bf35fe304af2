"""The rates of one member of a stack of networks that ``torch.func.vmap`` runs as one program."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn

from thinned.conversion.routed_class import wrapper_of
from thinned.errors import sentence

__all__ = ["member_rates"]


@contextmanager
def member_rates(model: nn.Module, rates: Mapping[str, torch.Tensor]) -> Iterator[None]:
    """Within, sites of a model that was overridden have other rates.

    Args:
        model: the outermost module, whose sites :func:`thinned.conversion.override_sites` has given their rates.
        rates: by the name of a site that is overridden, its rate as vmap hands it to a member, 0-dim float64.

    Raises:
        ValueError: the model was not converted.
    """
    wrapper = wrapper_of(model)
    if wrapper is None:
        raise ValueError(sentence("rates of members need a model whose sites are overridden", "it was not converted"))
    converted = wrapper.model
    before = converted.overrides
    converted.overrides = {**before, **{name: before[name]._replace(rate=rate) for name, rate in rates.items()}}
    try:
        yield
    finally:
        converted.overrides = before
