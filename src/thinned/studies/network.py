"""The network of a study: a multilayer perceptron whose parameters may carry a leading axis of members."""

from collections.abc import Sequence

import torch
from torch import nn

from thinned.layers import Dropout

__all__ = ["MLP", "Linear"]


class Linear(nn.Linear):
    """``torch.nn.Linear`` that also takes stacked parameters: weight (members, out, in), bias (members, out).

    Shape:
        ``(rows, in)`` to ``(rows, out)``; with stacked parameters ``(members, rows, in)`` to ``(members, rows, out)``.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 (the name that nn.Linear gives it)
        """Affine map, for one network or for each member its own."""
        if self.weight.ndim == 2:
            return super().forward(input)
        # one batched matrix product: vmap's decomposition of F.linear takes an extra pass for the bias
        return torch.baddbmm(self.bias.unsqueeze(1), input, self.weight.mT)


class MLP(nn.Module):
    """Linear, ReLU, dropout for each hidden layer, and a linear output.

    Args:
        inputs: number of input columns.
        hidden: widths of the hidden layers.
        outputs: number of output units (logits, or the standardised value).
        p: dropout rate of the hidden layers.
    """

    #: ``functional_call`` with stacked parameters and buffers does all members at once, without ``vmap``
    stacks = True

    def __init__(self, inputs: int, hidden: Sequence[int], outputs: int, p: float = 0.5) -> None:
        super().__init__()
        widths = [inputs, *hidden]
        self.hidden = nn.Sequential(
            *(
                nn.Sequential(Linear(before, after), nn.ReLU(inplace=True), Dropout(p))
                for before, after in zip(widths, widths[1:], strict=False)
            )
        )
        self.output = Linear(widths[-1], outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(..., rows, inputs)`` to ``(..., rows, outputs)``."""
        return self.output(self.hidden(x))  # type: ignore[no-any-return]
