"""A sub-network as a network of its own: the kept units, and nothing of the others."""

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from thinned import philox
from thinned.ensemble.find_sites import Found
from thinned.ensemble.forward import Passes
from thinned.ensemble.mask_sources import Off
from thinned.ensemble.sampling import keys
from thinned.ensemble.tracing import Trace
from thinned.errors import InputError, sentence
from thinned.kernels.form import Form

__all__ = ["Keep", "subnetwork"]

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
#: each element by itself, so that what a lost unit would have been matters to no other
_ELEMENTWISE = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Softplus, nn.Identity),
    *(nn.Sigmoid, nn.Tanh, nn.Softsign, nn.Hardswish, nn.Hardtanh, nn.Hardsigmoid, nn.LogSigmoid, nn.Softshrink),
)


class Keep(nn.Module):
    """Passes the kept units on; in place of a dropout whose units' maker can't be made smaller.

    Args:
        units: numbers of those that are kept, int64.
        axis: along which units lie.
    """

    units: torch.Tensor

    def __init__(self, units: torch.Tensor, axis: int) -> None:
        super().__init__()
        self.register_buffer("units", units)
        self.axis = axis

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The kept units of ``x``."""
        return x.index_select(self.axis, self.units)


class _Cut(NamedTuple):
    """What is kept at a site."""

    units: torch.Tensor
    axis: int
    scale: float


def subnetwork(
    model: nn.Module,
    address: int | tuple[int, int] | Mapping[str, torch.Tensor],
    x: Any = None,
    *,
    sites: Sequence[str] | None = None,
    batch_axis: int | None = None,
) -> nn.Module:
    """The thinned network itself: a copy of ``model`` with the kept units only, equal to the masked model.

    Linear and convolutional layers behind a site lose the inputs of dropped units, and take over the scale of the
    survivors. The layer before it loses the outputs, where only batch norm and elementwise activations stand between;
    otherwise the kept units are picked out where the dropout stood.

    Args:
        model: any module, unchanged.
        address: of the member: its number in the ensemble of seed 0; ``(seed, number)``; or a mask for each site (bool,
            as many elements as units, True is kept), such as :class:`Enumeration` gives, whose survivors are scaled by
            1 / (1 − p).
        x: an example input, of a few rows; None where the first layer is ``nn.Linear``.
        sites: names of the sites that drop; None is all. Others are in evaluation.
        batch_axis: of ``x``, along which examples lie.

    Returns:
        A smaller module, in evaluation. Parameters are copies.

    Raises:
        InputError: a site does not drop whole units, or something else than linear and convolutional layers takes them.

    Example:
        >>> import torch, thinned
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Dropout(0.5),
        ...     torch.nn.Linear(8, 3))
        >>> thinned.ensemble.subnetwork(model, 17)
        Sequential(
          (0): Linear(in_features=4, out_features=4, bias=True)
          (1): ReLU()
          (2): Identity()
          (3): Linear(in_features=4, out_features=3, bias=True)
        )
    """
    x = _example(model) if x is None else x
    small = copy.deepcopy(model)
    in_place = [module for module in small.modules() if getattr(module, "inplace", False)]
    for module in in_place:
        module.inplace = False  # type: ignore[assignment]
    passes, trace = Passes(small, x, sites, lambda output: output, batch_axis), Trace()
    off = {site.name: _Copied(site.axis) for site in passes.sites}
    with passes, trace.watching():
        trace.end(passes.one(off))
    thinner = _Thinner(small, trace)
    for site in passes.sites:
        decider = off[site.name]
        thinner.cut(site, passes.module(site.module), len(decider.decisions), _kept(address, site, decider))
    thinner.apply()
    for module in in_place:
        module.inplace = True  # type: ignore[assignment]
    return small.eval()


def _example(model: nn.Module) -> torch.Tensor:
    first = next((module for module in model.modules() if any(True for _ in module.parameters(recurse=False))), None)
    if type(first) is nn.Linear:
        return first.weight.new_zeros(1, first.in_features)
    raise InputError(
        sentence("x must be given where the first layer is not linear", f"it is {type(first).__name__}", "pass x=")
    )


def _kept(address: int | tuple[int, int] | Mapping[str, torch.Tensor], site: Found, off: Off) -> _Cut:
    """The units of a site that a member keeps."""
    units = math.prod(off.decisions)
    axes = [axis for axis, size in enumerate(off.decisions) if size == units]
    if len(axes) == 0 or off.form is not Form.DROPOUT or site.kind != "module":
        raise InputError(
            sentence(
                "a site must be a module that drops whole units for the network to be made smaller",
                f"{site.name or 'the model'} is of kind {site.kind}, with decisions of shape {off.decisions}",
                "leave it out with sites=[...]",
            )
        )
    axis = axes[0] if units > 1 else min(1, len(off.decisions) - 1)
    if isinstance(address, Mapping):
        if site.name not in address:
            seen = f"there is none for {site.name or 'the model'}"
            raise InputError(sentence("masks must be of all sites", seen, "leave it out with sites=[...]"))
        mask, scale = torch.as_tensor(address[site.name]).bool().flatten(), 1 / (1 - off.p) if off.p < 1 else 0.0
        if len(mask) != units:
            raise InputError(
                sentence("a mask must have an element for each unit", f"{site.name} has {units}, got {len(mask)}")
            )
    else:
        seed, member = (0, address) if isinstance(address, int) else address
        if member < 0:
            raise InputError(sentence("a member's number must be at least 0", f"got {member}"))
        [key] = keys([site.name], seed, member, member + 1)[site.name].tolist()
        mask = torch.from_numpy(philox.keep(range(units), off.p, key & 0xFFFFFFFFFFFFFFFF))
        scale = philox.scale(off.p)
    return _Cut(mask.nonzero().flatten(), axis, scale)


class _Thinner:
    """Makes the neighbours of sites smaller, in place: ``model`` is the copy.

    Args:
        model: that ran in the trace.
        trace: of one pass without dropout, in which no module worked in place.
    """

    def __init__(self, model: nn.Module, trace: Trace) -> None:
        self.model, self.trace = model, trace
        self._inputs: dict[nn.Module, _Cut] = {}
        self._outputs: dict[nn.Module, torch.Tensor] = {}
        self._instead: dict[nn.Module, nn.Module] = {}

    def cut(self, site: Found, dropout: nn.Module, dims: int, cut: _Cut) -> None:
        """Note what the neighbours of a site lose.

        Args:
            site: that drops.
            dropout: its module.
            dims: axes of what it drops.
            cut: what is kept.
        """
        step = self.trace.step(dropout)
        takers = None if step is None else self.trace.takers(step.made)
        if step is None or not takers or not all(self._takes(taker.module, cut, dims) for taker in takers):
            raise InputError(
                sentence(
                    "dropped units must go into linear or convolutional layers that are called once",
                    f"those of {site.name} go into {', '.join(op.name for op in site.consumers) or 'the output'}",
                    "leave it out with sites=[...]",
                )
            )
        self._inputs |= {taker.module: cut for taker in takers}
        makers = self._makers(step.source, cut, dims)
        self._outputs |= dict.fromkeys(makers, cut.units)
        self._instead[dropout] = nn.Identity() if makers else Keep(cut.units, cut.axis)

    def _takes(self, module: nn.Module, cut: _Cut, dims: int) -> bool:
        return self._layer(module, cut, dims) and self.trace.step(module) is not None and module not in self._inputs

    @staticmethod
    def _layer(module: nn.Module, cut: _Cut, dims: int) -> bool:
        """Whether a layer's inputs, or outputs, are units of a site."""
        if type(module) is nn.Linear:
            return cut.axis == dims - 1
        return isinstance(module, _CONVOLUTIONS) and module.groups == 1 and cut.axis == 1 and len(cut.units) > 0

    def _makers(self, tensor: torch.Tensor, cut: _Cut, dims: int) -> list[nn.Module]:
        """The layer that makes the units, and the norms behind it; none where anybody else looks at them."""
        norms: list[nn.Module] = []
        while True:
            maker, takers = self.trace.maker(tensor), self.trace.takers(tensor)
            if maker is None or takers is None or len(takers) != 1 or maker.module in self._outputs:
                return []
            if self._layer(maker.module, cut, dims):
                return [*norms, maker.module]
            if isinstance(maker.module, _NORMS) and cut.axis == 1:
                norms.append(maker.module)
            elif type(maker.module) not in _ELEMENTWISE:
                return []
            tensor = maker.source

    def apply(self) -> None:
        """Make the layers smaller."""
        for module, cut in self._inputs.items():
            weight = module.get_parameter("weight")
            module.weight = _like(weight, weight[:, cut.units] * cut.scale)
            setattr(module, "in_features" if isinstance(module, nn.Linear) else "in_channels", len(cut.units))
        for module, units in self._outputs.items():
            for name in ("weight", "bias", "running_mean", "running_var"):
                if isinstance(tensor := getattr(module, name, None), torch.Tensor):
                    setattr(module, name, _like(tensor, tensor[units]))
            normalises = isinstance(module, _NORMS)
            size = "num_features" if normalises else "out_features" if isinstance(module, nn.Linear) else "out_channels"
            setattr(module, size, len(units))
        for parent in list(self.model.modules()):
            for name, child in parent.named_children():
                if child in self._instead:
                    setattr(parent, name, self._instead[child])


def _like(old: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
    new = new.detach().clone()
    return nn.Parameter(new, old.requires_grad) if isinstance(old, nn.Parameter) else new


class _Copied(Off):
    """Drops nothing, but makes a tensor of its own, by which the trace knows where it went."""

    def drop(self, x: torch.Tensor, *rest: Any) -> torch.Tensor:
        """A copy of ``x``."""
        return super().drop(x, *rest).clone()
