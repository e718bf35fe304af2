"""Makes every dropout of a model ours, and gives its masks addresses: ``convert`` and ``address``."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from thinned import layers
from thinned.conversion.runtime import CLOCK, Circuit, Entry, Parts, Report, entry_of
from thinned.errors import sentence
from thinned.layers import Addressed
from thinned.layers.base import register_address
from thinned.tracing import sites

__all__ = ["Report", "address", "convert"]

_LAYERS: dict[type[nn.Module], type[nn.Module]] = {
    nn.Dropout: layers.Dropout,
    nn.Dropout1d: layers.Dropout1d,
    nn.Dropout2d: layers.Dropout2d,
    nn.Dropout3d: layers.Dropout3d,
    nn.AlphaDropout: layers.AlphaDropout,
    nn.FeatureAlphaDropout: layers.FeatureAlphaDropout,
}


def convert(model: nn.Module, *args: Any, **kwargs: Any) -> Report:
    """Make every dropout of a model ours, in place.

    Dropout modules of ``torch.nn`` become ours: the same objects, of another class. What torch's functions drop in a
    forward (``F.dropout``, ``scaled_dot_product_attention``, attention and recurrent modules) is taken over while the
    model trains. Parameters, state dict keys, hooks and train/eval flags stay, and evaluation runs the code that it ran
    before. The model can be copied, pickled and compiled as before; copies are converted, too.

    Args:
        model: any module.
        args: an example input of its forward; with one, a recorded pass (:func:`thinned.sites.find`) completes the
            report at once, without it functional sites are added as the model runs.
        kwargs: of its forward.

    Returns:
        What was converted, and what was not, with the reason: dropout of a class of somebody's own that draws its own
        random numbers, TorchScript, and functions that activation checkpointing runs without a module.

    Raises:
        TypeError: ``model`` is not a module.

    Example:
        >>> import torch, thinned
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Dropout(0.2))
        >>> thinned.convert(model)
        1 sites converted, 0 not
          1: Dropout
    """
    circuit = _circuit(model)
    for name, module in sites.named(model):
        _convert_module(name, module, circuit.report)
        _enter(name, module, circuit)
    if args or kwargs:
        _complete(circuit.report, sites.record(model, *args, **kwargs))
    return circuit.report


def address(model: nn.Module, seed: int, *, parts: Parts | Callable[[str], Parts] | None = None) -> Report:
    """Give every mask of a model an address, so that a run can be repeated, resumed and split.

    The model is converted (:func:`convert`). The mask of a site in training forward number ``n`` of the model, counted
    from 0, is the one at key ``fold_in(seed, site_number(name))`` and call ``n``, with the names of
    :func:`thinned.sites.find`. What has been counted is the buffer ``thinned_clock`` of the model (0-dim int64), which
    is in its state dict; state dicts without it load under ``strict=True``, and leave it as it is. It counts forward
    passes of the model in training mode, or of a part of it that is called by itself; not those that activation
    checkpointing runs again, which get their first masks once more. Torch's generator is drawn from as before, and
    has no influence on a mask.

    With ``parts``, processes that share the work drop what one process would that does all of it. Data-parallel
    training, the batch along axis 0 and cut into equal parts: ``parts={0: (rank, world_size)}``. Where tensors of some
    sites are cut otherwise (time-first sequences, features of a tensor-parallel layer), a function tells the parts by
    the site's name: ``lambda name: {-1: (rank, world_size)} if name == "mlp.drop" else {}``. The same mapping for all
    sites leaves out ``DropConnect`` and ``EmbeddingDropout``, whose masks all processes share.

    A layer of ours whose ``key`` is already set keeps it, and a call of ``thinned.functional`` in the model's own code
    needs its ``key`` and ``call`` as everywhere: without them it draws. Called again, ``address`` sets the seed and
    starts the clock at 0.

    Args:
        model: any module.
        seed: 64-bit number that all keys follow from.
        parts: axis of a dropped tensor to (number of this process's part, number of equal parts); attention weights
            have the axes (batch, head, query, key).

    Returns:
        The report of the conversion.

    Raises:
        TypeError: ``model`` is not a module, or ``seed`` not an int.
        ValueError: ``parts`` are no parts, or a module within ``model`` was converted before, as a model of its own.
    """
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise TypeError(sentence("seed must be an int", f"got seed={seed!r}"))
    report = convert(model)
    circuit = _circuit(model)
    circuit.seed, circuit.parts = seed, {} if parts is None else _checked(parts)
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    if CLOCK in model._buffers:
        del model._buffers[CLOCK]
    else:
        model.register_load_state_dict_pre_hook(_tolerate)  # type: ignore[no-untyped-call]
    model.register_buffer(CLOCK, torch.zeros((), dtype=torch.int64, device=device))
    for name, module in sites.named(model):
        _enter(name, module, circuit)
        if (entry := entry_of(module)) is not None:
            entry.know_keys()
    return report


def _checked(parts: Parts | Callable[[str], Parts]) -> Parts | Callable[[str], Parts]:
    if not callable(parts):
        for axis, (part, count) in parts.items():
            if not 0 <= part < count:
                raise ValueError(
                    sentence(
                        "parts must give (part, count) with 0 <= part < count", f"got {(part, count)} for axis {axis}"
                    )
                )
    return parts


def _tolerate(module: nn.Module, state_dict: dict[str, Any], prefix: str, *_: object) -> None:
    """A state dict from before the model was addressed leaves the clock as it is."""
    state_dict.setdefault(prefix + CLOCK, module._buffers[CLOCK])


def _circuit(model: nn.Module) -> Circuit:
    """The circuit of a model, made where there is none."""
    if not isinstance(model, nn.Module):
        raise TypeError(sentence("model must be a torch.nn.Module", f"got {type(model).__name__}"))
    entry = entry_of(model)
    if entry is not None and entry.circuit.root is model:
        return entry.circuit
    for name, module in model.named_modules():
        if entry_of(module) is not None:
            raise ValueError(
                sentence(
                    "a model must be converted or addressed as a whole",
                    f"its part {name or 'itself'} was converted before, on its own",
                    "convert the outermost model only",
                )
            )
    return Circuit(model)


def _convert_module(name: str, module: nn.Module, report: Report) -> None:
    ours = _LAYERS.get(type(module))
    if isinstance(module, torch.jit.ScriptModule):
        report.unconverted[name] = "TorchScript can't be looked into"
    elif ours is not None:
        report.converted[name] = type(module).__name__
        module.__class__ = ours  # the same object: hooks, flags and whoever refers to it see no change
        register_address(module)
    elif (
        isinstance(module, nn.modules.dropout._DropoutNd)
        and not isinstance(module, Addressed)
        and type(module).forward not in {base.forward for base in _LAYERS}
    ):
        report.unconverted.setdefault(
            name, f"{type(module).__name__} has a forward of its own; torch functions that it calls are taken over"
        )


def _enter(name: str, module: nn.Module, circuit: Circuit) -> None:
    """Put an entry in place of the forward of a module that may drop."""
    if entry_of(module) is not None or isinstance(module, torch.jit.ScriptModule):
        return
    if isinstance(module, Addressed):
        if circuit.seed is not None:
            module.forward = Entry(module, name, circuit, site=True).forward
        return
    own_code = not type(module).__module__.startswith(("torch.nn.modules.", "thinned."))
    if own_code or module is circuit.root or isinstance(module, (nn.MultiheadAttention, nn.RNNBase)):
        module.forward = Entry(module, name, circuit, site=False).forward


def _complete(report: Report, recording: sites.Recording) -> None:
    for site in recording.sites:
        if site.name not in report.unconverted:
            report.converted.setdefault(site.name, site.op)
    for op in recording.noise:
        report.unconverted.setdefault(
            f"{op.module}:{op.name}", f"{op.name} is the model's own random number, not a dropout of torch's"
        )
