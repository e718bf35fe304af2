"""The network of a study: a multilayer perceptron whose parameters may carry a leading axis of members."""

import copy
import itertools
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from thinned import functional, schedules
from thinned.conversion.api import convert
from thinned.errors import InputError, sentence
from thinned.import_path import import_object, working_directory
from thinned.kernels.address import thresholds
from thinned.layers import BatchDropout, Dropout
from thinned.studies.design.arms import TECHNIQUES
from thinned.studies.design.setting import Setting

__all__ = ["MLP", "BatchNorm", "Hidden", "Linear", "load_network", "site_rates"]


class Linear(nn.Linear):
    """``torch.nn.Linear`` that also takes stacked parameters: weight (members, out, in), bias (members, out).

    Shape:
        ``(rows, in)`` to ``(rows, out)``; with stacked parameters ``(members, rows, in)`` to ``(members, rows, out)``.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 (the name that nn.Linear gives it)
        """Apply the affine map of one network, or each member's own."""
        if self.weight.ndim == 2:
            return super().forward(input)
        bias: torch.Tensor | None = self.bias  # torch's annotation leaves out that there may be none
        if bias is None:
            return torch.bmm(input, self.weight.mT)
        # one batched matrix product: vmap's decomposition of F.linear takes an extra pass for the bias
        return torch.baddbmm(bias.unsqueeze(1), input, self.weight.mT)


class BatchNorm(nn.BatchNorm1d):
    """``torch.nn.BatchNorm1d`` that also takes stacked parameters and running statistics, each (members, units).

    Shape:
        ``(rows, units)``; stacked ``(members, rows, units)``, normalised over the rows of each member.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 (the name that nn.BatchNorm1d gives it)
        """Normalise one network's rows, or each member's."""
        if self.weight.ndim == 1:
            return super().forward(input)
        members, rows, units = input.shape
        columns = input.transpose(0, 1).reshape(rows, members * units)
        mean, variance = (value.view(-1) for value in (self.running_mean, self.running_var) if value is not None)
        scale, shift = self.weight.view(-1), self.bias.view(-1)
        y = F.batch_norm(columns, mean, variance, scale, shift, self.training, self.momentum or 0.0, self.eps)
        return y.view(rows, members, units).transpose(0, 1)


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
        shared: tuple[int, ...],
    ) -> torch.Tensor:
        y = torch.baddbmm(bias.unsqueeze(1), x, weight.mT)
        if shared:  # the decisions of one row for all: the mask is small, and one product takes it to every row
            y.mul_(functional.dropout(torch.ones_like(y[:, :1]), rate, key=key, call=call)).clamp_min_(0)
        else:
            functional.dropout(y, rate, inplace=True, key=key, call=call).clamp_min_(0)
        ctx.save_for_backward(x, weight, y, rate)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight, y, rate = ctx.saved_tensors
        scale = (65536 / thresholds(rate).to(y.dtype))[:, None, None]
        grad = torch.ops.aten.threshold_backward(grads[0], y, 0).mul_(scale)
        before = torch.bmm(grad, weight) if ctx.needs_input_grad[0] else None
        return before, torch.bmm(grad.mT, x), grad.sum(1), None, None, None, None


class Hidden(nn.Module):
    """A hidden layer: linear, ReLU, dropout; or linear, batch norm, ReLU with dropout before the batch norm or last.

    Shape:
        As :class:`Linear`; the dropout's address and rate are stacked along with the parameters.
    """

    def __init__(self, inputs: int, outputs: int, setting: Setting) -> None:
        super().__init__()
        self.linear = Linear(inputs, outputs)
        self.dropout = (BatchDropout if setting.one_mask else Dropout)(setting.dropout)
        self.norm = None if setting.batch_norm is None else BatchNorm(outputs)
        if self.norm is not None:
            # the norm takes a bias out again, so that its gradient is rounding alone, which Adam makes steps of
            self.linear.register_parameter("bias", None)
        self.drops_first = setting.batch_norm == "before"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Compute one network, or each member with its own parameters."""
        linear, dropout = self.linear, self.dropout
        if self.norm is not None:
            x = linear(x)
            x = self.norm(dropout(x) if self.drops_first else x).relu_()
            return x if self.drops_first else dropout(x)
        if self.training and linear.weight.ndim == 3 and dropout.rate is not None:
            return _StackedHidden.apply(  # type: ignore[no-any-return, no-untyped-call]
                x, linear.weight, linear.bias, dropout.rate, dropout.key, dropout.call, dropout.shared
            )
        return dropout(linear(x).relu_())  # type: ignore[no-any-return]


