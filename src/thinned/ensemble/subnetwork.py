"""A sub-network as a network of its own: the kept units, and nothing of the others."""

import copy
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import nn

from thinned import philox
from thinned.ensemble.find_sites import EnsembleSite
from thinned.ensemble.forward import ForwardPasses
from thinned.ensemble.mask_sources import NoMask
from thinned.ensemble.module_trace import ModuleTrace
from thinned.ensemble.sampling import member_keys
from thinned.errors import InputError, sentence
from thinned.kernels.address import Region
from thinned.kernels.form import Form
from thinned.tracing.modules import named

__all__ = ["Keep", "subnetwork"]

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
#: each element by itself, so that the value of a dropped unit matters to no other
_ELEMENTWISE = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Softplus, nn.Identity),
    *(nn.Sigmoid, nn.Tanh, nn.Softsign, nn.Hardswish, nn.Hardtanh, nn.Hardsigmoid, nn.LogSigmoid, nn.Softshrink),
)

Address = int | tuple[int, int] | Mapping[str, torch.Tensor]


class Keep(nn.Module):
    """Passes the kept units on; stands in place of a dropout before which no layer can be made smaller.

    Args:
        units: numbers of the kept units, int64.
        axis: axis of units.
    """

    units: torch.Tensor

    def __init__(self, units: torch.Tensor, axis: int) -> None:
        super().__init__()
        self.register_buffer("units", units)
        self.axis = axis

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The kept units of ``x``."""
        return x.index_select(self.axis, self.units)


class _KeptUnits(NamedTuple):
    """The kept units of a site, along ``axis`` of a tensor of ``ndim`` axes, and the scale of survivors."""

    units: torch.Tensor
    axis: int
    ndim: int
    scale: float


def subnetwork(
    model: nn.Module,
    address: Address,
    x: object = None,
    *,
    sites: Sequence[str] | None = None,
    batch_axis: int | None = None,
) -> nn.Module:
    """The thinned network itself: a copy of ``model`` with the kept units only, equal to the masked model.

    Linear and convolutional layers behind a site lose the inputs of dropped units, and take over the scale of the
    survivors. The layer before the site loses the outputs if only batch norm and elementwise activations stand between;
    otherwise the kept units are selected where the dropout stood. ``torch.nn.utils.weight_norm`` and ``spectral_norm``
    are removed from layers that change; these get the normalised weight.

    Args:
        model: any module; it is not changed.
        address: address of the member: its number in the ensemble of seed 0; ``(seed, number)``; or a mask for each
            site (bool, one element a unit, True is kept), as :class:`Enumeration` gives them, whose survivors are
            scaled by 1 / (1 − p).
        x: an example input of a few rows; None where the first layer is ``nn.Linear``.
        sites: names of the sites that drop; None chooses all. Others are in evaluation.
        batch_axis: axis of examples of ``x``.

    Returns:
        A smaller module, in evaluation. Parameters are copies.

    Raises:
        InputError: a site does not drop whole units, or the dropped units go into layers of other types.

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
    passes = ForwardPasses(model, _example_input(model) if x is None else x, sites, lambda output: output, batch_axis)
    for module in passes.model.modules():
        if getattr(module, "inplace", False):
            module.inplace = False  # type: ignore[assignment]
    trace = ModuleTrace()
    sources = {site.name: _CopiedInput(site.batch_axis) for site in passes.sites}
    with trace.recording(passes.model):
        trace.add_output(passes.run(sources))
    smaller = _SmallerLayers(trace)
    for site in passes.sites:
        smaller.remove_units(site, passes.module(site.module), _kept_units(address, site, sources[site.name]))
    thinned = _deep_copy(model)
    smaller.apply(thinned, passes.model)
    return thinned.eval()


def _example_input(model: nn.Module) -> torch.Tensor:
    first = next((module for module in model.modules() if any(True for _ in module.parameters(recurse=False))), None)
    if type(first) is nn.Linear:
        return next(first.parameters(recurse=False)).new_zeros(1, first.in_features)
    raise InputError(
        sentence("x must be given where the first layer is not linear", f"it is {type(first).__name__}", "pass x=")
    )


