"""Dropout layers. A layer holds its rate and the address of its masks; the arithmetic is in ``functional``."""

import torch
from torch import nn

from thinned import functional
from thinned._checks import check_p

__all__ = ["Dropout"]


class Dropout(nn.Module):
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
    """

    key: torch.Tensor | None
    call: torch.Tensor | None
    rate: torch.Tensor | None

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        self.p = check_p(p)
        self.inplace = inplace
        for name in ("key", "call", "rate"):
            self.register_buffer(name, None, persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Drop elements in training, pass ``x`` through in evaluation."""
        return functional.dropout(
            x,
            self.p if self.rate is None else self.rate,
            self.training,
            self.inplace,
            key=self.key,
            call=0 if self.call is None else self.call,
        )

    def extra_repr(self) -> str:
        """As ``torch.nn.Dropout`` prints itself."""
        return f"p={self.p}, inplace={self.inplace}"
