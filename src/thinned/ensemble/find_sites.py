"""Which sites of a model can drop, and along which axis of each the examples lie."""

import types
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

from thinned import layers
from thinned.errors import InputError, sentence
from thinned.tracing import sites

__all__ = ["Found", "Inputs", "evaluated", "find"]

_OF_WEIGHTS = (layers.DropConnect, layers.EmbeddingDropout)  # masks without examples


class Inputs(NamedTuple):
    """The arguments of a forward."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    @classmethod
    def of(cls, x: Any) -> "Inputs":
        """A mapping gives keyword arguments, a tuple or list positional ones, anything else is the one argument."""
        if isinstance(x, Mapping):
            return cls((), {str(name): value for name, value in x.items()})
        return cls(tuple(x), {}) if isinstance(x, tuple | list) else cls((x,), {})

    @property
    def tensors(self) -> list[torch.Tensor]:
        """All tensors among them."""
        return [leaf for leaf in tree_leaves((self.args, self.kwargs)) if isinstance(leaf, torch.Tensor)]

    def map(self, function: Callable[[torch.Tensor], torch.Tensor]) -> "Inputs":
        """The same with ``function`` of every tensor."""
        return Inputs(
            *tree_map(lambda leaf: function(leaf) if isinstance(leaf, torch.Tensor) else leaf, (self.args, self.kwargs))
        )


class Found(NamedTuple):
    """A site that can drop.

    Attributes:
        name: as :func:`thinned.sites.find` gives it.
        module: name of the module that drops.
        kind: "module", "functional", "attention" or "rnn".
        p: probability of dropping, when it was found.
        shape: of what is dropped.
        axis: along which the examples lie; None where the site has no such axis.
        consumers: what takes the dropped tensor.
    """

    name: str
    module: str
    kind: str
    p: float
    shape: tuple[int, ...]
    axis: int | None
    consumers: tuple[sites.Op, ...]


def _batch_norm(
    input: torch.Tensor,  # noqa: A002
    running_mean: torch.Tensor | None,
    running_var: torch.Tensor | None,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> torch.Tensor:
    return F.batch_norm(
        input, running_mean, running_var, weight, bias, training and running_mean is None, momentum, eps
    )


def _instance_norm(
    input: torch.Tensor,  # noqa: A002
    running_mean: torch.Tensor | None = None,
    running_var: torch.Tensor | None = None,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> torch.Tensor:
    return F.instance_norm(
        input, running_mean, running_var, weight, bias, use_input_stats and running_mean is None, momentum, eps
    )


#: normalisations as evaluation runs them: a batch of one row has no statistics, and running ones are not to change
evaluated: dict[Any, Callable[..., torch.Tensor]] = {F.batch_norm: _batch_norm, F.instance_norm: _instance_norm}


class _Evaluated(TorchFunctionMode):
    """Normalisation with its running statistics, though the model trains for the recorded pass."""

    def __torch_function__(self, func: Any, classes: Any, args: Any = (), kwargs: Any = None) -> Any:
        return evaluated.get(func, func)(*args, **(kwargs or {}))


def find(model: nn.Module, inputs: Inputs, batch_axis: int | None) -> tuple[Found, ...]:
    """The sites that drop when ``model`` trains, found by a recorded pass; remembered until something changes.

    What is remembered has names and shapes only, no tensor; a module that came, went or has another attribute, and
    inputs of another shape, make a new pass.
    """
    mark = _mark(model, inputs, batch_axis)
    known = _known.get(model)
    if known is None or known[0] != mark:
        known = _known[model] = mark, tuple(_find(model, inputs, batch_axis))
    return known[1]


_known: "weakref.WeakKeyDictionary[nn.Module, tuple[Any, tuple[Found, ...]]]" = weakref.WeakKeyDictionary()
_PLAIN = (bool, int, float, str, type(None))
_FUNCTIONS = (types.FunctionType, types.MethodType)
_TABLES = {"_parameters", "_buffers", "_modules"} | {name for name in vars(nn.Module()) if name.endswith("hooks")}


def _mark(model: nn.Module, inputs: Inputs, batch_axis: int | None) -> Any:
    """Changes whenever something changes that a forward pass may take another way for."""
    modules = [(id(m), type(m), tuple(_attributes(m.__dict__))) for m in model.modules()]
    return modules, [(t.shape, t.dtype) for t in inputs.tensors], tuple(inputs.kwargs), batch_axis


def _attributes(attributes: Mapping[str, Any], depth: int = 1) -> Iterator[Any]:
    """Numbers, strings and flags, those of configuration objects among them, and identities of functions."""
    for name, value in attributes.items():
        if name in _TABLES or name == "training":
            continue
        if isinstance(value, _PLAIN):
            yield name, value
        elif isinstance(value, _FUNCTIONS):
            yield name, id(value)  # not itself: a bound method would keep the model alive
        elif depth and hasattr(value, "__dict__") and not isinstance(value, torch.Tensor | nn.Module):
            yield name, tuple(_attributes(vars(value), depth - 1))


def _find(model: nn.Module, inputs: Inputs, batch_axis: int | None) -> Iterator[Found]:
    found = _record(model, inputs)
    axis = _examples_axis(found, inputs) if batch_axis is None else batch_axis
    axes = _site_axes(model, inputs, found, axis)
    for site, site_axis in zip(found, axes, strict=True):
        if site.active and site.p > 0:
            path = site.name.split("#")[0]
            yield Found(site.name, path, site.kind, float(site.p), site.shape, site_axis, site.consumers)


def _record(model: nn.Module, inputs: Inputs) -> tuple[sites.Site, ...]:
    copies = inputs.map(torch.Tensor.clone)
    with torch.no_grad(), _Evaluated():
        return sites.find(model, *copies.args, **copies.kwargs)


def _examples_axis(found: Sequence[sites.Site], inputs: Inputs) -> int:
    """0, or 1 for the time-first sequences that recurrent and attention modules take by default."""
    shape = tuple(inputs.tensors[0].shape) if inputs.tensors else ()
    for site in found:
        if getattr(site.module, "batch_first", True) or len(shape) < 2 or len(site.shape) < 3:
            continue
        time, batch = site.shape[:2] if site.kind == "rnn" else (site.shape[2], site.shape[0])
        if shape[:2] == (time, batch):
            if time == batch and time > 1:
                raise InputError(
                    sentence(
                        "the axis of examples must be known, to tell it from that of time",
                        f"got an input of shape {shape} for {site.name}, which is not batch_first",
                        "pass batch_axis=0 or batch_axis=1",
                    )
                )
            return 1
    return 0


def _site_axes(model: nn.Module, inputs: Inputs, found: Sequence[sites.Site], axis: int) -> Iterator[int | None]:
    """The axis of each site that grows when there are twice as many examples.

    One that has as many entries may be time; one that holds examples and heads is twice as long, too, but has more.
    """
    rows = _rows(inputs, axis)
    doubled = inputs.map(lambda t: torch.cat([t, t], axis) if t.ndim > axis and t.shape[axis] == rows else t)
    try:
        twice = _record(model, doubled) if rows else found
    except (RuntimeError, ValueError, IndexError):  # a model for one number of rows alone
        twice = found
    for site, other in zip(found, twice if len(twice) == len(found) else found, strict=True):
        pairs = enumerate(zip(site.shape, other.shape, strict=False))
        grown = [a for a, (size, more) in pairs if size == rows and more == 2 * rows]
        of_weights = isinstance(site.module, _OF_WEIGHTS)
        yield grown[0] if len(grown) == 1 and not of_weights else None


def _rows(inputs: Inputs, axis: int) -> int:
    for tensor in inputs.tensors:
        if tensor.ndim > axis:
            return tensor.shape[axis]
    return 0