def _deep_copy(model: nn.Module) -> nn.Module:
    """A deep copy, also where weight_norm or spectral_norm left a weight that has a gradient function."""
    attributes = [value for module in model.modules() for value in list(module.__dict__.values())]
    computed = [value for value in attributes if isinstance(value, torch.Tensor) and not value.is_leaf]
    return copy.deepcopy(model, {id(tensor): tensor.detach().clone() for tensor in computed})


def _kept_units(address: Address, site: EnsembleSite, source: NoMask) -> _KeptUnits:
    """The units of a site that a member keeps."""
    units = math.prod(source.mask_shape)
    axes = [axis for axis, size in enumerate(source.mask_shape) if size == units]
    if len(axes) == 0 or source.form is not Form.DROPOUT or site.kind != "module":
        raise InputError(
            sentence(
                "a site must be a module that drops whole units for the network to be made smaller",
                f"{site.name or 'the model'} is of kind {site.kind}, with decisions of shape {source.mask_shape}",
                "leave it out with sites=[...]",
            )
        )
    ndim = len(source.mask_shape)
    axis = axes[0] if units > 1 else min(1, ndim - 1)
    if isinstance(address, Mapping):
        mask, scale = _given_mask(address, site, units), 1 / (1 - source.p) if source.p < 1 else 0.0
    else:
        mask, scale = _sampled_mask(address, site, units, source.p), philox.scale(source.p)
    return _KeptUnits(mask.nonzero().flatten(), axis, ndim, scale)


def _given_mask(masks: Mapping[str, torch.Tensor], site: EnsembleSite, units: int) -> torch.Tensor:
    if site.name not in masks:
        value = f"there is none for {site.name or 'the model'}"
        raise InputError(sentence("there must be a mask for every site", value, "leave it out with sites=[...]"))
    mask = torch.as_tensor(masks[site.name]).bool().flatten()
    if len(mask) != units:
        raise InputError(
            sentence("a mask must have an element for each unit", f"{site.name} has {units}; got {len(mask)}")
        )
    return mask


def _sampled_mask(address: int | tuple[int, int], site: EnsembleSite, units: int, p: float) -> torch.Tensor:
    seed, member = (0, address) if isinstance(address, int) else address
    if member < 0:
        raise InputError(sentence("a member's number must be at least 0", f"got {member}"))
    [key] = member_keys([site.name], seed, member, member + 1)[site.name].tolist()
    return torch.from_numpy(philox.keep(range(units), p, key & 0xFFFFFFFFFFFFFFFF))


