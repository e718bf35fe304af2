"""Dropout of words: of their numbers, their vectors, or the rows of their embedding."""

import torch
from torch import nn

from thinned import functional
from thinned.layers.base import Addressed

__all__ = ["EmbeddingDropout", "WordDropout"]


class WordDropout(Addressed):
    """Drop whole words: their vectors become 0 (Iyyer et al. 2015), or their numbers ``unk_index`` (Bowman et al.).

    Put it on token numbers before the embedding, or on the word vectors after it; in a decoder, on the words it is
    fed, so that it must use the latent state. Do not put it on labels, and not where a single word decides the label.

    Args:
        p: probability of dropping a word, in [0, 1].
        unk_index: token number that replaces a dropped one; needed for integer inputs.
        padding_idx: a token number that is never dropped.

    Shape:
        - Input: ``(*)`` integers, each its own decision; or ``(*, E)`` floats, where all of E share one.
        - Output: as the input.
    """

    def __init__(self, p: float = 0.1, unk_index: int | None = None, padding_idx: int | None = None) -> None:
        super().__init__(p)
        self.unk_index = unk_index
        self.padding_idx = padding_idx

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Drop in training, pass ``input`` through in evaluation."""
        return functional.word_dropout(
            input, self._rate, self.training, self.unk_index, self.padding_idx, **self._mask_address
        )

    def extra_repr(self) -> str:
        """Rate and special tokens."""
        return f"p={self.p}, unk_index={self.unk_index}, padding_idx={self.padding_idx}"


class EmbeddingDropout(Addressed, nn.Embedding):
    """``torch.nn.Embedding`` with dropout of whole rows (Gal & Ghahramani 2016, Merity et al. 2018).

    A dropped word is 0 wherever it stands in the mini-batch, and the rest are scaled. Parameters and state dict are
    those of ``nn.Embedding``. Put it in place of the input embedding of a language model that overfits; not where the
    table is tiny, and not on tied output weights.

    Args:
        num_embeddings: rows of the table.
        embedding_dim: length of a row.
        padding_idx: row that gets no gradient. All arguments but ``p`` are those of ``nn.Embedding``.
        max_norm: renormalise rows that are longer.
        norm_type: order of that norm.
        scale_grad_by_freq: scale gradients by the inverse frequency in the batch.
        sparse: sparse gradients.
        _weight: the table; None makes one.
        _freeze: the table needs no gradient.
        device: device of the table.
        dtype: dtype of the table.
        p: probability of dropping a row, in [0, 1].

    Shape:
        - Input: ``(*)`` integers; all places of one word share a decision.
        - Output: ``(*, embedding_dim)``.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
        _weight: torch.Tensor | None = None,
        _freeze: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        p: float = 0.1,
    ) -> None:
        nn.Embedding.__init__(
            self,
            num_embeddings,
            embedding_dim,
            padding_idx,
            max_norm,
            norm_type,
            scale_grad_by_freq,
            sparse,
            _weight,
            _freeze,
            device,
            dtype,
        )
        self._set_up(p)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Look ``input`` up, with rows dropped in training."""
        return functional.embedding(
            input,
            self.weight,
            self._rate,
            self.training,
            **self._mask_address,
            padding_idx=self.padding_idx,
            max_norm=self.max_norm,
            norm_type=self.norm_type,
            scale_grad_by_freq=self.scale_grad_by_freq,
            sparse=self.sparse,
        )

    def extra_repr(self) -> str:
        """As ``nn.Embedding`` prints itself, and the rate."""
        return f"{nn.Embedding.extra_repr(self)}, p={self.p}"
