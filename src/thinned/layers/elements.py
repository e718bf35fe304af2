"""Layers on activations that differ in which axes share a decision."""

import torch

from thinned import functional
from thinned.functional import variants
from thinned.layers._addressed import Addressed

__all__ = ["BatchDropout", "Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "LockedDropout"]


class Dropout(Addressed):
    """Drop-in replacement for ``torch.nn.Dropout`` (Srivastava et al. 2014): each element its own decision.

    In training, elements are zeroed with probability ``p`` and survivors scaled by 1 / (1 − p); in evaluation the
    input passes through untouched. Put it after the activation of hidden layers; not on the output, where it only adds
    noise to the prediction. Convolutional features want a spatial variant. On small data, weight decay or early
    stopping may do more: ``thinned study`` measures it.

    Masks are drawn from torch's default generator, unless the buffers ``key`` and ``call`` (0-dim int64) hold an
    address. The buffer ``rate`` (0-dim float64), where present, takes the place of ``p``.

    Args:
        p: probability of dropping, in [0, 1].
        inplace: overwrite the input.

    Shape:
        Any; the output has the input's shape.

    Raises:
        ValueError: ``p`` lies outside [0, 1].
        TypeError: ``p`` is not a number.
    """

    shared: tuple[int, ...] = ()

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        self._hold(p)
        self.inplace = inplace

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Drop in training, pass ``x`` through in evaluation."""
        return functional.dropout(x, self._rate, self.training, self.inplace, shared=self.shared, **self._where)

    def extra_repr(self) -> str:
        """As ``torch.nn.Dropout`` prints itself."""
        return f"p={self.p}, inplace={self.inplace}"


class BatchDropout(Dropout):
    """One sub-network per mini-batch: all samples share the mask (Graham et al. 2015, "Efficient batchwise dropout").

    Each forward pass trains one thinned network on the whole mini-batch, so that a layer may be computed at its real
    size, and the gradient is that of one sub-network. The noise does not average out over the batch: it regularises
    harder than element-wise dropout, and wants a lower rate. Put it after wide hidden layers; not with small batches
    of a noisy loss, and not on the output.

    Args:
        p: probability of dropping, in [0, 1].
        inplace: overwrite the input.

    Shape:
        ``(N, ...)``; all of axis 0 share a decision.
    """

    shared = (0,)


class LockedDropout(Dropout):
    """One mask for all time steps (variational RNN dropout: Gal & Ghahramani 2016, Merity et al. 2018).

    The same units of a sequence are dropped at every step, each sample of the batch having its own mask. Put it on the
    input and output sequences of a recurrent layer, and between stacked ones; not inside the recurrence (that is
    ``DropConnect`` on the recurrent weights), and not where positions are independent examples.

    Args:
        p: probability of dropping, in [0, 1].
        inplace: overwrite the input.
        time_dim: axis of time: 0 for ``(T, N, E)``, torch's default; 1 for ``batch_first`` sequences ``(N, T, E)``.

    Shape:
        Any with an axis ``time_dim``, all of which share a decision.

    Raises:
        IndexError: in training, the input has no axis ``time_dim``.
    """

    def __init__(self, p: float = 0.5, inplace: bool = False, time_dim: int = 0) -> None:
        super().__init__(p, inplace)
        self.time_dim = time_dim
        self.shared = (time_dim,)

    def extra_repr(self) -> str:
        """Rate, and the axis of time."""
        return f"{super().extra_repr()}, time_dim={self.time_dim}"


class _SpatialDropout(Dropout):
    """Whole channels of a feature map with ``dims`` spatial dimensions."""

    dims: int

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Drop channels in training, pass ``x`` through in evaluation."""
        return variants.spatial_dropout(self.dims, x, self._rate, self.training, self.inplace, **self._where)


class Dropout1d(_SpatialDropout):
    """Drop-in replacement for ``torch.nn.Dropout1d``: whole channels of sequences (Tompson et al. 2015).

    Neighbouring positions of a feature map say nearly the same, so that element-wise dropout leaves most of the
    information and only lowers the learning rate; dropping the channel does not. Put it after ``Conv1d`` and its
    activation; not on ``(N, T, E)`` sequences of word vectors (there the channel axis comes last: ``LockedDropout``).

    Args:
        p: probability of dropping a channel, in [0, 1].
        inplace: overwrite the input.

    Shape:
        ``(N, C, L)`` or ``(C, L)``; all of L share a decision.

    Raises:
        RuntimeError: the input has another number of dimensions.
    """

    dims = 1


class Dropout2d(_SpatialDropout):
    """Drop-in replacement for ``torch.nn.Dropout2d``: whole channels of images (Tompson et al. 2015).

    Put it after ``Conv2d`` and its activation, where element-wise dropout regularises little because neighbouring
    pixels repeat each other; not directly before batch norm, and not where channels are few. Like torch's, it takes a
    3D input as ``(N, C, L)``, with a warning; other numbers of dimensions are warned about.

    Args:
        p: probability of dropping a channel, in [0, 1].
        inplace: overwrite the input.

    Shape:
        ``(N, C, H, W)`` or ``(N, C, L)``; all after C share a decision.
    """

    dims = 2


class Dropout3d(_SpatialDropout):
    """Drop-in replacement for ``torch.nn.Dropout3d``: whole channels of volumes (Tompson et al. 2015).

    Put it after ``Conv3d`` and its activation; not directly before batch norm, and not where channels are few.

    Args:
        p: probability of dropping a channel, in [0, 1].
        inplace: overwrite the input.

    Shape:
        ``(N, C, D, H, W)`` or ``(C, D, H, W)``; all after C share a decision. Other ranks are warned about.
    """

    dims = 3
