"""Forward passes of a model in evaluation with chosen dropout sites active."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import nn
from torch.utils._pytree import tree_leaves, tree_map

from thinned import ops
from thinned.ensemble.find_sites import EnsembleSite, find_sites
from thinned.ensemble.inputs import ModelInputs
from thinned.ensemble.mask_sources import NoMask
from thinned.ensemble.site_mode import SiteMode
from thinned.errors import InputError, sentence
from thinned.tracing.eager_stance import eager_stance
from thinned.tracing.model_copy import copy_modules
from thinned.tracing.modules import named

__all__ = ["ForwardPasses", "Select"]

Select = Callable[[Any], torch.Tensor] | None
Value = TypeVar("Value")


class ForwardPasses:
    """Runs members of the ensemble on a structural copy of a model; the model itself is only read.

    Args:
        model: any module.
        x: input of the model: a tensor, a tuple of arguments, or a mapping of keyword arguments.
        chosen: names of the sites that drop; None chooses all.
        select: function that takes the tensor of interest out of the model's output.
        batch_axis: axis of examples of ``x``; None finds it.

    Attributes:
        model: the copy.
        sites: the chosen sites.
        loop_reason: reason for which members are run one after the other, "" while they are run together.
        classes_may_be_first: whether the axis of classes of the last output may be axis 1 instead of the last one.
    """

    def __init__(
        self, model: nn.Module, x: object, chosen: Sequence[str] | None, select: Select, batch_axis: int | None
    ) -> None:
        if not isinstance(model, nn.Module):
            raise TypeError(sentence("model must be a torch.nn.Module", f"got {type(model).__name__}"))
        self.model, self.inputs, self.select = copy_modules(model), ModelInputs.from_user(x), select
        self.sites = _choose(find_sites(model, self.model, self.inputs, batch_axis), chosen)
        self.loop_reason = ""
        self.classes_may_be_first = False
        self._eager = False
        self._mode = SiteMode(self.model, {site.name for site in self.sites}, {site.module for site in self.sites})

    def module(self, name: str) -> nn.Module:
        """The module of that name in the copy."""
        return next(module for path, module in named(self.model) if path == name)

    def members_at_once(self, values: int) -> int:
        """Number of members for which the largest known tensors hold at most ``values`` values together."""
        sizes = [math.prod(site.shape) for site in self.sites] + [tensor.numel() for tensor in self.inputs.tensors]
        return max(1, values // max(1, *sizes))

    def no_masks(self) -> dict[str, NoMask]:
        """Mask sources of the weight-scaled pass, which drops nothing."""
        return {site.name: NoMask(site.batch_axis) for site in self.sites}

    @torch.no_grad()
    def run(self, sources: Mapping[str, ops.Decider]) -> torch.Tensor:
        """The output of one pass.

        Args:
            sources: mask source of each chosen site, by name.

        Raises:
            InputError: a site was not reached, or the output holds more than one tensor and ``select`` is None.
        """
        if not self._eager:
            try:
                return self._run(sources)
            except Exception as error:
                if not type(error).__module__.startswith("torch._dynamo"):
                    raise
                self._eager = True  # the forward calls a compiled function, which torch cannot trace in the mode
        with eager_stance():
            return self._run(sources)

    def _run(self, sources: Mapping[str, ops.Decider]) -> torch.Tensor:
        inputs = self.inputs.map(torch.Tensor.clone)  # a model that works in place must not change the caller's
        with self._mode.use(sources):
            output = self.model(*inputs.args, **inputs.kwargs)
            convolved = self._mode.convolved
        if missed := {site.name for site in self.sites} - self._mode.reached:
            raise InputError(
                sentence(
                    "every chosen site must drop when its module trains and all else is in evaluation",
                    f"{', '.join(sorted(missed))} did not",
                    "leave it out with sites=[...]",
                )
            )
        if self.select is not None:
            return self.select(output)
        tensor = _one_tensor(output)
        self.classes_may_be_first = tensor.ndim > 3 or (tensor.ndim == 3 and tensor is convolved)
        return tensor

    def run_members(
        self,
        source: Callable[[int | None, torch.Tensor], ops.Decider],
        values: Mapping[str, torch.Tensor],
    ) -> torch.Tensor:
        """The outputs of many members along a new leading axis, in one batched pass if the model allows it.

        Everything before the first dropout runs once for all members.

        Args:
            source: makes a mask source from a site's axis of examples and a member's value.
            values: ``(members, ...)`` by the name of the site.
        """
        axes = {site.name: site.batch_axis for site in self.sites}

        def run(member: dict[str, torch.Tensor]) -> torch.Tensor:
            return self.run({name: source(axes[name], value) for name, value in member.items()})

        return self.map_members(run, dict(values))

    def map_members(self, run: Callable[[Value], torch.Tensor], values: Value) -> torch.Tensor:
        """``run`` of each leading entry of ``values``, by ``vmap``, or by a loop if the model does not allow it."""
        members = len(tree_leaves(values)[0])
        if not self.loop_reason:
            try:
                return torch.vmap(run, randomness="different")(values)
            except (RuntimeError, NotImplementedError, ValueError) as error:
                self.loop_reason = str(error).split("\n")[0]  # an error of the model itself recurs in the loop
        return torch.stack([run(tree_map(lambda leaf, m=member: leaf[m], values)) for member in range(members)])


def _choose(found: Sequence[EnsembleSite], chosen: Sequence[str] | None) -> tuple[EnsembleSite, ...]:
    names = [site.name for site in found]
    if not found:
        raise InputError(
            sentence("a model must have a dropout site with p > 0 to be an ensemble", "this one has none", "add one")
        )
    if chosen is None:
        return tuple(found)
    if isinstance(chosen, str) or not chosen or not set(chosen) <= set(names):
        raise InputError(
            sentence("sites must be names of sites that drop", f"got {chosen!r}", f"choose from {', '.join(names)}")
        )
    return tuple(site for site in found if site.name in chosen)


def _one_tensor(output: object) -> torch.Tensor:
    """The one tensor of an output, or its logits."""
    if isinstance(output, torch.Tensor):
        return output
    if isinstance(logits := getattr(output, "logits", None), torch.Tensor):
        return logits
    tensors = [leaf for leaf in tree_leaves(output) if isinstance(leaf, torch.Tensor)]
    if len(tensors) == 1:
        return tensors[0]
    raise InputError(
        sentence(
            "the output must be one tensor or have logits",
            f"got {type(output).__name__} with {len(tensors)} tensors",
            "select one, as in select=lambda output: output[0]",
        )
    )
