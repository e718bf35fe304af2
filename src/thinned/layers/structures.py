"""Layers that drop a structure: a residual branch, a word, a row of a table, a block, a weight."""

import torch
from torch import nn
from torch.nn.utils import parametrize

from thinned import functional
from thinned.errors import check_p
from thinned.functional import variants
from thinned.layers._addressed import Addressed

__all__ = ["DropBlock2d", "DropConnect", "DropPath", "EmbeddingDropout", "WordDropout", "drop_connect"]


class _DropProb(Addressed):
    """Holds its rate under timm's name."""

    def _hold(self, p: float) -> None:
        check_p(p)
        self.drop_prob = p
        for name in ("key", "call", "rate"):
            self.register_buffer(name, None, persistent=False)

    @property
    def p(self) -> float:
        """The rate, ``drop_prob`` in timm."""
        return self.drop_prob

    @p.setter
    def p(self, value: float) -> None:
        self.drop_prob = value


class DropPath(_DropProb):
    """Drop-in replacement for timm's ``DropPath``: whole samples of a residual branch (Huang et al. 2016).

    All of a sample share one decision (stochastic depth): its residual branch is skipped. Put it last on the branch,
    just before the addition, with a rate that grows with depth (``schedules.by_depth``); not on a path without a
    shortcut, where a dropped sample would be all zeros.

    Args:
        drop_prob: probability of dropping a sample's branch, in [0, 1].
        scale_by_keep: scale survivors by 1 / (1 − p).

    Shape:
        ``(N, ...)``; all but axis 0 share a decision.
    """

    def __init__(self, drop_prob: float = 0.0, scale_by_keep: bool = True) -> None:
        super().__init__()
        self._hold(drop_prob)
        self.scale_by_keep = scale_by_keep

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Drop in training, pass ``x`` through in evaluation."""
        return variants.drop_path(x, self._rate, self.training, self.scale_by_keep, **self._where)

    def extra_repr(self) -> str:
        """As timm's prints itself."""
        return f"drop_prob={round(self.drop_prob, 3):0.3f}"


class WordDropout(Addressed):
    """Drop whole words: their vectors become 0 (Iyyer et al. 2015), or their numbers ``unk_index`` (Bowman et al.).

    Put it on token numbers before the embedding, or on the word vectors after it; in a decoder, on the words it is
    fed, so that it must use the latent state. Not on labels, and not where a single word decides the label.

    Args:
        p: probability of dropping a word, in [0, 1].
        unk_index: what stands for a dropped token number; needed for integer inputs.
        padding_idx: a token number that is never dropped.

    Shape:
        Integers of any shape, each its own decision; or ``(..., E)`` floats, all of E sharing a decision.
    """

    def __init__(self, p: float = 0.1, unk_index: int | None = None, padding_idx: int | None = None) -> None:
        super().__init__()
        self._hold(p)
        self.unk_index = unk_index
        self.padding_idx = padding_idx

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Drop in training, pass ``x`` through in evaluation."""
        return variants.word_dropout(x, self._rate, self.training, self.unk_index, self.padding_idx, **self._where)

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
        padding_idx: as in ``nn.Embedding``, and so the arguments that follow.
        max_norm: renormalise rows that are longer.
        norm_type: which norm.
        scale_grad_by_freq: scale gradients by the inverse frequency in the batch.
        sparse: sparse gradients.
        p: probability of dropping a row, in [0, 1].

    Shape:
        Integers of any shape to ``(..., embedding_dim)``; all places of one word share a decision.
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
        *args: object,
        p: float = 0.1,
        **kwargs: object,
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
            *args,  # type: ignore[arg-type]
            **kwargs,  # type: ignore[arg-type]
        )
        self._hold(p)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Look ``x`` up, with rows dropped in training."""
        return variants.embedding(
            x,
            self.weight,
            self._rate,
            self.training,
            **self._where,
            padding_idx=self.padding_idx,
            max_norm=self.max_norm,
            norm_type=self.norm_type,
            scale_grad_by_freq=self.scale_grad_by_freq,
            sparse=self.sparse,
        )

    def extra_repr(self) -> str:
        """As ``nn.Embedding`` prints itself, and the rate."""
        return f"{nn.Embedding.extra_repr(self)}, p={self.p}"


