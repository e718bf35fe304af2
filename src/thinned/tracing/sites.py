"""Finds every dropout of a model by one recorded forward pass of the real model on a real input.

Dropout hides in modules, in ``F.dropout``, in attention and between the layers of an LSTM. A static search finds the
modules that exist; a recorded pass finds the calls that happen, and what stands before and behind each.
"""

from torch import nn

from thinned.tracing.modules import named
from thinned.tracing.recorded_pass import run_recorded
from thinned.tracing.recorder import recording
from thinned.tracing.silent_recorder import SilentRecorder
from thinned.tracing.site import Op, Recording, Site

__all__ = ["Op", "Recording", "Site", "find", "named", "record", "recording"]


def find(model: nn.Module, *args: object, **kwargs: object) -> tuple[Site, ...]:
    """Find every dropout site that a training forward pass of ``model`` reaches.

    The pass is ``model(*args, **kwargs)`` in training mode, with all submodules training. A copy of the modules runs,
    with the same parameters: other threads may run the model meanwhile, and its training flags, buffers, hooks and
    attributes stay as they are, also when the pass raises. (A list or another attribute that the forward changes in
    place stays changed.) Dropout drops nothing in the pass, and noise of the model's own comes from generators of the
    pass. The states of all other generators are put back, unless another thread runs that may draw from them.
    Intermediate tensors are not kept alive.

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
    recorder = run_recorded(model, SilentRecorder, args, kwargs).recorder
    modules = dict(named(model))
    recorded = (
        site._replace(module=modules.get(site.name.partition("#")[0], site.module)) for site in recorder.sites()
    )
    return Recording(tuple(recorded), tuple(dict.fromkeys(recorder.noise)))
