"""Puts residual blocks of known classes into the form that skips dropped samples, and reports the rest."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn

from thinned.conversion.routed_class import wrapper_of
from thinned.conversion.skipping.adapters import Adapter, adapter_of
from thinned.conversion.skipping.block_class import skip
from thinned.conversion.skipping.check import difference
from thinned.errors import InputError, sentence
from thinned.functional.stochastic_depth import batch_norm_in
from thinned.layers import DropPath
from thinned.ops import torch_private
from thinned.tracing.forward_arguments import forward_arguments
from thinned.tracing.model_copy import copy_modules
from thinned.tracing.modules import named
from thinned.tracing.silent_recorder import generators_kept

__all__ = ["SkippedBlock", "SkippingReport", "skip_dropped"]

_NAMES = ("DropPath", "StochasticDepth")  # ends of the names of classes that drop a branch


class SkippedBlock(NamedTuple):
    """A residual block that computes its branches for the kept samples only.

    Attributes:
        name: qualified name of the block.
        class_name: its class.
        p: rates of its branches, in order.
    """

    name: str
    class_name: str
    p: tuple[float, ...]


@dataclass(frozen=True)
class SkippingReport:
    """Which residual blocks skip dropped samples, and which branches are still masked.

    Attributes:
        skipped: blocks in the order of ``named_modules``.
        masked: name of a block, or of a module that drops, to the reason why it still masks.
    """

    skipped: tuple[SkippedBlock, ...]
    masked: Mapping[str, str]

    def __repr__(self) -> str:
        lines = [f"{len(self.skipped)} residual blocks skip dropped samples, {len(self.masked)} modules mask"]
        lines += [f"  {b.name or '(the model)'}: {b.class_name}, p = {', '.join(map(str, b.p))}" for b in self.skipped]
        lines += [f"  STILL MASKED {name or '(the model)'}: {reason}" for name, reason in self.masked.items()]
        return "\n".join(lines)


def skip_dropped(model: nn.Module, args: object, kwargs: Mapping[str, object] | None = None) -> SkippingReport:
    """Compute the residual branches of known blocks for the kept samples only, in place (stochastic depth).

    Known are timm's ``Block`` of vision transformers and ``ConvNeXtBlock``, torchvision's ConvNeXt and Swin (both
    versions), and transformers' ConvNeXt, BEiT and DINOv2. Their drop paths become :class:`thinned.DropPath`; classes'
    names, parameters and state dicts stay, and evaluation is bitwise what it was. A block is put into the new form only
    if a copy of it computes, on the input that it has in the model, what its own forward computes at the same address:
    a version of the library that computes something else is reported, not made wrong.

    In training, what :func:`thinned.functional.stochastic_depth` says of branches holds. A block that gets more than
    its input, such as a mask of attention, masks. Call it before :func:`thinned.address` and ``torch.compile``.

    Args:
        model: any module.
        args: positional arguments of its forward, as a tuple, or one object that is the only one.
        kwargs: keyword arguments of its forward.

    Returns:
        The blocks that skip, and what still masks, with the reasons.

    Raises:
        TypeError: ``model`` is not a module.
        InputError: the model was addressed or compiled before.
        Exception: whatever the forward pass raises.
    """
    forward_args, forward_kwargs = forward_arguments(args, kwargs, "thinned.skip_dropped")
    _check_model(model)
    inputs = _block_inputs(model, forward_args, forward_kwargs)
    skipped, masked = [], {}
    for name, block, adapter in _blocks(model):
        if reason := next(_obstacles(block, adapter, inputs.get(name)), ""):
            masked[name] = reason
            continue
        for branch in dict.fromkeys(branch.drop for branch in adapter.branches):
            setattr(block, branch, _ours(getattr(block, branch)))
        skip(block)
        skipped.append(SkippedBlock(name, type(block).__name__, tuple(_rates(block, adapter))))
    done = {name for name, _, _ in _blocks(model)}
    for name, module in named(model):
        if type(module).__name__.endswith(_NAMES) and name.rpartition(".")[0] not in done:
            masked[name] = f"no adapter for the block of this {type(module).__name__}"
    return SkippingReport(tuple(skipped), masked)


def _blocks(model: nn.Module) -> Iterator[tuple[str, nn.Module, Adapter]]:
    for name, module in named(model):
        if (adapter := adapter_of(module)) is not None:
            yield name, module, adapter


def _block_inputs(model: nn.Module, args: tuple[object, ...], kwargs: Mapping[str, object]) -> dict[str, torch.Tensor]:
    """The input of each block in an evaluation pass of a copy."""
    copied, inputs = copy_modules(model).eval(), {}
    for name, block, _ in _blocks(copied):

        def note(_: nn.Module, given: tuple[object, ...], more: Mapping[str, object], name: str = name) -> None:
            first = next(iter((*given, *more.values())))
            if isinstance(first, torch.Tensor):
                inputs[name] = first.detach()

        block.register_forward_pre_hook(note, with_kwargs=True)
    with torch.no_grad(), generators_kept():
        copied(*args, **kwargs)
    return inputs


def _obstacles(block: nn.Module, adapter: Adapter, x: torch.Tensor | None) -> Iterator[str]:
    """Yield why a block can't skip, the plainest reason first; later ones rely on there being no earlier one."""
    needed = [name for branch in adapter.branches for name in (branch.drop, *branch.parts)]
    for name in (*needed, *adapter.absent):
        if not hasattr(block, name):
            yield f"this version of {adapter.class_name} has no {name}"
    for name in adapter.absent:
        if not _is_nothing(getattr(block, name)):
            yield f"its {name} is part of what it computes"
    drops = [getattr(block, branch.drop) for branch in adapter.branches]
    if not any(type(drop).__name__.endswith(_NAMES) for drop in drops):
        yield "it drops nothing"
    if any(getattr(drop, "mode", "row") != "row" for drop in drops):
        yield "it drops the whole batch as one"
    if torch_private.any_hook(*drops):
        yield "its drop path has hooks"
    if any(batch_norm_in(part) for part in block.children()):
        yield "a batch norm in it computes statistics of the batch"
    if x is None:
        yield "it did not run on the arguments given"
    elif reason := difference(block, adapter, x):
        yield reason


def _is_nothing(value: object) -> bool:
    return value is None or value is False or isinstance(value, nn.Identity)


def _ours(drop: nn.Module) -> nn.Module:
    """A drop path as a layer of ours; an identity stays."""
    if isinstance(drop, DropPath) or not type(drop).__name__.endswith(_NAMES):
        return drop
    rate = getattr(drop, "drop_prob", None)
    ours = DropPath(float(getattr(drop, "p", 0.0) if rate is None else rate), getattr(drop, "scale_by_keep", True))
    return ours.train(drop.training)


def _rates(block: nn.Module, adapter: Adapter) -> Iterator[float]:
    for branch in adapter.branches:
        drop = getattr(block, branch.drop)
        yield drop.p if isinstance(drop, DropPath) else 0.0


def _check_model(model: nn.Module) -> None:
    if not isinstance(model, nn.Module):
        raise TypeError(sentence("model must be a torch.nn.Module", f"got {type(model).__name__}"))
    if any(wrapper_of(m) is not None or type(m).__name__ == "OptimizedModule" for m in model.modules()):
        requirement = "blocks must be put into the form that skips before thinned.address, convert and torch.compile"
        raise InputError(sentence(requirement, "got a model that was addressed, converted or compiled"))
