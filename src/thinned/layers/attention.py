"""Multi-head attention with addressed dropout: on the attention weights, or of whole heads."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from thinned import functional
from thinned.errors import sentence
from thinned.functional.attention import attend_kept, attention_weights
from thinned.functional.selection import Selection, can_select, select
from thinned.layers.base import Addressed
from thinned.ops import torch_private

__all__ = ["DropHead", "MultiheadAttention", "ThinnedAttention"]

Qkv = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
Attended = tuple[torch.Tensor, torch.Tensor | None]


class Operands(NamedTuple):
    """The arguments of multi-head attention.

    Attributes:
        query: ``(L, N, E)``, but as given perhaps ``batch_first``, or without an axis of samples.
        key: ``(S, N, E)``, likewise.
        value: ``(S, N, E)``, likewise.
        attn_mask: ``(L, S)`` or ``(N · heads, L, S)``.
        key_padding_mask: ``(N, S)``.
        same: all three are one tensor.
    """

    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor
    attn_mask: torch.Tensor | None
    key_padding_mask: torch.Tensor | None
    same: bool

    def batched(self, num_heads: int) -> bool:
        """True where there is an axis of samples. Raise torch's own error where shapes don't fit."""
        return torch_private.check_attention_shapes(
            self.query, self.key, self.value, self.key_padding_mask, self.attn_mask, num_heads=num_heads
        )

    def time_first(self, batched: bool, batch_first: bool) -> "Operands":
        """The same with the axes ``(L, N, E)``."""
        if batched and not batch_first:
            return self
        given = self.query, self.key, self.value
        axes = [part.transpose(0, 1) if batched else part.unsqueeze(1) for part in given[: 1 if self.same else 3]]
        query, key, value = axes * 3 if self.same else axes
        padding = self.key_padding_mask
        padding = padding if batched or padding is None else padding.unsqueeze(0)
        return Operands(query, key, value, self.attn_mask, padding, self.same)


def _as_given(output: torch.Tensor, weights: torch.Tensor | None, batched: bool, batch_first: bool) -> Attended:
    """``(L, N, E)`` and weights with the axes that the input had."""
    if not batched:
        return output.squeeze(1), None if weights is None else weights.squeeze(0)
    return output.transpose(0, 1) if batch_first else output, weights


def _check_masks(given: Operands, num_heads: int) -> None:
    """Raise the types of error that torch raises for masks of the wrong size."""
    (length, batch), keys = given.query.shape[:2], given.key.shape[0]
    padding, attn_mask = given.key_padding_mask, given.attn_mask
    if padding is not None and padding.shape != (batch, keys):
        shape = f"got {tuple(padding.shape)}"
        raise AssertionError(sentence(f"key_padding_mask must have the shape {(batch, keys)}", shape))
    if attn_mask is None:
        return
    expected = (length, keys) if attn_mask.ndim == 2 else (batch * num_heads, length, keys)
    if attn_mask.shape != expected:
        raise RuntimeError(sentence(f"attn_mask must have the shape {expected}", f"got {tuple(attn_mask.shape)}"))


def _added_mask(given: Operands, dtype: torch.dtype, keys: int, num_heads: int) -> torch.Tensor | None:
    """Both masks as one that is added to the scores, padded for appended keys; True means "do not look"."""
    masks = []
    for mask, name in ((given.attn_mask, "attn_mask"), (given.key_padding_mask, "key_padding_mask")):
        if mask is None:
            continue
        if mask.dtype != torch.bool and not mask.is_floating_point():
            raise AssertionError(sentence(f"{name} must be bool or floating-point", f"got {mask.dtype}"))
        if mask.dtype == torch.bool:
            mask = torch.zeros_like(mask, dtype=dtype).masked_fill_(mask, -math.inf)  # noqa: PLW2901
        mask = F.pad(mask.to(dtype), (0, keys - mask.shape[-1]))  # noqa: PLW2901
        if name == "key_padding_mask":
            masks.append(mask[:, None, None])
        else:
            masks.append(mask if mask.ndim == 2 else mask.view(given.query.shape[1], num_heads, *mask.shape[1:]))
    return sum(masks[1:], masks[0]) if masks else None


class MultiheadAttention(Addressed, nn.MultiheadAttention):
    """Drop-in replacement for ``torch.nn.MultiheadAttention`` (Vaswani et al. 2017), state dict included.

    Dropout acts on the attention weights, each its own decision at the index ``(batch, head, query, key)``; with
    ``need_weights=False`` the weights are never stored. In evaluation, torch's own code runs. Put it wherever
    ``nn.MultiheadAttention`` stands, with a low rate (0.1); not where sequences are short, since a lost weight is a
    lost word: there, drop the block's output (``DropoutAdd``).

    Args:
        embed_dim: width of the model. All arguments are those of ``nn.MultiheadAttention``.
        num_heads: number of heads.
        dropout: probability of dropping an attention weight, in [0, 1].
        bias: biases of the projections.
        add_bias_kv: a learned key and value appended.
        add_zero_attn: a zero key and value appended.
        kdim: width of keys.
        vdim: width of values.
        batch_first: ``(N, L, E)`` instead of ``(L, N, E)``.
        device: device of the parameters.
        dtype: dtype of the parameters.

    Shape:
        - Input: as for ``nn.MultiheadAttention``; no attention weights share a decision.
        - Output: as for ``nn.MultiheadAttention``.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        nn.MultiheadAttention.__init__(
            self,
            embed_dim,
            num_heads,
            dropout,
            bias,
            add_bias_kv,
            add_zero_attn,
            kdim,
            vdim,
            batch_first,
            device,
            dtype,
        )
        self._set_up(dropout)

    @property
    def p(self) -> float:
        """The rate, ``dropout`` in torch."""
        return float(self.dropout)

    @p.setter
    def p(self, value: float) -> None:
        self.dropout = value

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        key_padding_mask: torch.Tensor | None = None,
        need_weights: bool = True,
        attn_mask: torch.Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> Attended:
        """As ``torch.nn.MultiheadAttention.forward``; returned weights are those after dropout, as there."""
        rate = self._rate
        if not self.training or (not isinstance(rate, torch.Tensor) and rate == 0):
            return super().forward(
                query, key, value, key_padding_mask, need_weights, attn_mask, average_attn_weights, is_causal
            )
        if is_causal and attn_mask is None:
            raise RuntimeError(sentence("is_causal needs attn_mask, which it is a hint about", "got attn_mask=None"))
        given = Operands(query, key, value, attn_mask, key_padding_mask, query is key is value)
        batched = given.batched(self.num_heads)
        given = given.time_first(batched, self.batch_first)
        only_causal = is_causal and key_padding_mask is None and not need_weights
        if not only_causal:  # where it is a hint, torch does not look at the mask either
            _check_masks(given, self.num_heads)
        heads = self._heads(self._projected(given))
        mask = None if only_causal else _added_mask(given, heads[0].dtype, heads[1].shape[-2], self.num_heads)
        output, weights = self._attend(heads, mask, only_causal, need_weights)
        output = self.out_proj(output.permute(2, 0, 1, 3).flatten(2))
        if weights is not None and average_attn_weights:
            weights = weights.mean(1)
        return _as_given(output, weights, batched, self.batch_first)

    def _projected(self, given: Operands) -> Qkv:
        """The input projections, with the appended learned key and value, ``(L, N, E)``."""
        biases = (None,) * 3 if self.in_proj_bias is None else self.in_proj_bias.chunk(3)
        if not self._qkv_same_embed_dim:
            weights: tuple[torch.Tensor, ...] = self.q_proj_weight, self.k_proj_weight, self.v_proj_weight
        else:
            weights = self.in_proj_weight.chunk(3)
        if self._qkv_same_embed_dim and given.same:  # one product instead of three
            q, k, v = F.linear(given.query, self.in_proj_weight, self.in_proj_bias).chunk(3, -1)
        else:
            q, k, v = map(F.linear, (given.query, given.key, given.value), weights, biases)
        if self.bias_k is not None and self.bias_v is not None:
            k = torch.cat([k, self.bias_k.expand(1, k.shape[1], -1)])
            v = torch.cat([v, self.bias_v.expand(1, v.shape[1], -1)])
        if self.add_zero_attn:
            k, v = (F.pad(t, (0, 0, 0, 0, 0, 1)) for t in (k, v))
        return q, k, v

    def _heads(self, projected: Qkv) -> Qkv:
        """``(L, N, E)`` to ``(N, heads, L, E / heads)``."""
        return tuple(t.view(*t.shape[:2], self.num_heads, self.head_dim).permute(1, 2, 0, 3) for t in projected)  # type: ignore[return-value]

    def _attend(self, heads: Qkv, mask: torch.Tensor | None, causal: bool, need_weights: bool) -> Attended:
        query, key, value = heads
        address = self._mask_address
        if not need_weights:
            output = functional.scaled_dot_product_attention(
                query,
                key,
                value,
                mask,
                self._rate,
                causal,
                dropout_key=address["key"],
                dropout_call=address["call"],
            )
            return output, None
        weights = attention_weights(query, key, mask, False, 1 / math.sqrt(query.shape[-1]))
        weights = functional.dropout(weights, self._rate, **address)
        return weights @ value, weights


