"""Finds every dropout of a model by one recorded forward pass of the real model on a real input.

Dropout hides in modules, in ``F.dropout``, in attention and between the layers of an LSTM. A static search finds the
modules that exist; a recorded pass finds the calls that happen, and what stands before and behind each.
"""

import torch
from torch import nn

from thinned.errors import sentence
from thinned.tracing.modules import OPAQUE, TORCH_DROPOUTS, is_leaf, is_thinned, named
from thinned.tracing.preserve import uninitialised, untouched
from thinned.tracing.recorder import VIEWS, Recorder, recording, unrouted
from thinned.tracing.site import Op, Recording, Site, site_name
from thinned.tracing.tensor_map import TensorMap, tensors

__all__ = [
    "OPAQUE",
    "TORCH_DROPOUTS",
    "VIEWS",
    "Op",
    "Recorder",
    "Recording",
    "Site",
    "TensorMap",
    "find",
    "is_leaf",
    "is_thinned",
    "named",
    "record",
    "recording",
    "site_name",
    "tensors",
    "uninitialised",
    "unrouted",
    "untouched",
]


def find(model: nn.Module, *args: object, **kwargs: object) -> tuple[Site, ...]:
    """Find every dropout site that a training forward pass of ``model`` reaches.

    The pass is ``model(*args, **kwargs)`` in training mode, with all submodules training. Afterwards the model is as it
    was, also when the pass raises: training flags, buffers, hooks, attributes of modules, and the states of the random
    generators of torch, NumPy and ``random``. (What a forward pass changes in place within an attribute, such as a
    list that it appends to, stays changed.) Intermediate tensors are not kept alive.

    TorchScript, and dropout written out as arithmetic on random numbers, are not seen as sites; the latter are in
    :func:`record`'s ``noise``.

    Args:
        model: any module; converted and addressed ones, too, whose clock does not tick.
        args: positional arguments of its forward.
        kwargs: keyword arguments of its forward.

    Returns:
        Sites in order of the calls, those with ``p`` = 0 included.

    Raises:
        TypeError: ``model`` is not a module.
        Exception: whatever the forward pass raises.

    Example:
        >>> import torch, thinned
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Dropout(0.2))
        >>> [site] = thinned.sites.find(model, torch.ones(2, 4))
        >>> site.name, site.kind, site.p, site.shape, site.producer
        ('2', 'module', 0.2, (2, 3), Op(module='1', name='ReLU'))
    """
    return record(model, *args, **kwargs).sites


def record(model: nn.Module, *args: object, **kwargs: object) -> Recording:
    """Record a training forward pass: its dropout sites, and the noise that the model draws by itself.

    Args:
        model: any module, as for :func:`find`.
        args: positional arguments of its forward.
        kwargs: keyword arguments of its forward.

    Returns:
        The sites that :func:`find` returns, and the functions of ``torch`` that drew random numbers besides dropout.

    Raises:
        TypeError: ``model`` is not a module.
        Exception: whatever the forward pass raises.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(sentence("model must be a torch.nn.Module", f"got {type(model).__name__}"))
    recorder = Recorder(model)
    with untouched(model), torch.compiler.set_stance("force_eager"), recorder.hooks(), recorder:
        model.train()
        recorder.recording = True
        model(*args, **kwargs)
    return Recording(tuple(recorder.sites()), tuple(dict.fromkeys(recorder.noise)))
