"""Rates and shared axes of single dropout sites, in place of those that the model's code gives them."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F

from thinned.tracing.torch_functions import BINDERS

__all__ = ["SiteOverride", "with_rate"]

_RATES = {F.multi_head_attention_forward: ("dropout_p", 10), F.scaled_dot_product_attention: ("dropout_p", 4)}
_RECURRENT = (torch.lstm, torch.gru, torch.rnn_tanh, torch.rnn_relu)


class SiteOverride(NamedTuple):
    """What a site does instead of what the model's code says.

    Attributes:
        rate: probability of dropping, in [0, 1].
        shared: axes whose elements share one decision, of a site that drops element by element; None leaves it so.
    """

    rate: float
    shared: tuple[int, ...] | None = None


def with_rate(
    function: Callable[..., object], args: tuple[object, ...], kwargs: Mapping[str, object], rate: float
) -> tuple[tuple[object, ...], Mapping[str, object]]:
    """The arguments of a torch function that drops, with another rate.

    Args:
        function: a function of :data:`thinned.tracing.torch_functions.BINDERS`.
        args: its positional arguments.
        kwargs: its keyword arguments.
        rate: the rate.
    """
    assert function in BINDERS  # noqa: S101 - the caller has looked
    if function in _RECURRENT:
        position = 5 if isinstance(args[3], bool) else 6  # of padded and of packed sequences
        return (*args[:position], rate, *args[position + 1 :]), kwargs
    name, position = _RATES.get(function, ("p", 1))
    if len(args) > position:
        return (*args[:position], rate, *args[position + 1 :]), kwargs
    return args, {**kwargs, name: rate}