class DropBlock2d(_DropProb):
    """Drop-in replacement for timm's ``DropBlock2d``: square blocks of a feature map (Ghiasi et al. 2018).

    A contiguous region goes at once, so that neighbouring pixels cannot give the dropped one away. Put it after
    convolutions (and on skip connections) of the last groups of a ResNet, with a rate that grows during training
    (``schedules.linear``); not on maps hardly larger than a block.

    timm's ``with_noise`` is not offered: no published result uses it.

    Args:
        drop_prob: the share of elements to drop, about.
        block_size: edge of a block; 1 is element-wise.
        gamma_scale: multiplies the density of block centres.
        inplace: overwrite the input.
        couple_channels: all channels share a mask.
        scale_by_keep: scale survivors by elements / survivors.

    Shape:
        ``(N, C, H, W)``; the elements of a block share a decision.

    Raises:
        RuntimeError: in training, the input does not have 4 dimensions.
    """

    def __init__(
        self,
        drop_prob: float = 0.1,
        block_size: int = 7,
        gamma_scale: float = 1.0,
        inplace: bool = False,
        couple_channels: bool = True,
        scale_by_keep: bool = True,
    ) -> None:
        super().__init__()
        self._hold(drop_prob)
        self.gamma_scale = gamma_scale
        self.block_size = block_size
        self.inplace = inplace
        self.couple_channels = couple_channels
        self.scale_by_keep = scale_by_keep

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Drop blocks in training, pass ``x`` through in evaluation."""
        return variants.drop_block2d(
            x,
            self._rate,
            self.block_size,
            self.gamma_scale,
            self.inplace,
            self.couple_channels,
            self.scale_by_keep,
            training=self.training,
            **self._where,
        )

    def extra_repr(self) -> str:
        """Rate and block."""
        return f"drop_prob={self.drop_prob}, block_size={self.block_size}"


class DropConnect(Addressed):
    """Dropout of a weight instead of an activation (Wan et al. 2013), as a parametrisation of any weight.

    The mask is shared by all samples of a mini-batch (in the paper every sample has its own). Put it on the weights of
    fully connected layers, or on the recurrent weights of an RNN (AWD-LSTM, Merity et al. 2018), by
    :func:`drop_connect`; not on biases or norms. (What EfficientNet calls drop connect is ``DropPath``.)

    In drawn mode each access to the weight draws a new mask; ``torch.nn.utils.parametrize.cached()`` keeps one.

    Args:
        p: probability of dropping a connection, in [0, 1].

    Shape:
        A weight of any shape; none share a decision but the samples.
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self._hold(p)

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """The weight with connections dropped in training."""
        return functional.dropout(weight, self._rate, self.training, **self._where)

    def right_inverse(self, weight: torch.Tensor) -> torch.Tensor:
        """Assigning to the parametrised weight sets it whole."""
        return weight

    def extra_repr(self) -> str:
        """Rate."""
        return f"p={self.p}"


def drop_connect(module: nn.Module, name: str = "weight", p: float = 0.5) -> nn.Module:
    """Register :class:`DropConnect` on the parameter ``name`` of ``module``, and return the module.

    The parameter moves to ``parametrizations.<name>.original``, as with every parametrisation of torch;
    ``torch.nn.utils.parametrize.remove_parametrizations`` (in evaluation) takes it off again.

    Example:
        >>> import torch, thinned
        >>> layer = thinned.layers.drop_connect(torch.nn.Linear(3, 2), p=0.5)
        >>> layer.eval()(torch.ones(1, 3)).shape
        torch.Size([1, 2])
    """
    training = module.training
    site = DropConnect(p).eval()  # registering evaluates it once: no draw, no noise
    parametrize.register_parametrization(module, name, site)
    module.train(training)
    return module
