"""Measurements inside trained networks: dependence of hidden units, and the variances that batch norms receive."""

import itertools
import math
from collections.abc import Sequence
from typing import Protocol, TypeVar, cast

import numpy as np
import torch
from torch import nn

from thinned import schedules
from thinned.studies.design.plan import Member, Plan
from thinned.studies.design.streams import stream
from thinned.studies.training.cohort import Data, Stack, losses
from thinned.studies.training.network import MLP, BatchNorm, Hidden
from thinned.studies.training.records import Coadaptation, Probes, VarianceShift

__all__ = ["FRACTIONS", "dependence", "probe", "removal_masks"]

#: fractions of the units of every hidden layer that are removed from a trained network
FRACTIONS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
_SETS = 5  # random sets of units for each fraction
_ROWS = 4096  # probed rows of a split: more would sharpen little and cost time

Measured_co = TypeVar("Measured_co", covariant=True)


class _Measurement(Protocol[Measured_co]):
    def __call__(
        self, plan: Plan, network: MLP, members: Sequence[Member], data: Sequence[Data]
    ) -> Sequence[Measured_co]: ...


@torch.no_grad()
def probe(plan: Plan, members: Sequence[Member], data: Sequence[Data], stack: Stack) -> list[Probes]:
    """Probe the members of a trained cohort whose settings call for it; the stack stays as it is.

    Settings of arms "none" and "dropout" are probed for ``coadaptation``, settings with batch norm for
    ``variance_shift``: members that were trained on all rows, at a constant rate. A user's network is not probed.
    The first 4,096 test rows and training rows are used.

    Args:
        plan: plan of the study.
        members: members of the cohort.
        data: the split of each member.
        stack: the members' networks, with the weights to probe.

    Returns:
        The probes of each member; those that are not asked for are None.
    """
    if not isinstance(stack.base, MLP):
        return [Probes() for _ in members]
    plain = {setting for arm in plan.arms if arm.name in ("none", "dropout") for setting in arm.settings}
    settings = [plan.settings[member.setting] for member in members]
    whole = [m for m, s in enumerate(settings) if s.schedule == "constant" and not members[m].size]

    def measure(probe_members: _Measurement[Measured_co], chosen: list[int]) -> dict[int, Measured_co]:
        if not chosen:
            return {}
        measured = probe_members(
            plan, cast("MLP", stack.some(chosen)), [members[m] for m in chosen], [data[m] for m in chosen]
        )
        return dict(zip(chosen, measured, strict=True))

    coadaptation = measure(_coadaptation, [m for m in whole if settings[m] in plain])
    variance_shift = measure(_variance_shift, [m for m in whole if settings[m].batch_norm and not settings[m].one_mask])
    return [Probes(coadaptation.get(m), variance_shift.get(m)) for m in range(len(members))]


def dependence(units: torch.Tensor) -> torch.Tensor:
    """Mean absolute correlation of two units of a layer (their cross-covariance, Cogswell et al. 2016, standardised).

    Args:
        units: ``(members, rows, units)`` activations; units that are the same on all rows are left out.

    Returns:
        ``(members,)``, in [0, 1]; NaN where fewer than two units vary.
    """
    varies = units.amax(1) > units.amin(1)
    centred = (units - units.mean(1, keepdim=True)) * varies.unsqueeze(1)
    scaled = centred / centred.norm(dim=1, keepdim=True).clamp_min(torch.finfo(units.dtype).tiny)
    correlation = (scaled.mT @ scaled).abs()
    count = varies.sum(1)
    between: torch.Tensor = correlation.sum((1, 2)) - correlation.diagonal(dim1=1, dim2=2).sum(1)
    return between / (count * (count - 1))


def removal_masks(plan: Plan, member: Member, number: int, width: int, layer: int) -> torch.Tensor:
    """Masks that remove units of a layer, ``(fractions, width)``: 0, or for those that stay width / left.

    The units are the first of a random order, so that a larger fraction removes what a smaller one does, and more.
    The order belongs to the split, the number of the set and the layer: networks of a split lose the same units.
    """
    order = stream(plan.seed, "removal", member.repeat, member.fold, number, layer).permutation(width)
    place = torch.from_numpy(np.argsort(order))
    taken = [round(fraction * width) for fraction in FRACTIONS]
    return torch.stack([(place >= k) * (width / (width - k)) for k in taken]).float()


