"""The sites of a model that can drop, and the axis of examples of each."""

import types
import weakref
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten

from thinned import layers
from thinned.ensemble.inputs import ModelInputs
from thinned.ensemble.pass_functions import normalise
from thinned.errors import InputError, sentence
from thinned.tracing import sites
from thinned.tracing.private_generators import TorchFunction
from thinned.tracing.site import Op, Site

__all__ = ["EnsembleSite", "find_sites"]

_WEIGHT_MASKS = (layers.DropConnect, layers.EmbeddingDropout)  # their masks have no axis of examples


class EnsembleSite(NamedTuple):
    """A site that can drop.

    Attributes:
        name: name of the site, as :func:`thinned.sites.find` gives it.
        module: name of the module that drops.
        kind: "module", "functional", "attention" or "rnn".
        p: probability of dropping when the site was found.
        shape: shape of the dropped tensor.
        batch_axis: axis of examples; None where the site has no such axis.
        consumers: operations that take the dropped tensor.
    """

    name: str
    module: str
    kind: str
    p: float
    shape: tuple[int, ...]
    batch_axis: int | None
    consumers: tuple[Op, ...]


class _RunningStatistics(TorchFunctionMode):
    """Normalisation by running statistics, although the model trains in the recorded pass."""

    def __torch_function__(
        self, func: TorchFunction, types: object, args: tuple[object, ...] = (), kwargs: dict[str, object] | None = None
    ) -> object:
        return normalise(func)(*args, **(kwargs or {}))


def find_sites(
    model: nn.Module, copied: nn.Module, inputs: ModelInputs, batch_axis: int | None
) -> tuple[EnsembleSite, ...]:
    """The sites that drop when ``model`` trains, by a recorded pass; remembered until the model changes.

    The memory holds names and shapes only, no tensor. A module that came, went or has another attribute, and inputs of
    another shape, structure or value (of what is no tensor), cause a new pass.

    Args:
        model: model of the user, which is only read.
        copied: structural copy of the model, which the pass runs.
        inputs: arguments of the pass.
        batch_axis: axis of examples of the inputs; None finds it.
    """
    fingerprint = _fingerprint(model, inputs, batch_axis)
    known = _known.get(model)
    if known is None or known[0] != fingerprint:
        known = _known[model] = fingerprint, tuple(_find(copied, inputs, batch_axis))
    return known[1]


_Fingerprint = tuple[object, ...]
_known: "weakref.WeakKeyDictionary[nn.Module, tuple[_Fingerprint, tuple[EnsembleSite, ...]]]"
_known = weakref.WeakKeyDictionary()
_PLAIN = (bool, int, float, str, type(None))
_FUNCTIONS = (types.FunctionType, types.MethodType)
_TABLES = {"_parameters", "_buffers", "_modules"} | {name for name in vars(nn.Module()) if name.endswith("hooks")}


def _fingerprint(model: nn.Module, inputs: ModelInputs, batch_axis: int | None) -> _Fingerprint:
    """A value that changes with everything for which a forward pass may take another way."""
    modules = [(id(m), type(m), tuple(_attributes(m.__dict__))) for m in model.modules()]
    leaves, structure = tree_flatten((inputs.args, inputs.kwargs))
    return modules, [_leaf(leaf) for leaf in leaves], structure, batch_axis


def _leaf(leaf: object) -> object:
    """What tells an argument from others, without keeping it alive."""
    if isinstance(leaf, torch.Tensor):
        return leaf.shape, leaf.dtype
    return (type(leaf), leaf) if isinstance(leaf, _PLAIN) else id(leaf)  # 1 equals True


def _attributes(attributes: Mapping[str, object], depth: int = 1) -> Iterator[tuple[str, object]]:
    """Numbers, strings and flags, also within configuration objects, and the identities of functions."""
    for name, value in list(attributes.items()):  # another thread may add attributes meanwhile
        if name in _TABLES or name == "training":
            continue
        if isinstance(value, _PLAIN):
            yield name, value
        elif isinstance(value, _FUNCTIONS):
            yield name, id(value)  # a bound method itself would keep the model alive
        elif depth and hasattr(value, "__dict__") and not isinstance(value, torch.Tensor | nn.Module):
            yield name, tuple(_attributes(vars(value), depth - 1))


def _find(model: nn.Module, inputs: ModelInputs, batch_axis: int | None) -> Iterator[EnsembleSite]:
    recorded = _record(model, inputs)
    axis = _input_batch_axis(recorded, inputs) if batch_axis is None else batch_axis
    site_axes = _site_batch_axes(model, inputs, recorded, axis)
    for site, site_axis in zip(recorded, site_axes, strict=True):
        if site.active and site.p > 0:
            path = site.name.split("#")[0]
            yield EnsembleSite(site.name, path, site.kind, float(site.p), site.shape, site_axis, site.consumers)


def _record(model: nn.Module, inputs: ModelInputs) -> tuple[Site, ...]:
    copies = inputs.map(torch.Tensor.clone)
    with torch.no_grad(), _RunningStatistics():
        return sites.find(model, *copies.args, **copies.kwargs)


def _input_batch_axis(recorded: Sequence[Site], inputs: ModelInputs) -> int:
    """0, or 1 for the time-first sequences that recurrent and attention modules take by default."""
    shape = tuple(inputs.tensors[0].shape) if inputs.tensors else ()
    for site in recorded:
        if getattr(site.module, "batch_first", True) or len(shape) < 2 or len(site.shape) < 3:
            continue
        time, batch = site.shape[:2] if site.kind == "rnn" else (site.shape[2], site.shape[0])
        if shape[:2] == (time, batch):
            if time == batch and time > 1:
                raise InputError(
                    sentence(
                        "the axis of examples must differ in size from the axis of time",
                        f"got an input of shape {shape} for {site.name}, which is not batch_first",
                        "pass batch_axis=0 or batch_axis=1",
                    )
                )
            return 1
    return 0


def _site_batch_axes(
    model: nn.Module, inputs: ModelInputs, recorded: Sequence[Site], axis: int
) -> Iterator[int | None]:
    """The axis of each site that doubles with the examples.

    An axis of the batch's length may be time; only an axis that doubles with the batch holds examples.
    """
    rows = inputs.rows(axis)
    doubled = inputs.map(lambda t: torch.cat([t, t], axis) if t.ndim > axis and t.shape[axis] == rows else t)
    try:
        twice = _record(model, doubled) if rows else recorded
    except (RuntimeError, ValueError, IndexError):  # the model takes one number of rows only
        twice = recorded
    for site, other in zip(recorded, twice if len(twice) == len(recorded) else recorded, strict=True):
        sizes = enumerate(zip(site.shape, other.shape, strict=False))
        doubling = [index for index, (size, more) in sizes if size == rows and more == 2 * rows]
        weight_mask = isinstance(site.module, _WEIGHT_MASKS)
        yield doubling[0] if len(doubling) == 1 and not weight_mask else None
