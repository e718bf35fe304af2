"""Puts dropout sites into a network without a change of its code, and takes them out again."""

from collections.abc import Iterator, Mapping

import torch
from torch import nn

from thinned.conversion.api import wrap_layers
from thinned.conversion.insertion.input_dropout import attach, detach, layers_with_input_dropout
from thinned.conversion.insertion.layer_calls import record_layers
from thinned.conversion.insertion.placement import Decision, Where, decide
from thinned.conversion.insertion.report import InsertedSite, InsertionReport
from thinned.errors import InputError, check_p, sentence
from thinned.tracing.forward_arguments import forward_arguments
from thinned.tracing.modules import INPUT_DROPOUT, named
from thinned.tracing.preserve import uninitialised

__all__ = ["InsertionReport", "insert_dropout", "remove_dropout"]


def insert_dropout(
    model: nn.Module,
    args: object,
    kwargs: Mapping[str, object] | None = None,
    *,
    where: Where = "hidden",
    p: float = 0.5,
) -> InsertionReport:
    """Put dropout into a feed-forward or convolutional network, in place and without a change of its code.

    One recorded pass of a copy in training mode finds the layers with weights. A site drops what one layer takes,
    directly before it: whole channels before a convolution of feature maps, single features before a fully connected
    layer, single values of the network's input. What else takes the same tensor, such as a skip connection, gets it
    whole. No site is on the output or directly before a batch norm, nor where the input is dropped already.

    A site is a child ``input_dropout`` of its layer, run by a forward pre-hook: classes, parameters and state dict keys
    stay, and evaluation is bitwise what it was. It survives copies, pickling of the whole model, activation
    checkpointing, ``torch.fx`` and ``torch.func``, replicas, and ``torch.compile`` and ``torch.export`` afterwards. It
    is not in a state dict: build the network, insert with the same arguments or ``where=report.layers``, then load the
    weights. ``torch.jit.script`` and ``torch.ao.quantization`` raise (call :func:`remove_dropout` before), and code
    compiled before does not see it: insert first.

    Args:
        model: a network in Python code.
        args: positional arguments of its forward, as a tuple. A tensor, or any other single object, stands for a
            tuple of one; a mapping stands for keyword arguments. Give a batch of at least two examples.
        kwargs: keyword arguments of its forward.
        where: ``"hidden"``: every layer but the first, and those where dropout harms or has another form (depthwise,
            projections of skip connections, gates, around attention, on their own output); ``"input"``: those
            that take the network's input; ``"last_hidden"``: those that make the output; ``"every_weight_layer"``;
            names of layers, or of modules whose hidden layers are meant; or a function of the qualified name of a
            linear or convolutional layer and the layer, True for a site.
        p: probability of dropping, in [0, 1].

    Returns:
        Where sites were placed, and where not, with the reasons.

    Raises:
        TypeError: ``model``, ``kwargs`` or ``where`` is of another type.
        ValueError: ``p`` lies outside [0, 1].
        InputError: no layer can have a site, or none of a name; the model has inserted dropout already, is compiled,
            TorchScript, or lazy.
        Exception: whatever the forward pass raises.

    Example:
        >>> import torch, thinned
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
        >>> thinned.insert_dropout(model, torch.ones(2, 4), p=0.2)
        1 site placed, 1 layer without
          Dropout before 2: single features, since it is fully connected
          NOT PLACED before 0: it takes the network's input
    """
    check_p(p)
    forward_args, forward_kwargs = forward_arguments(args, kwargs, "thinned.insert_dropout")
    _check_model(model)
    decisions = decide(record_layers(model, forward_args, forward_kwargs), where)
    placed = tuple(_place(dict(named(model)), decisions, p))
    wrap_layers(model)
    return InsertionReport(placed, {d.name: d.reason for d in decisions if d.dropout is None})


def remove_dropout(model: nn.Module) -> None:
    """Take out what :func:`thinned.insert_dropout` has put in: the model is bitwise what it was.

    It finds the sites in the model, so that it also serves a copy, or a model that was loaded. A model without inserted
    dropout stays as it is.

    Args:
        model: any module.

    Raises:
        TypeError: ``model`` is not a module.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(sentence("model must be a torch.nn.Module", f"got {type(model).__name__}"))
    for _, layer in list(layers_with_input_dropout(model)):
        detach(layer)
    wrap_layers(model)


def _place(layers: Mapping[str, nn.Module], decisions: list[Decision], p: float) -> Iterator[InsertedSite]:
    """Attach dropout to all layers that were decided for, or to none.

    Raises:
        InputError: a layer has an attribute of the name that the dropout is to have.
    """
    chosen = [(decision, decision.dropout) for decision in decisions if decision.dropout is not None]
    for decision, _ in chosen:
        if hasattr(layers[decision.name], INPUT_DROPOUT):
            requirement = f"a layer must have no attribute {INPUT_DROPOUT} of its own"
            raise InputError(sentence(requirement, f"{decision.name or 'the model'} has one"))
    for (name, _, shape, reason), dropout in chosen:
        attach(layers[name], dropout(p))
        site = f"{name}.{INPUT_DROPOUT}" if name else INPUT_DROPOUT
        yield InsertedSite(site, name, dropout.__name__, float(p), shape, reason)


def _check_model(model: nn.Module) -> None:
    """Check that hooks of the model's layers will run, and that it has no inserted dropout yet.

    Raises:
        TypeError: ``model`` is not a module.
        InputError: it can't have, or already has, inserted dropout.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(sentence("model must be a torch.nn.Module", f"got {type(model).__name__}"))
    if any(type(m).__name__ == "OptimizedModule" or m._compiled_call_impl is not None for m in model.modules()):
        requirement = "dropout must be inserted before torch.compile, whose graphs do not see it"
        raise InputError(sentence(requirement, "got a compiled model", "insert first, then compile"))
    for name, module in named(model):
        if isinstance(module, torch.jit.ScriptModule):
            requirement = "the model must be Python code, whose layers can be given hooks"
            raise InputError(sentence(requirement, f"{name or 'it'} is TorchScript", "insert before torch.jit"))
    if any(uninitialised(parameter) for parameter in model.parameters()):
        requirement = "lazy layers must know their shapes"
        raise InputError(sentence(requirement, "the model has not run yet", "run it once on the example"))
    if inserted := [name for name, _ in layers_with_input_dropout(model)]:
        requirement = "the model must have no inserted dropout"
        value = f"{len(inserted)} of its layers have one, {inserted[0] or 'the model'} the first"
        raise InputError(sentence(requirement, value, "thinned.remove_dropout(model) takes it out"))