def _coadaptation(plan: Plan, network: MLP, members: Sequence[Member], data: Sequence[Data]) -> list[Coadaptation]:
    """``dependence``, mean over the hidden layers; ``removal``, test loss at each fraction, mean over the sets."""
    x, y = _gather(data, [d.test for d in data])
    units = list(itertools.accumulate(network.hidden, lambda before, layer: layer(before), initial=x))[1:]
    between = torch.stack([dependence(layer) for layer in units]).nanmean(0)
    means = _removal(plan, network, members, units[0], y)
    return [
        Coadaptation(dependence=_number(between[m]), removal=tuple(_number(value) for value in means[m]))
        for m in range(len(members))
    ]


def _removal(plan: Plan, network: MLP, members: Sequence[Member], first: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Loss at each fraction, mean over the sets: ``(members, fractions)``; ``first`` are the first layer's units."""
    layers = [layer for layer in network.hidden if isinstance(layer, Hidden)]
    widths = [layer.linear.out_features for layer in layers]
    total = torch.zeros(len(members), len(FRACTIONS), dtype=torch.float64)
    for number in range(_SETS):
        masks = [
            torch.stack([removal_masks(plan, member, number, width, depth) for member in members])
            for depth, width in enumerate(widths)
        ]
        for f in range(1 if number else 0, len(FRACTIONS)):  # with nothing taken out all sets are the same
            kept = first * masks[0][:, f, None]
            for layer, mask in zip(layers[1:], masks[1:], strict=True):
                kept = layer(kept).mul_(mask[:, f, None])
            total[:, f] += losses(plan.task, network.output(kept).double(), y).mean(1)
    return total / torch.tensor([1 if fraction == 0 else _SETS for fraction in FRACTIONS])


def _variance_shift(plan: Plan, network: MLP, members: Sequence[Member], data: Sequence[Data]) -> list[VarianceShift]:
    """``ratios``, of each batch norm; test loss ``before`` its statistics are estimated anew, and ``after``.

    The ratio is the variance over training rows of the batch norm's input in training mode, to that in evaluation mode
    (the variance shift of Li et al. 2019), each summed over the units. The statistics are estimated anew in one pass
    over these rows with dropout off (Hendrycks & Gimpel 2016, §3), as :func:`thinned.recalibrate_batchnorm` does.
    """
    norms = [module for module in network.modules() if isinstance(module, BatchNorm)]
    sites = [
        site for site in schedules.dropout_layers(network).values() if site.rate is not None
    ]  # at which a member drops
    x, _ = _gather(data, [d.train for d in data])
    x_test, y_test = _gather(data, [d.test for d in data])

    def test_loss() -> torch.Tensor:
        return losses(plan.task, network.eval()(x_test).double(), y_test).mean(1)

    before, in_evaluation = test_loss(), _variances(network.eval(), norms, x)
    for norm in norms:
        norm.train().momentum = 0.0  # this pass leaves the statistics as they are
    for site in sites:
        site.train()
    in_training = _variances(network, norms, x)
    for site in sites:
        site.eval()
    for norm in norms:
        norm.momentum = 1.0  # the statistics become those of this pass
    network(x)
    after = test_loss()
    ratios = in_training / in_evaluation
    return [
        VarianceShift(tuple(_number(r) for r in ratios[m]), before=_number(before[m]), after=_number(after[m]))
        for m in range(len(members))
    ]


def _variances(network: nn.Module, norms: Sequence[nn.Module], x: torch.Tensor) -> torch.Tensor:
    """Variance over rows of the inputs of each batch norm, summed over units: ``(members, norms)``."""
    variances: list[torch.Tensor] = []
    hooks = [
        norm.register_forward_pre_hook(lambda _, inputs: variances.append(inputs[0].var(1).sum(1))) for norm in norms
    ]
    network(x)
    for hook in hooks:
        hook.remove()
    return torch.stack(variances, dim=1)


def _gather(data: Sequence[Data], rows: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """The first of these rows of each member: ``(members, rows, columns)`` and ``(members, rows)``."""
    x = torch.stack([d.x[own[:_ROWS]] for d, own in zip(data, rows, strict=True)])
    return x, torch.stack([d.y[own[:_ROWS]] for d, own in zip(data, rows, strict=True)])


def _number(value: torch.Tensor) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None
