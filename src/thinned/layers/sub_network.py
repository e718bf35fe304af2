"""One sub-network per mini-batch, computed at its real size."""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from thinned import functional
from thinned.errors import sentence
from thinned.functional.selection import Selection, can_select, select
from thinned.layers.dropout import BatchDropout
from thinned.ops import torch_private

__all__ = ["ThinnedFeedForward", "ThinnedMLP", "is_sub_network"]

#: activations whose every output depends on the input at the same place alone
_ELEMENTWISE = (
    *(nn.CELU, nn.ELU, nn.GELU, nn.Hardshrink, nn.Hardsigmoid, nn.Hardswish, nn.Hardtanh, nn.Identity, nn.LeakyReLU),
    *(nn.LogSigmoid, nn.Mish, nn.ReLU, nn.ReLU6, nn.SELU, nn.SiLU, nn.Sigmoid, nn.Softplus, nn.Softshrink),
    *(nn.Softsign, nn.Tanh, nn.Tanhshrink, nn.Threshold),
)
_ELEMENTWISE_FORWARDS = frozenset(activation.forward for activation in _ELEMENTWISE)


class Stage(NamedTuple):
    """A linear layer with what follows up to the next one.

    Attributes:
        linear: the layer.
        activations: functions of single elements.
        dropout: one mask for the batch; None where nothing is dropped.
    """

    linear: nn.Linear
    activations: tuple[nn.Module, ...]
    dropout: BatchDropout | None


class Stages(NamedTuple):
    """The parts of a multilayer perceptron: ``dropout`` is that of its input."""

    dropout: BatchDropout | None
    hidden: tuple[Stage, ...]
    last: nn.Linear


class ThinnedMLP(nn.Sequential):
    """``nn.Sequential`` of linear layers, activations and ``BatchDropout``, computed at the size of its sub-network.

    All samples of a mini-batch train one thinned network (Graham et al. 2015), so that products have only its rows and
    columns: a share (1 − p)² of those between two dropped layers. The result is that of the same ``nn.Sequential`` at
    the same addresses, to the rounding of shorter sums; parameters and state dict are its own. Gradients of dropped
    rows are zeros; momentum and weight decay still move them, as with masks. Put it where layers are wide; not with
    batches so small that the loss of one sub-network is noise, and not for element-wise dropout, which is another
    regulariser.

    In evaluation, and in training where a module in it has hooks or was exchanged for one of another kind, the input
    has other than 2 dimensions or a transform of ``torch.func`` runs, it is the ``nn.Sequential``, as its slices are.
    Otherwise a ``BatchDropout`` in it sees a row of ones, for its mask. :func:`thinned.convert` puts it in place of an
    ``nn.Sequential`` of this form.

    Args:
        args: modules in order, or one ``OrderedDict`` of them: ``nn.Linear``, element-wise activations of torch, and
            ``BatchDropout`` directly before a linear layer.

    Shape:
        - Input: ``(N, in_features)``; all samples share a decision.
        - Output: ``(N, out_features)``.

    Raises:
        TypeError: another module stands in it, or at another place.
    """

    def __init__(self, *args: nn.Module) -> None:
        super().__init__(*args)
        _stages(self)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """The sub-network of this call in training, the whole network in evaluation."""
        if not self.training or input.ndim != 2 or torch_private.any_hook(*self):
            return self._masked(input)
        try:
            stages = _stages(self)
        except TypeError:  # its owner has put another module into it, as nn.Sequential allows
            return self._masked(input)
        if _watched(*(stage.linear for stage in stages.hidden), stages.last) or not _one_mask(stages):
            return self._masked(input)
        kept = None if stages.dropout is None else _units(stages.dropout, input.shape[1], input)
        hidden = input if kept is None else _scaled(input.index_select(1, kept.places), kept)
        for linear, activations, dropout in stages.hidden:
            units = None if dropout is None else _units(dropout, linear.out_features, input)
            hidden = _linear(hidden, linear, units, kept)
            for activation in activations:
                hidden = activation(hidden)
            kept, hidden = units, hidden if units is None else _scaled(hidden, units)
        return _linear(hidden, stages.last, None, kept)

    def __getitem__(self, idx: slice | int) -> nn.Sequential | nn.Module:
        """A module, or an ``nn.Sequential`` of some: a slice may have another form."""
        return nn.Sequential(OrderedDict(self._modules))[idx]

    def _masked(self, input: torch.Tensor) -> torch.Tensor:
        """All layers as they are, one after the other."""
        hidden = input
        for module in self:
            hidden = module(hidden)
        return hidden


