"""Dropout of elements, one sub-network per mini-batch, and one mask for all time steps."""

import torch

from thinned import functional
from thinned.layers.base import Addressed, given_address

__all__ = ["BatchDropout", "Dropout", "LockedDropout"]


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
        - Input: ``(*)``, any shape; no elements share a decision.
        - Output: ``(*)``, as the input.

    Raises:
        ValueError: ``p`` lies outside [0, 1].
        TypeError: ``p`` is not a number.
    """

    shared: tuple[int, ...] = ()

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__(p)
        self.inplace = inplace

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Drop in training, pass ``input`` through in evaluation."""
        shared = self.shared
        if given_address.layer is self and given_address.shared is not None:
            shared = given_address.shared
        return functional.dropout(input, self._rate, self.training, self.inplace, shared=shared, **self._mask_address)

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
        - Input: ``(N, *)``; all samples share a decision.
        - Output: ``(N, *)``, as the input.
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
        - Input: ``(*)`` with an axis ``time_dim``; all its steps share a decision.
        - Output: ``(*)``, as the input.

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
