"""Our counterpart of every torch function that drops. Each has the signature of the function that it replaces.

``where`` gives the keyword arguments of the next mask: its address, or nothing where the key is to be drawn.
"""

import types
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from thinned import functional, ops
from thinned.errors import sentence
from thinned.tracing.torch_functions import Recurrent

__all__ = ["COUNTERPARTS", "Where", "layer_by_layer"]

Where = Callable[[], dict[str, Any]]


def _dropout(where: Where, input: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:  # noqa: A002
    return functional.dropout(input, p, training, inplace, **where())


def _alpha(
    where: Where,
    input: torch.Tensor,  # noqa: A002
    p: float = 0.5,
    training: bool = False,
    inplace: bool = False,
) -> Any:
    return functional.alpha_dropout(input, p, training, inplace, **where())


def _feature_alpha(
    where: Where,
    input: torch.Tensor,  # noqa: A002
    p: float = 0.5,
    training: bool = False,
    inplace: bool = False,
) -> Any:
    return functional.feature_alpha_dropout(input, p, training, inplace, **where())


def _of(function: Callable[..., Any], inplace: bool) -> Callable[..., Any]:
    """torch.dropout and its like, which have three arguments, by the form in torch.nn.functional."""

    def call(where: Where, input: torch.Tensor, p: float, train: bool) -> Any:  # noqa: A002
        return function(where, input, p, train, inplace)

    return call


def _spatial(function: Callable[..., torch.Tensor]) -> Callable[..., Any]:
    def call(where: Where, input: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:  # noqa: A002
        return function(input, p, training, inplace, **where())

    return call


def _feature(where: Where, input: torch.Tensor, p: float, train: bool, inplace: bool = False) -> Any:  # noqa: A002
    return functional.dropout(input, p, train, inplace, shared=range(2, input.ndim), **where())


def _attention(
    where: Where,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    **options: Any,
) -> torch.Tensor:
    address = where()
    if not dropout_p:
        return F.scaled_dot_product_attention(query, key, value, attn_mask, 0.0, is_causal, **options)
    renamed = {f"dropout_{name}": value for name, value in address.items()}
    return functional.scaled_dot_product_attention(
        query, key, value, attn_mask, dropout_p, is_causal, **options, **renamed
    )


def _multi_head(where: Where, *args: Any, **kwargs: Any) -> Any:
    query = args[0] if args else kwargs["query"]
    _stack.append((where, query.shape[1] if query.ndim == 3 else 1))
    try:
        return _multi_head_attention_forward(*args, **kwargs)
    finally:
        _stack.pop()


# F.multi_head_attention_forward itself, run with other globals: a copy of its 300 lines would go stale
_stack: list[tuple[Where, int]] = []  # with the size of the batch


def _inner_dropout(input: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:  # noqa: A002
    where, batch = _stack[-1]
    weights = input.reshape(batch, -1, *input.shape[1:])  # batch and heads are one axis here
    return _dropout(where, weights, p, training, inplace).flatten(0, 1)


def _inner_attention(*args: Any, **kwargs: Any) -> torch.Tensor:
    return _attention(_stack[-1][0], *args, **kwargs)


def _no_torch_function(tensors: object) -> bool:  # noqa: ARG001 - the signature of torch's
    return False


_multi_head_attention_forward = types.FunctionType(
    F.multi_head_attention_forward.__code__,
    vars(F)
    | {
        "dropout": _inner_dropout,
        "scaled_dot_product_attention": _inner_attention,
        "has_torch_function": _no_torch_function,
    },
    "multi_head_attention_forward",
    F.multi_head_attention_forward.__defaults__,
)
_multi_head_attention_forward.__kwdefaults__ = F.multi_head_attention_forward.__kwdefaults__


def _recurrent(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(where: Where, *args: Any) -> Any:
        return layer_by_layer(function, where, Recurrent.of(*args), args)

    return call


def layer_by_layer(function: Callable[..., Any], where: Where, call: Recurrent, args: tuple[Any, ...]) -> Any:
    """Run a recurrent module one layer at a time with the same weights, and drop between them."""
    addresses = [where() for _ in range(call.num_layers - 1)]
    if not (call.training and call.p and addresses):
        return function(*args)
    if call.batch_sizes is not None and ops.placement() is not None:
        raise NotImplementedError(
            sentence(
                "dropout in parts needs padded sequences", "got a packed sequence", "pad it, or drop without parts"
            )
        )
    states = call.hidden if isinstance(call.hidden, (tuple, list)) else (call.hidden,)
    directions, each = 1 + call.bidirectional, len(call.weights) // call.num_layers
    x, last = call.input, []
    for layer in range(call.num_layers):
        if layer:
            x = functional.dropout(x, call.p, **addresses[layer - 1])
        here = [state[layer * directions : (layer + 1) * directions] for state in states]
        hidden = tuple(here) if isinstance(call.hidden, (tuple, list)) else here[0]
        weights = list(call.weights[layer * each : (layer + 1) * each])
        options = (call.has_biases, 1, 0.0, call.training, call.bidirectional)
        if call.batch_sizes is None:
            x, *after = function(x, hidden, weights, *options, call.batch_first)
        else:
            x, *after = function(x, call.batch_sizes, hidden, weights, *options)
        last.append(after)
    return (x, *(torch.cat(state) for state in zip(*last, strict=True)))


COUNTERPARTS: dict[Any, Callable[..., Any]] = {
    F.dropout: _dropout,
    F.dropout1d: _spatial(functional.dropout1d),
    F.dropout2d: _spatial(functional.dropout2d),
    F.dropout3d: _spatial(functional.dropout3d),
    F.alpha_dropout: _alpha,
    F.feature_alpha_dropout: _feature_alpha,
    torch.dropout: _of(_dropout, False),
    torch.dropout_: _of(_dropout, True),
    torch.alpha_dropout: _of(_alpha, False),
    torch.alpha_dropout_: _of(_alpha, True),
    torch.feature_dropout: _of(_feature, False),
    torch.feature_dropout_: _of(_feature, True),
    torch.feature_alpha_dropout: _of(_feature_alpha, False),
    torch.feature_alpha_dropout_: _of(_feature_alpha, True),
    F.scaled_dot_product_attention: _attention,
    F.multi_head_attention_forward: _multi_head,
} | {function: _recurrent(function) for function in (torch.lstm, torch.gru, torch.rnn_tanh, torch.rnn_relu)}