class ThinnedFeedForward(nn.Module):
    """The feed-forward part of a transformer with one mask for all positions of the batch, at its real size.

    ``down(dropout(activation(up(x))))``, or gated, ``down(dropout(activation(gate(x)) · up(x)))`` (SwiGLU: Shazeer
    2020), where all samples and positions share the decision of a hidden unit (Graham et al. 2015): about 1 − p of the
    products. The result is that of the masked layers at the same address, to the rounding of shorter sums. Put it where
    the hidden layer is wide; not for element-wise dropout, which is another regulariser.

    Args:
        embed_dim: features of input and output.
        hidden_dim: hidden units.
        p: probability of dropping a hidden unit, in [0, 1].
        activation: function of single elements.
        gated: multiply by a gate.
        bias: learn biases.

    Attributes:
        up_proj: first layer; ``gate_proj`` is its gate or None, ``down_proj`` the last layer (names of Llama).
        dropout: the :class:`BatchDropout` of hidden units.

    Shape:
        - Input: ``(*, embed_dim)``; all but the last axis share a decision.
        - Output: as the input.

    Raises:
        ValueError: ``p`` lies outside [0, 1], or ``activation`` is not element-wise.
    """

    def __init__(
        self,
        embed_dim: int,
        hidden_dim: int,
        p: float = 0.1,
        activation: Callable[[torch.Tensor], torch.Tensor] = F.gelu,
        gated: bool = False,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.up_proj = nn.Linear(embed_dim, hidden_dim, bias)
        self.gate_proj = nn.Linear(embed_dim, hidden_dim, bias) if gated else None
        self.down_proj = nn.Linear(hidden_dim, embed_dim, bias)
        self.dropout = BatchDropout(p)
        self.activation = activation
        _check_elementwise(activation)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """The sub-network of this call in training, the whole in evaluation."""
        layers = [self.up_proj, self.down_proj, *([] if self.gate_proj is None else [self.gate_proj])]
        if not self.training or _watched(*layers) or not can_select(self.dropout.rate, self.dropout.key):
            hidden = self._hidden(self.up_proj(input), None if self.gate_proj is None else self.gate_proj(input))
            dropped: torch.Tensor = self.dropout(hidden.reshape(-1, hidden.shape[-1]))
            return self.down_proj(dropped.view_as(hidden))  # type: ignore[no-any-return]
        kept = _units(self.dropout, self.up_proj.out_features, input)
        gate = None if self.gate_proj is None else _linear(input, self.gate_proj, kept, None)
        hidden = self._hidden(_linear(input, self.up_proj, kept, None), gate)
        return _linear(_scaled(hidden, kept), self.down_proj, None, kept)

    def _hidden(self, up: torch.Tensor, gate: torch.Tensor | None) -> torch.Tensor:
        return self.activation(up) if gate is None else self.activation(gate) * up


def is_sub_network(model: nn.Sequential) -> bool:
    """Tell that a sequence has the form of a thinned multilayer perceptron, and one mask for the batch in it."""
    try:
        stages = _stages(model)
    except TypeError:
        return False
    linear = [*(stage.linear for stage in stages.hidden), stages.last]
    return any(isinstance(module, BatchDropout) for module in model) and not any(map(_has_own_forward, linear))


def _stages(model: nn.Sequential) -> Stages:
    """The parts of a sequence, which must be linear layers, activations and one mask directly before a linear layer.

    Raises:
        TypeError: it has another form.
    """
    groups = list(_groups(model))
    first, *others = groups
    if first[0] is not None or first[1] or not others or others[-1][1] or others[-1][2] is not None:
        raise TypeError(
            sentence(
                "a thinned multilayer perceptron begins with BatchDropout or Linear and ends with Linear",
                f"got {', '.join(type(module).__name__ for module in model)}",
                "put what stands before or behind outside",
            )
        )
    stages = tuple(Stage(linear, activations, dropout) for linear, activations, dropout in others if linear is not None)
    return Stages(first[2], stages[:-1], stages[-1].linear)


_Group = tuple[nn.Linear | None, tuple[nn.Module, ...], BatchDropout | None]


def _groups(model: nn.Sequential) -> Iterator[_Group]:
    """Yield what stands before the first linear layer, then each linear layer with what follows."""
    linear: nn.Linear | None = None
    activations: list[nn.Module] = []
    dropout: BatchDropout | None = None
    for name, module in model._modules.items():
        if isinstance(module, nn.Linear):
            yield linear, tuple(activations), dropout
            linear, activations, dropout = module, [], None
        elif dropout is None and isinstance(module, BatchDropout):
            dropout = module
        elif dropout is None and _is_elementwise(module):
            activations.append(module)
        else:
            raise TypeError(
                sentence(
                    "a thinned multilayer perceptron holds nn.Linear, element-wise activations of torch, and "
                    "BatchDropout directly before a linear layer",
                    f"got {type(module).__name__} as {name}",
                )
            )
    yield linear, tuple(activations), dropout


def _is_elementwise(module: nn.Module) -> bool:
    """Tell that torch's own code of an element-wise activation runs, and no forward of a subclass or an instance."""
    if not isinstance(module, _ELEMENTWISE):  # nor is the class of a TorchScript module asked
        return False
    return type(module).forward in _ELEMENTWISE_FORWARDS and "forward" not in module.__dict__


def _one_mask(stages: Stages) -> bool:
    dropouts = [stages.dropout, *(stage.dropout for stage in stages.hidden)]
    return can_select(*(number for drop in dropouts if drop is not None for number in (drop.rate, drop.key)))


def _units(dropout: BatchDropout, features: int, like: torch.Tensor) -> Selection:
    """The units that the mask of a layer keeps: it drops a row of ones, by its rate and address of this call."""
    dtype = torch.float64 if like.dtype is torch.float64 else torch.float32
    with torch.no_grad():
        return select(dropout(torch.ones(1, features, dtype=dtype))[0], like.device)


def _linear(input: torch.Tensor, linear: nn.Linear, out: Selection | None, kept: Selection | None) -> torch.Tensor:
    indices = (None if part is None else part.places for part in (out, kept))
    return functional.thinned_linear(input, linear.weight, linear.bias, *indices)


def _scaled(hidden: torch.Tensor, kept: Selection) -> torch.Tensor:
    return (hidden * kept.scales).to(hidden.dtype)


def _watched(*layers: nn.Linear) -> bool:
    """Tell that a linear layer must be called itself: somebody has hooks on it, or a forward of its own."""
    return torch_private.any_hook(*layers) or any(map(_has_own_forward, layers))


def _has_own_forward(layer: nn.Linear) -> bool:
    return type(layer).forward is not nn.Linear.forward or "forward" in layer.__dict__


def _check_elementwise(activation: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Check on a few numbers that leaving out some changes no other.

    Raises:
        ValueError: it does.
    """
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        numbers = torch.linspace(-3, 3, 48).view(4, 12)
        whole, part = activation(numbers), activation(numbers[:, ::3])
    if whole.shape != numbers.shape or not torch.allclose(whole[:, ::3], part, atol=1e-5):
        name = getattr(activation, "__name__", type(activation).__name__)
        raise ValueError(sentence("the activation must be a function of single elements", f"{name} mixes them"))