class DropHead(Addressed):
    """Whole attention heads, for all samples of the mini-batch (DropHead: Zhou et al. 2020).

    Survivors are scaled by heads / kept heads, as in the paper. To draw for each sample, as published code does, is
    another regulariser: there the noise averages over the batch. Put it on what the heads give, before the output
    projection, or take :class:`ThinnedAttention`, which does not compute dropped heads; not where there are so few
    heads that often none is kept (with the probability p^heads), which leaves zeros.

    Args:
        p: probability of dropping a head, in [0, 1].

    Shape:
        - Input: ``(*, heads, L, E)``; all samples, positions and features of a head share a decision.
        - Output: ``(*, heads, L, E)``, as the input.

    Raises:
        ValueError: ``p`` lies outside [0, 1].
        RuntimeError: in training, the input has fewer than 3 dimensions.
    """

    def __init__(self, p: float = 0.1) -> None:
        super().__init__(p)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Drop in training, pass ``input`` through in evaluation."""
        return functional.drop_head(input, self._rate, self.training, **self._mask_address)

    def extra_repr(self) -> str:
        """Rate."""
        return f"p={self.p}"


class ThinnedAttention(nn.Module):
    """Multi-head attention whose dropped heads are not computed, nor projected to (DropHead: Zhou et al. 2020).

    All samples of a mini-batch share the decision of a head, so that about 1 − p of the layer's work is done, forward
    and backward. The result is that of the masked layers (:class:`DropHead` before the output projection) at the same
    address, to the rounding of shorter sums; gradients of dropped heads are zeros. Parameters, state dict and
    evaluation are those of ``torch.nn.MultiheadAttention``. Put it where that stands and attention is long or wide; not
    for dropout of attention weights, which is another regulariser (:class:`MultiheadAttention`).

    With ``need_weights=True``, under ``torch.func``, ``torch.export`` and ``torch.jit.trace``, and with hooks on its
    :class:`DropHead`, all heads are computed and masked; returned weights are those of all heads, none dropped.

    Args:
        embed_dim: width of the model, also of keys and values.
        num_heads: number of heads, of ``embed_dim / num_heads`` features each.
        p: probability of dropping a head, in [0, 1].
        bias: biases of the projections.
        batch_first: ``(N, L, E)`` instead of ``(L, N, E)``.

    Attributes:
        head_dropout: the :class:`DropHead`, which sees ones, for its mask.

    Shape:
        - Input: as for ``nn.MultiheadAttention``; all samples share the decision of a head.
        - Output: as for ``nn.MultiheadAttention``.

    Raises:
        ValueError: ``p`` lies outside [0, 1], or ``embed_dim`` is not a multiple of ``num_heads``.
    """

    def __init__(
        self, embed_dim: int, num_heads: int, p: float = 0.1, bias: bool = True, batch_first: bool = False
    ) -> None:
        super().__init__()
        if num_heads < 1 or embed_dim % num_heads:
            got = f"got embed_dim={embed_dim} and num_heads={num_heads}"
            raise ValueError(sentence("embed_dim must be a multiple of num_heads", got))
        whole = nn.MultiheadAttention(embed_dim, num_heads, bias=bias)  # its parameters, as it initialises them
        self.in_proj_weight, self.in_proj_bias, self.out_proj = whole.in_proj_weight, whole.in_proj_bias, whole.out_proj
        self.embed_dim, self.num_heads, self.batch_first = embed_dim, num_heads, batch_first
        self._qkv_same_embed_dim = True  # nn.TransformerEncoderLayer asks
        self.head_dropout = DropHead(p)

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        key_padding_mask: torch.Tensor | None = None,
        need_weights: bool = True,
        attn_mask: torch.Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> Attended:
        """As ``torch.nn.MultiheadAttention.forward``; pass ``need_weights=False`` to compute kept heads only."""
        given = Operands(query, key, value, attn_mask, key_padding_mask, query is key is value)
        batched = given.batched(self.num_heads)
        given = given.time_first(batched, self.batch_first)
        factors: torch.Tensor | None = None
        if self.training:
            drop = self.head_dropout
            masked = need_weights or torch_private.any_hook(drop) or torch_private.captures_sizes()
            masked = masked or not can_select(drop.rate, drop.key)
            # where heads are left out, on the CPU: nobody waits for a device to know their number
            dtype = torch.float64 if query.dtype is torch.float64 else torch.float32
            ones = torch.ones(self.num_heads, 1, 1, dtype=dtype, device=query.device if masked else "cpu")
            with torch.no_grad():
                factors = drop(ones).flatten()
            if not masked:
                kept = select(factors, query.device)
                if kept.places.shape[0] < self.num_heads:
                    output = self._kept_heads(given, kept, is_causal)
                    return _as_given(output, None, batched, self.batch_first)
                factors = None
        output, weights = self._whole(given, factors, need_weights, average_attn_weights, is_causal)
        return _as_given(output, weights, batched, self.batch_first)

    def _whole(
        self, given: Operands, factors: torch.Tensor | None, need_weights: bool, average: bool, is_causal: bool
    ) -> Attended:
        """All heads by torch's own code; a factor of a head is one of its columns in the output projection."""
        weight = self.out_proj.weight
        if factors is not None:
            weight = (weight * factors.repeat_interleave(self.embed_dim // self.num_heads)).to(weight.dtype)
        return F.multi_head_attention_forward(
            *(given.query, given.key, given.value),  # before 2.9, torch.compile knows no slice of a NamedTuple
            self.embed_dim,
            self.num_heads,
            self.in_proj_weight,
            self.in_proj_bias,
            None,
            None,
            False,
            0.0,
            weight,
            self.out_proj.bias,
            training=False,  # it drops no weights
            key_padding_mask=given.key_padding_mask,
            need_weights=need_weights,
            attn_mask=given.attn_mask,
            average_attn_weights=average,
            is_causal=is_causal,
        )

    def _kept_heads(self, given: Operands, kept: Selection, is_causal: bool) -> torch.Tensor:
        """The output of the kept heads alone, ``(L, N, E)``."""
        if is_causal and given.attn_mask is None:
            raise RuntimeError(sentence("is_causal needs attn_mask, which it is a hint about", "got attn_mask=None"))
        only_causal = is_causal and given.key_padding_mask is None
        if not only_causal:  # where it is a hint, torch does not look at the mask either
            _check_masks(given, self.num_heads)
        size = self.embed_dim // self.num_heads
        rows = (kept.places[:, None] * size + torch.arange(size, device=kept.places.device)).flatten()
        projected = self._projected(given, rows)
        q, k, v = (part.view(*part.shape[:2], kept.places.shape[0], size).permute(1, 2, 0, 3) for part in projected)
        mask = None if only_causal else _added_mask(given, q.dtype, k.shape[-2], self.num_heads)
        if mask is not None and mask.ndim == 4 and mask.shape[1] > 1:
            mask = mask.index_select(1, kept.places)
        output = attend_kept(q, k, v, mask, only_causal, None, kept.scales).permute(2, 0, 1, 3).flatten(2)
        return functional.thinned_linear(output, self.out_proj.weight, self.out_proj.bias, None, rows)

    def _projected(self, given: Operands, rows: torch.Tensor) -> Qkv:
        """Queries, keys and values of the kept heads, whose features are ``rows``."""
        if given.same:  # one product instead of three
            three = torch.cat([rows + number * self.embed_dim for number in range(3)])
            q, k, v = functional.thinned_linear(given.query, self.in_proj_weight, self.in_proj_bias, three).chunk(3, -1)
            return q, k, v
        biases = (None,) * 3 if self.in_proj_bias is None else self.in_proj_bias.chunk(3)
        parts = zip((given.query, given.key, given.value), self.in_proj_weight.chunk(3), biases, strict=True)
        return tuple(functional.thinned_linear(*part, rows) for part in parts)  # type: ignore[return-value]
