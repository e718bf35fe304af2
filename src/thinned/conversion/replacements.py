"""Our replacement of every torch function that drops. Each takes the arguments of the function that it replaces.

Its first argument gives the next mask's address: keyword arguments of a functional form, none where the key is drawn.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Concatenate, cast

import torch
import torch.nn.functional as F

from thinned import functional, ops
from thinned.conversion.attention import multi_head_attention, scaled_dot_product_attention
from thinned.conversion.forward_pass import KeyAndCall, NextAddress, SiteAddress
from thinned.errors import sentence
from thinned.tracing.torch_functions import Recurrent

__all__ = ["REPLACEMENTS", "NextAddress", "Replacement", "run_layer_by_layer"]

Replacement = Callable[Concatenate[NextAddress, ...], object]
Dropout = Callable[[NextAddress, torch.Tensor, float, bool, bool], torch.Tensor]


def _dropout(
    next_address: NextAddress,
    input: torch.Tensor,  # noqa: A002
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,
) -> torch.Tensor:
    return functional.dropout(input, p, training, inplace, **next_address())


def _alpha_dropout(
    next_address: NextAddress,
    input: torch.Tensor,  # noqa: A002
    p: float = 0.5,
    training: bool = False,
    inplace: bool = False,
) -> torch.Tensor:
    return functional.alpha_dropout(input, p, training, inplace, **next_address())


def _whole_channels(address: SiteAddress) -> KeyAndCall:
    """The address of a function that drops whole channels, whose form never changes."""
    kept: KeyAndCall = {}
    if "key" in address:
        kept["key"] = address["key"]
    if "call" in address:  # a sub-network's mask has a source for a key, and no call
        kept["call"] = address["call"]
    return kept


def _feature_alpha_dropout(
    next_address: NextAddress,
    input: torch.Tensor,  # noqa: A002
    p: float = 0.5,
    training: bool = False,
    inplace: bool = False,
) -> torch.Tensor:
    return functional.feature_alpha_dropout(input, p, training, inplace, **_whole_channels(next_address()))


def _feature_dropout(
    next_address: NextAddress,
    input: torch.Tensor,  # noqa: A002
    p: float,
    training: bool,
    inplace: bool,
) -> torch.Tensor:
    address = _whole_channels(next_address())
    return functional.dropout(input, p, training, inplace, shared=range(2, input.ndim), **address)


def _spatial(dropout: Callable[..., torch.Tensor]) -> Replacement:
    def replacement(
        next_address: NextAddress,
        input: torch.Tensor,  # noqa: A002
        p: float = 0.5,
        training: bool = True,
        inplace: bool = False,
    ) -> torch.Tensor:
        return dropout(input, p, training, inplace, **next_address())

    return replacement


def _three_arguments(dropout: Dropout, *, inplace: bool) -> Replacement:
    """``torch.dropout`` and its like, by the form in ``torch.nn.functional``."""

    def replacement(next_address: NextAddress, input: torch.Tensor, p: float, train: bool) -> torch.Tensor:  # noqa: A002
        return dropout(next_address, input, p, train, inplace)

    return replacement


def _recurrent(function: Callable[..., object]) -> Replacement:
    def replacement(next_address: NextAddress, *args: object) -> object:
        return run_layer_by_layer(function, next_address, args)

    return replacement


def run_layer_by_layer(function: Callable[..., object], next_address: NextAddress, args: tuple[object, ...]) -> object:
    """Run a recurrent module one layer at a time with the same weights, and drop between them.

    Args:
        function: ``torch.lstm``, ``gru``, ``rnn_tanh`` or ``rnn_relu``, or what stands in place of it.
        next_address: of the masks.
        args: of the function.

    Raises:
        NotImplementedError: a packed sequence is to be dropped in parts.
    """
    call = Recurrent.bind(*args)
    addresses = [next_address() for _ in range(call.num_layers - 1)]
    rate: object = call.p
    drops = isinstance(rate, torch.Tensor) or bool(rate)  # a tensor's number is not known under vmap
    if not (call.training and drops and addresses):
        return function(*args)
    if call.batch_sizes is not None and ops.placement() is not None:
        requirement = "dropout in parts needs padded sequences"
        raise NotImplementedError(sentence(requirement, "got a packed sequence", "pad it, or drop without parts"))
    directions, each = 1 + call.bidirectional, len(call.weights) // call.num_layers
    x = call.input
    last: list[list[torch.Tensor]] = []
    for layer in range(call.num_layers):
        if layer:
            x = functional.dropout(x, call.p, **addresses[layer - 1])
        states = [state[layer * directions : (layer + 1) * directions] for state in call.states]
        hidden = tuple(states) if call.several_states else states[0]
        weights = list(call.weights[layer * each : (layer + 1) * each])
        options = (call.has_biases, 1, 0.0, call.training, call.bidirectional)
        if call.batch_sizes is None:
            outputs = function(x, hidden, weights, *options, call.batch_first)
        else:
            outputs = function(x, call.batch_sizes, hidden, weights, *options)
        x, *states = cast("Iterable[torch.Tensor]", outputs)
        last.append(states)
    return (x, *(torch.cat(state) for state in zip(*last, strict=True)))


REPLACEMENTS: Mapping[Callable[..., object], Replacement] = {
    F.dropout: _dropout,
    F.dropout1d: _spatial(functional.dropout1d),
    F.dropout2d: _spatial(functional.dropout2d),
    F.dropout3d: _spatial(functional.dropout3d),
    F.alpha_dropout: _alpha_dropout,
    F.feature_alpha_dropout: _feature_alpha_dropout,
    torch.dropout: _three_arguments(_dropout, inplace=False),
    torch.dropout_: _three_arguments(_dropout, inplace=True),
    torch.alpha_dropout: _three_arguments(_alpha_dropout, inplace=False),
    torch.alpha_dropout_: _three_arguments(_alpha_dropout, inplace=True),
    torch.feature_dropout: _three_arguments(_feature_dropout, inplace=False),
    torch.feature_dropout_: _three_arguments(_feature_dropout, inplace=True),
    torch.feature_alpha_dropout: _three_arguments(_feature_alpha_dropout, inplace=False),
    torch.feature_alpha_dropout_: _three_arguments(_feature_alpha_dropout, inplace=True),
    F.scaled_dot_product_attention: scaled_dot_product_attention,
    F.multi_head_attention_forward: multi_head_attention,
    torch.lstm: _recurrent(torch.lstm),
    torch.gru: _recurrent(torch.gru),
    torch.rnn_tanh: _recurrent(torch.rnn_tanh),
    torch.rnn_relu: _recurrent(torch.rnn_relu),
}
