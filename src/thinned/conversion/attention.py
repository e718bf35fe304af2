"""Our replacements of torch's attention functions, whose dropout acts on the attention weights."""

import threading
import types

import torch
import torch.nn.functional as F

from thinned import functional
from thinned.conversion.forward_pass import NextAddress, SiteAddress
from thinned.tracing.torch_functions import BINDERS, with_rate

__all__ = ["multi_head_attention", "scaled_dot_product_attention"]


def scaled_dot_product_attention(
    next_address: NextAddress,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float | torch.Tensor = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> torch.Tensor:
    """Run attention with dropout of ours on its weights; torch's own where nothing is dropped."""
    address = next_address()
    if not isinstance(dropout_p, torch.Tensor) and not dropout_p:
        return F.scaled_dot_product_attention(
            query, key, value, attn_mask, 0.0, is_causal, scale=scale, enable_gqa=enable_gqa
        )
    return functional.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask,
        dropout_p,
        is_causal,
        scale,
        enable_gqa,
        dropout_key=address.get("key"),
        dropout_call=address.get("call", 0),
    )


class _MultiHeadCall(threading.local):
    """The call of ``multi_head_attention_forward`` that this thread runs.

    Attributes:
        next_address: of its mask.
        batch: number of examples; batch and heads are one axis within.
        rate: that of each member of a stack, which torch's own code can't compare with 0; None where it is a number.
    """

    def __init__(self) -> None:
        self.next_address: NextAddress = SiteAddress
        self.batch = 1
        self.rate: torch.Tensor | None = None

    def given_rate(self, p: float) -> float | torch.Tensor:
        """The rate where torch's code drops with ``p``."""
        return p if self.rate is None or not p else self.rate


_multi_head_call = _MultiHeadCall()


def multi_head_attention(next_address: NextAddress, *args: object, **kwargs: object) -> object:
    """Run ``F.multi_head_attention_forward`` with dropout of ours on its attention weights."""
    query = args[0] if args else kwargs["query"]
    assert isinstance(query, torch.Tensor)  # noqa: S101 - torch's own function, which has been bound
    call = _multi_head_call
    before = call.next_address, call.batch, call.rate
    call.next_address, call.batch, call.rate = next_address, query.shape[1] if query.ndim == 3 else 1, None
    rate: object = BINDERS[F.multi_head_attention_forward](*args, **kwargs).p
    if isinstance(rate, torch.Tensor):
        call.rate = rate
        args, kwargs = with_rate(F.multi_head_attention_forward, args, kwargs, 1.0)  # type: ignore[assignment]
    try:
        return _multi_head_attention_forward(*args, **kwargs)
    finally:
        call.next_address, call.batch, call.rate = before


def _weights_dropout(
    input: torch.Tensor,  # noqa: A002
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,
) -> torch.Tensor:
    weights = input.reshape(_multi_head_call.batch, -1, *input.shape[1:])
    address = _multi_head_call.next_address()
    rate = _multi_head_call.given_rate(p)
    return functional.dropout(weights, rate, training, inplace, **address).flatten(0, 1)


def _heads_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None,
    dropout_p: float,
    is_causal: bool,
) -> torch.Tensor:
    rate = _multi_head_call.given_rate(dropout_p)
    return scaled_dot_product_attention(_multi_head_call.next_address, query, key, value, attn_mask, rate, is_causal)


def _no_torch_function(tensors: object) -> bool:  # noqa: ARG001 - the signature of torch's
    return False


# F.multi_head_attention_forward itself, run with other globals: a copy of its 300 lines would go stale. Checked with
# torch 2.13; a version whose function drops elsewhere fails in tests/conversion/test_convert.py.
_multi_head_attention_forward = types.FunctionType(
    F.multi_head_attention_forward.__code__,
    vars(F)
    | {
        "dropout": _weights_dropout,
        "scaled_dot_product_attention": _heads_attention,
        "has_torch_function": _no_torch_function,
    },
    "multi_head_attention_forward",
    F.multi_head_attention_forward.__defaults__,
)
_multi_head_attention_forward.__kwdefaults__ = F.multi_head_attention_forward.__kwdefaults__