class MLP(nn.Module):
    """Hidden layers of linear, ReLU and dropout, and a linear output; dropout sites on input and output too.

    Args:
        inputs: number of input columns.
        hidden: widths of the hidden layers.
        outputs: number of output units (logits, or the standardised value).
        setting: structure of the layers and rate of each dropout.
    """

    #: called with stacked parameters and buffers, it does all members at once, without ``vmap``
    stacks = True

    def __init__(self, inputs: int, hidden: Sequence[int], outputs: int, setting: Setting) -> None:
        super().__init__()
        widths = [inputs, *hidden]
        self.input_dropout = Dropout(0.0)
        self.hidden = nn.Sequential(*(Hidden(before, after, setting) for before, after in itertools.pairwise(widths)))
        self.output = Linear(widths[-1], outputs)
        self.output_dropout = Dropout(0.0)
        for name, rate in site_rates(self, setting).items():
            setattr(self.get_submodule(name), "p", rate)  # noqa: B010 - mypy knows no p

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(..., rows, inputs)`` to ``(..., rows, outputs)``."""
        return self.output_dropout(self.output(self.hidden(self.input_dropout(x))))  # type: ignore[no-any-return]


def site_rates(network: nn.Module, setting: Setting) -> dict[str, float]:
    """The rate of each dropout site by qualified name. A user's network has hidden sites only."""
    names = list(schedules.dropout_layers(network))
    hidden = [name for name in names if name not in ("input_dropout", "output_dropout")]
    chosen = {
        "input": ["input_dropout"],
        "output": ["output_dropout"],
        "first": hidden[:1],
        "last": hidden[-1:],
        "hidden": hidden,
    }[setting.where]
    rates = {name: setting.dropout if name in chosen else 0.0 for name in names}
    for name, amount in setting.extras:
        change = TECHNIQUES[name].site_rates
        if change is not None:
            rates |= change(amount, rates)
    return rates


def load_network(name: str, inputs: int, outputs: int) -> nn.Module:
    """Build the network that a user supplies, with its dropout layers converted to ours.

    Args:
        name: ``module:function``; the function takes the numbers of inputs and outputs and gives a module that maps
            ``(rows, inputs)`` to ``(rows, outputs)``.
        inputs: number of encoded columns.
        outputs: number of logits or values.

    Raises:
        InputError: there is no such function, or what it gives is no network, has no dropout or doesn't fit.
    """
    build = import_object(name, "the network")
    if not callable(build):
        raise InputError(
            sentence(f"{name} must be a function of inputs and outputs", f"it is a {type(build).__name__}")
        )
    with working_directory():
        network = build(inputs, outputs)
    if not isinstance(network, nn.Module):
        raise InputError(sentence(f"{name} must return a torch.nn.Module", f"it returned a {type(network).__name__}"))
    convert(network)
    if not schedules.dropout_layers(network):
        remedy = "put torch.nn.Dropout where dropout is to be tried"
        raise InputError(sentence(f"the network of {name} must have a dropout layer", "it has none", remedy))
    with torch.no_grad():
        shape = tuple(network.eval()(torch.zeros(2, inputs)).shape)
    if shape != (2, outputs):
        raise InputError(sentence(f"{name} must map (2, {inputs}) to (2, {outputs})", f"it gave {shape}"))
    _check_stacks(network, name, inputs)
    return network


def _check_stacks(network: nn.Module, name: str, inputs: int) -> None:
    """Try a training step of two networks as one program, but for the dropout that a cohort gives its addresses."""
    trial = copy.deepcopy(network).train()
    for site in schedules.dropout_layers(trial).values():
        site.eval()
    state = torch.func.stack_module_state([trial, trial])
    member = lambda parameters, buffers, x: torch.func.functional_call(trial, (parameters, buffers), (x,))  # noqa: E731
    try:
        with torch.no_grad():
            torch.func.vmap(member)(*state, torch.zeros(2, 2, inputs))
    except RuntimeError as error:
        remedy = "leave out what depends on values, as .item(), and randomness other than dropout layers"
        raise InputError(
            sentence(f"torch.func.vmap must be able to run the network of {name}", f"it says: {error}", remedy)
        ) from None
