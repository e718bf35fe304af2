"""The functions of torch that drop, and the masks that a call of each one draws.

Each binder has the signature of its function, so that calling it binds the arguments.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F

__all__ = ["BINDERS", "NOISE", "DropoutCall", "Recurrent", "with_rate"]


class DropoutCall(NamedTuple):
    """One call of a torch function that drops.

    Attributes:
        kind: "functional", "attention" or "rnn".
        p: probability of dropping.
        active: training flag of the call.
        shapes: shapes of the dropped tensors, one for each mask that the call draws.
    """

    kind: str
    p: float
    active: bool
    shapes: tuple[tuple[int, ...], ...]


def _functional(training: bool) -> Callable[..., DropoutCall]:
    def bind(input: torch.Tensor, p: float = 0.5, training: bool = training, inplace: bool = False) -> DropoutCall:  # noqa: A002, ARG001
        return DropoutCall("functional", p, training, (tuple(input.shape),))

    return bind


def _plain(input: torch.Tensor, p: float, train: bool) -> DropoutCall:  # noqa: A002
    return DropoutCall("functional", p, train, (tuple(input.shape),))


def _attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,  # noqa: ARG001
    attn_mask: torch.Tensor | None = None,  # noqa: ARG001
    dropout_p: float = 0.0,
    is_causal: bool = False,  # noqa: ARG001
    **_: object,
) -> DropoutCall:
    return DropoutCall("attention", dropout_p, True, ((*query.shape[:-1], key.shape[-2]),))


def _multi_head(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,  # noqa: ARG001
    embed_dim_to_check: int,  # noqa: ARG001
    num_heads: int,
    in_proj_weight: object,  # noqa: ARG001
    in_proj_bias: object,  # noqa: ARG001
    bias_k: torch.Tensor | None,
    bias_v: object,  # noqa: ARG001
    add_zero_attn: bool,
    dropout_p: float,
    *_: object,
    training: bool = True,
    **__: object,
) -> DropoutCall:
    batch = query.shape[1] if query.ndim == 3 else 1
    keys = key.shape[0] + (bias_k is not None) + add_zero_attn
    return DropoutCall("attention", dropout_p, training, ((batch, num_heads, query.shape[0], keys),))


class Recurrent(NamedTuple):
    """The arguments of ``torch.lstm``, ``gru``, ``rnn_tanh`` and ``rnn_relu``, which come in two orders."""

    input: torch.Tensor
    batch_sizes: torch.Tensor | None  # of a packed sequence
    hidden: torch.Tensor | Sequence[torch.Tensor]
    weights: Sequence[torch.Tensor]
    has_biases: bool
    num_layers: int
    p: float
    training: bool
    bidirectional: bool
    batch_first: bool

    @classmethod
    def bind(cls, *args: object) -> "Recurrent":
        """Bind positional arguments, as ``torch.nn.RNNBase`` passes them."""
        ordered = (args[0], None, *args[1:]) if isinstance(args[3], bool) else (*args, False)
        return cls(*cast("tuple[Any, ...]", ordered))

    @property
    def several_states(self) -> bool:
        """True where the hidden state is a sequence of tensors, as an LSTM's is."""
        return not isinstance(self.hidden, torch.Tensor)

    @property
    def states(self) -> tuple[torch.Tensor, ...]:
        """The hidden states."""
        return (self.hidden,) if isinstance(self.hidden, torch.Tensor) else tuple(self.hidden)

    def dropped(self) -> tuple[int, ...]:
        """The shape that is dropped between two layers."""
        return (*self.input.shape[:-1], self.states[0].shape[-1] * (1 + self.bidirectional))


def _recurrent(*args: object) -> DropoutCall:
    call = Recurrent.bind(*args)
    return DropoutCall("rnn", call.p, call.training, (call.dropped(),) * (call.num_layers - 1))


BINDERS: Mapping[Callable[..., object], Callable[..., DropoutCall]] = {
    F.dropout: _functional(True),
    F.dropout1d: _functional(True),
    F.dropout2d: _functional(True),
    F.dropout3d: _functional(True),
    F.alpha_dropout: _functional(False),
    F.feature_alpha_dropout: _functional(False),
    torch.dropout: _plain,
    torch.dropout_: _plain,
    torch.alpha_dropout: _plain,
    torch.alpha_dropout_: _plain,
    torch.feature_dropout: _plain,
    torch.feature_dropout_: _plain,
    torch.feature_alpha_dropout: _plain,
    torch.feature_alpha_dropout_: _plain,
    F.scaled_dot_product_attention: _attention,
    F.multi_head_attention_forward: _multi_head,
    torch.lstm: _recurrent,
    torch.gru: _recurrent,
    torch.rnn_tanh: _recurrent,
    torch.rnn_relu: _recurrent,
}

_RECURRENT = (torch.lstm, torch.gru, torch.rnn_tanh, torch.rnn_relu)
_RATES = {F.multi_head_attention_forward: ("dropout_p", 10), F.scaled_dot_product_attention: ("dropout_p", 4)}


def with_rate(
    function: Callable[..., object], args: tuple[object, ...], kwargs: Mapping[str, object], rate: float | torch.Tensor
) -> tuple[tuple[object, ...], Mapping[str, object]]:
    """The arguments of a torch function that drops, with another rate.

    Args:
        function: a function of :data:`BINDERS`.
        args: its positional arguments.
        kwargs: its keyword arguments.
        rate: the rate.
    """
    if function in _RECURRENT:
        position = 5 if isinstance(args[3], bool) else 6  # of padded and of packed sequences
        return (*args[:position], rate, *args[position + 1 :]), kwargs
    name, position = _RATES.get(function, ("p", 1))
    if len(args) > position:
        return (*args[:position], rate, *args[position + 1 :]), kwargs
    return args, {**kwargs, name: rate}


#: functions that draw random numbers without being dropout: noise of a model's own, which nobody can convert
NOISE = frozenset(
    {
        torch.bernoulli,
        torch.normal,
        torch.rand,
        torch.rand_like,
        torch.randint,
        torch.randint_like,
        torch.randn,
        torch.randn_like,
        torch.randperm,
        torch.multinomial,
        torch.native_dropout,
        torch.Tensor.bernoulli,
        torch.Tensor.bernoulli_,
        torch.Tensor.cauchy_,
        torch.Tensor.exponential_,
        torch.Tensor.geometric_,
        torch.Tensor.log_normal_,
        torch.Tensor.multinomial,
        torch.Tensor.normal_,
        torch.Tensor.uniform_,
        F.rrelu,
        F.gumbel_softmax,
    }
)
