"""Dropout of words: token numbers, word vectors, or rows of an embedding's table."""

import torch
import torch.nn.functional as F

from thinned.errors import sentence
from thinned.functional.elementwise import checked_rate, dropout
from thinned.functional.structured import kept

__all__ = ["embedding", "word_dropout"]


def word_dropout(
    input: torch.Tensor,
    p: float | torch.Tensor = 0.1,
    training: bool = True,
    unk_index: int | None = None,
    padding_idx: int | None = None,
    *,
    key: int | torch.Tensor | None = None,
    call: int | torch.Tensor = 0,
) -> torch.Tensor:
    """Drop whole words: token numbers become ``unk_index``, or word vectors become 0 and the rest are scaled.

    Args:
        input: integer token numbers of any shape (Bowman et al. 2016), or word vectors ``(..., embedding)`` (Iyyer et
            al. 2015).
        p: probability of dropping a word.
        training: False returns ``input`` itself.
        unk_index: token number that replaces a dropped one.
        padding_idx: a token number that is never dropped.
        key: 64-bit key; None draws one.
        call: number of the training forward pass.

    Raises:
        ValueError: token numbers are given, and no ``unk_index``.
    """
    p = checked_rate(p)
    if not training:
        return input
    if input.is_floating_point():
        return dropout(input, p, shared=(-1,), key=key, call=call)
    if unk_index is None:
        raise ValueError(
            sentence(
                "token numbers need unk_index, the number of a dropped word", f"got {input.dtype} and unk_index=None"
            )
        )
    survives = kept(input, input.shape, p, key, call)
    return torch.where(survives if padding_idx is None else survives | (input == padding_idx), input, unk_index)


def embedding(
    input: torch.Tensor,
    weight: torch.Tensor,
    p: float | torch.Tensor = 0.1,
    training: bool = True,
    *,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
    key: int | torch.Tensor | None = None,
    call: int | torch.Tensor = 0,
) -> torch.Tensor:
    """Look up rows of a table of which whole rows are dropped (Gal & Ghahramani 2016, Merity et al. 2018).

    A word is dropped wherever it stands in the batch; its row's number is the index of the decision. Only rows that are
    looked up are touched.

    Args:
        input: integer row numbers of any shape.
        weight: ``(rows, embedding)``.
        p: probability of dropping a row.
        training: False looks the rows up unchanged.
        padding_idx: row that gets no gradient. This and the next four are those of ``torch.nn.functional.embedding``.
        max_norm: renormalise rows that are longer.
        norm_type: order of that norm.
        scale_grad_by_freq: scale gradients by the inverse frequency in the batch.
        sparse: sparse gradients.
        key: 64-bit key; None draws one.
        call: number of the training forward pass.

    Returns:
        ``(*input.shape, embedding)``.
    """
    p = checked_rate(p)
    out = F.embedding(input, weight, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse)
    if not training:
        return out
    with torch.no_grad():
        wide = torch.float64 if weight.dtype == torch.float64 else torch.float32  # half precision is rounded once
        ones = torch.ones((weight.shape[0], 1), dtype=wide, device=weight.device)
        factor = F.embedding(input, dropout(ones, p, key=key, call=call))
    return torch.where(factor != 0, (out * factor).to(out.dtype), 0)