class _SmallerLayers:
    """The layers that become smaller, collected site by site and then applied to a deep copy of the model.

    Args:
        trace: trace of one pass without dropout, in which no module worked in place.
    """

    def __init__(self, trace: ModuleTrace) -> None:
        self._trace = trace
        self._inputs: dict[nn.Module, _KeptUnits] = {}
        self._outputs: dict[nn.Module, torch.Tensor] = {}
        self._replacements: dict[nn.Module, nn.Module] = {}

    def remove_units(self, site: EnsembleSite, dropout: nn.Module, kept: _KeptUnits) -> None:
        """Note the inputs and outputs that the layers around a site lose.

        Raises:
            InputError: a layer behind the site cannot lose inputs.
        """
        call = self._trace.only_call(dropout)
        consumers = None if call is None else self._trace.consumers(call.output)
        if call is None or not consumers or not all(self._can_lose_inputs(c.module, kept) for c in consumers):
            raise InputError(
                sentence(
                    "dropped units must go into linear or convolutional layers that are called once",
                    f"those of {site.name} go into {', '.join(op.name for op in site.consumers) or 'the output'}",
                    "leave it out with sites=[...]",
                )
            )
        self._inputs |= {consumer.module: kept for consumer in consumers}
        producers = self._producers(call.input, kept)
        self._outputs |= dict.fromkeys(producers, kept.units)
        self._replacements[dropout] = nn.Identity() if producers else Keep(kept.units, kept.axis)

    def _can_lose_inputs(self, module: nn.Module, kept: _KeptUnits) -> bool:
        once = self._trace.only_call(module) is not None and module not in self._inputs
        return once and self._has_units(module, kept)

    @staticmethod
    def _has_units(module: nn.Module, kept: _KeptUnits) -> bool:
        """Tell whether the inputs, or outputs, of a layer are the units of a site."""
        if type(module) is nn.Linear:
            return kept.axis == kept.ndim - 1
        return isinstance(module, _CONVOLUTIONS) and module.groups == 1 and kept.axis == 1 and len(kept.units) > 0

    def _producers(self, tensor: torch.Tensor, kept: _KeptUnits) -> list[nn.Module]:
        """The layer that makes the units, and the norms behind it; none where other operations take its output."""
        norms: list[nn.Module] = []
        while True:
            producer, consumers = self._trace.producer(tensor), self._trace.consumers(tensor)
            if producer is None or consumers is None or len(consumers) != 1 or producer.module in self._outputs:
                return []
            if self._has_units(producer.module, kept):
                return [*norms, producer.module]
            if isinstance(producer.module, _NORMS) and kept.axis == 1:
                norms.append(producer.module)
            elif type(producer.module) not in _ELEMENTWISE:
                return []
            tensor = producer.input

    def apply(self, model: nn.Module, traced: nn.Module) -> None:
        """Make the layers of ``model`` smaller; ``traced`` is the model that ran in the trace."""
        by_name = dict(named(model))
        twins = {module: by_name[name] for name, module in named(traced)}
        for module in {*self._inputs, *self._outputs}:
            _remove_weight_hooks(twins[module])
        for module, kept in self._inputs.items():
            _keep_inputs(twins[module], kept)
        for module, units in self._outputs.items():
            _keep_outputs(twins[module], units)
        replacements = {twins[module]: replacement for module, replacement in self._replacements.items()}
        for parent in list(model.modules()):
            for name, child in parent.named_children():
                if child in replacements:
                    setattr(parent, name, replacements[child])


def _remove_weight_hooks(module: nn.Module) -> None:
    """Turn the weight that weight_norm or spectral_norm computes before each forward into a parameter."""
    remove = {
        "WeightNorm": torch.nn.utils.remove_weight_norm,
        "SpectralNorm": torch.nn.utils.remove_spectral_norm,
    }
    for hook in list(module._forward_pre_hooks.values()):
        if (kind := type(hook).__name__) in remove:
            remove[kind](module, vars(hook)["name"])


def _keep_inputs(module: nn.Module, kept: _KeptUnits) -> None:
    weight = module.get_parameter("weight")
    module.weight = _like(weight, weight[:, kept.units] * kept.scale)
    setattr(module, "in_features" if isinstance(module, nn.Linear) else "in_channels", len(kept.units))


def _keep_outputs(module: nn.Module, units: torch.Tensor) -> None:
    for name in ("weight", "bias", "running_mean", "running_var"):
        if isinstance(tensor := getattr(module, name, None), torch.Tensor):
            setattr(module, name, _like(tensor, tensor[units]))
    if isinstance(module, _NORMS):
        module.num_features = len(units)
    else:
        setattr(module, "out_features" if isinstance(module, nn.Linear) else "out_channels", len(units))


def _like(old: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
    new = new.detach().clone()
    return nn.Parameter(new, old.requires_grad) if isinstance(old, nn.Parameter) else new


class _CopiedInput(NoMask):
    """Drops nothing, but makes a tensor of its own, whose identity the trace can follow."""

    def drop(
        self, x: torch.Tensor, p: float | torch.Tensor, region: Region, residual: torch.Tensor | None, form: Form
    ) -> torch.Tensor:
        """A copy of ``x``."""
        return super().drop(x, p, region, residual, form).clone()
