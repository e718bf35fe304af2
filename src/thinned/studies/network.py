"""The network of a study: a multilayer perceptron whose parameters may carry a leading axis of members."""

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from thinned import functional
from thinned.kernels._address import thresholds
from thinned.layers import Dropout

__all__ = ["MLP", "Hidden", "Linear"]


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


class _StackedHidden(torch.autograd.Function):
    """Linear, ReLU and dropout of all members, with two passes over memory less each way than the three apart.

    Dropout commutes with ReLU, since survivors are scaled by a positive number. Where the output is positive the unit
    was active and kept, elsewhere its gradient is 0: the output, which the next layer keeps anyway, is the mask.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor,
        rate: torch.Tensor,
        key: torch.Tensor,
        call: torch.Tensor,
    ) -> torch.Tensor:
        y = torch.baddbmm(bias.unsqueeze(1), x, weight.mT)
        functional.dropout(y, rate, inplace=True, key=key, call=call).clamp_min_(0)
        ctx.save_for_backward(x, weight, y, rate)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight, y, rate = ctx.saved_tensors
        scale = (65536 / thresholds(rate)).to(y.dtype)[:, None, None]
        grad = torch.ops.aten.threshold_backward(grads[0], y, 0).mul_(scale)
        before = torch.bmm(grad, weight) if ctx.needs_input_grad[0] else None
        return before, torch.bmm(grad.mT, x), grad.sum(1), None, None, None


class Hidden(nn.Module):
    """A hidden layer: linear, ReLU, dropout.

    Shape:
        As :class:`Linear`; the dropout's address and rate are stacked along with the parameters.
    """

    def __init__(self, inputs: int, outputs: int, p: float) -> None:
        super().__init__()
        self.linear = Linear(inputs, outputs)
        self.dropout = Dropout(p)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """One network, or each member its own."""
        linear, dropout = self.linear, self.dropout
        if self.training and linear.weight.ndim == 3 and dropout.rate is not None:
            return _StackedHidden.apply(  # type: ignore[no-any-return, no-untyped-call]
                x, linear.weight, linear.bias, dropout.rate, dropout.key, dropout.call
            )
        return dropout(linear(x).relu_())  # type: ignore[no-any-return]


class MLP(nn.Module):
    """Hidden layers of linear, ReLU and dropout, and a linear output.

    Args:
        inputs: number of input columns.
        hidden: widths of the hidden layers.
        outputs: number of output units (logits, or the standardised value).
        p: dropout rate of the hidden layers.
    """

    #: called with stacked parameters and buffers, it does all members at once, without ``vmap``
    stacks = True

    def __init__(self, inputs: int, hidden: Sequence[int], outputs: int, p: float = 0.5) -> None:
        super().__init__()
        widths = [inputs, *hidden]
        self.hidden = nn.Sequential(*(Hidden(before, after, p) for before, after in itertools.pairwise(widths)))
        self.output = Linear(widths[-1], outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(..., rows, inputs)`` to ``(..., rows, outputs)``."""
        return self.output(self.hidden(x))  # type: ignore[no-any-return]
