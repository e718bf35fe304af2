"""Multi-head attention with addressed dropout on the attention weights."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from thinned import functional
from thinned.errors import sentence
from thinned.functional.attention import attention_weights
from thinned.layers.base import Addressed
from thinned.ops import torch_private

__all__ = ["MultiheadAttention"]

Qkv = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


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
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """As ``torch.nn.MultiheadAttention.forward``; returned weights are those after dropout, as there."""
        rate = self._rate
        if not self.training or (not isinstance(rate, torch.Tensor) and rate == 0):
            return super().forward(
                query, key, value, key_padding_mask, need_weights, attn_mask, average_attn_weights, is_causal
            )
        if is_causal and attn_mask is None:
            raise RuntimeError(sentence("is_causal needs attn_mask, which it is a hint about", "got attn_mask=None"))
        same = query is key is value
        batched = torch_private.check_attention_shapes(
            query, key, value, key_padding_mask, attn_mask, num_heads=self.num_heads
        )
        if self.batch_first and batched:
            query, key, value = query.transpose(0, 1), key.transpose(0, 1), value.transpose(0, 1)
        if not batched:
            query, key, value = query.unsqueeze(1), key.unsqueeze(1), value.unsqueeze(1)
            key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
        only_causal = is_causal and key_padding_mask is None and not need_weights
        if not only_causal:  # where it is a hint, torch does not look at the mask either
            self._check_masks(attn_mask, key_padding_mask, query.shape[:2], key.shape[0])
        heads = self._heads(self._projected(query, key, value, same))
        mask = None if only_causal else self._mask(attn_mask, key_padding_mask, heads)
        output, weights = self._attend(heads, mask, only_causal, need_weights)
        output = self.out_proj(output.permute(2, 0, 1, 3).flatten(2))
        if weights is not None and average_attn_weights:
            weights = weights.mean(1)
        if not batched:
            return output.squeeze(1), None if weights is None else weights.squeeze(0)
        return output.transpose(0, 1) if self.batch_first else output, weights

    def _projected(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, same: bool) -> Qkv:
        """The input projections, with the appended learned key and value, ``(L, N, E)``."""
        biases = (None,) * 3 if self.in_proj_bias is None else self.in_proj_bias.chunk(3)
        if not self._qkv_same_embed_dim:
            weights: tuple[torch.Tensor, ...] = self.q_proj_weight, self.k_proj_weight, self.v_proj_weight
        else:
            weights = self.in_proj_weight.chunk(3)
        if self._qkv_same_embed_dim and same:  # one product instead of three
            q, k, v = F.linear(query, self.in_proj_weight, self.in_proj_bias).chunk(3, -1)
        else:
            q, k, v = map(F.linear, (query, key, value), weights, biases)
        if self.bias_k is not None and self.bias_v is not None:
            k = torch.cat([k, self.bias_k.expand(1, k.shape[1], -1)])
            v = torch.cat([v, self.bias_v.expand(1, v.shape[1], -1)])
        if self.add_zero_attn:
            k, v = (F.pad(t, (0, 0, 0, 0, 0, 1)) for t in (k, v))
        return q, k, v

    def _heads(self, projected: Qkv) -> Qkv:
        """``(L, N, E)`` to ``(N, heads, L, E / heads)``."""
        return tuple(t.view(*t.shape[:2], self.num_heads, -1).permute(1, 2, 0, 3) for t in projected)  # type: ignore[return-value]

    def _check_masks(
        self,
        attn_mask: torch.Tensor | None,
        key_padding_mask: torch.Tensor | None,
        rows: torch.Size,
        keys: int,
    ) -> None:
        """Raise the types of error that torch raises for masks of the wrong size; ``rows`` is ``(L, N)``."""
        length, batch = rows
        if key_padding_mask is not None and key_padding_mask.shape != (batch, keys):
            shape = f"got {tuple(key_padding_mask.shape)}"
            raise AssertionError(sentence(f"key_padding_mask must have the shape {(batch, keys)}", shape))
        if attn_mask is None:
            return
        expected = (length, keys) if attn_mask.ndim == 2 else (batch * self.num_heads, length, keys)
        if attn_mask.shape != expected:
            shape = f"got {tuple(attn_mask.shape)}"
            raise RuntimeError(sentence(f"attn_mask must have the shape {expected}", shape))

    def _mask(
        self, attn_mask: torch.Tensor | None, key_padding_mask: torch.Tensor | None, heads: Qkv
    ) -> torch.Tensor | None:
        """Both masks as one that is added to the scores, padded for appended keys; True means "do not look"."""
        query, key, _ = heads
        masks = []
        for mask, name in ((attn_mask, "attn_mask"), (key_padding_mask, "key_padding_mask")):
            if mask is None:
                continue
            if mask.dtype != torch.bool and not mask.is_floating_point():
                raise AssertionError(sentence(f"{name} must be bool or floating-point", f"got {mask.dtype}"))
            if mask.dtype == torch.bool:
                mask = torch.zeros_like(mask, dtype=query.dtype).masked_fill_(mask, -math.inf)  # noqa: PLW2901
            mask = F.pad(mask.to(query.dtype), (0, key.shape[-2] - mask.shape[-1]))  # noqa: PLW2901
            if name == "key_padding_mask":
                masks.append(mask[:, None, None])
            else:
                masks.append(mask if mask.ndim == 2 else mask.view(-1, self.num_heads, *mask.shape[1:]))
        return sum(masks[1:], masks[0]) if masks else None

    def _attend(
        self, heads: Qkv, mask: torch.Tensor | None, causal: bool, need_weights: bool
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
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
