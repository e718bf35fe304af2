"""Decides before which layers of a network dropout belongs, of which class, and says why."""

import difflib
from collections.abc import Callable, Collection
from typing import NamedTuple

from torch import nn

from thinned import layers
from thinned.conversion.insertion.layer_calls import LayerCall, LayerRecording
from thinned.conversion.insertion.report import shown
from thinned.errors import InputError, sentence

__all__ = ["Decision", "Predicate", "Where", "decide"]

#: takes the qualified name of a layer and the layer, and tells whether to drop its input
Predicate = Callable[[str, nn.Module], bool]
Where = str | Collection[str] | Predicate

_PLACES = ("hidden", "input", "last_hidden", "every_weight_layer")
_SPATIAL: dict[int | None, type[layers.Dropout]] = {1: layers.Dropout1d, 2: layers.Dropout2d, 3: layers.Dropout3d}
_NO_LAYER = {
    "function": "a forward calls it as a function, without a layer; put thinned.Dropout before it in the code",
    "attention": "attention has a dropout argument of its own, for its weights",
    "recurrent": "it is recurrent; use its dropout argument, or thinned.LockedDropout before it",
    "embedding": "it takes numbers of words; use thinned.EmbeddingDropout or thinned.WordDropout",
}


class Decision(NamedTuple):
    """What was decided of a layer, or of a function with weights.

    Attributes:
        name: qualified name of the layer; ``name:function`` of a function.
        dropout: class of the dropout of its input; None for none.
        shape: shape of its input; () where it was not called.
        reason: why so.
    """

    name: str
    dropout: type[layers.Dropout] | None
    shape: tuple[int, ...]
    reason: str


class _Layer(NamedTuple):
    """A linear or convolutional layer and its calls; a shared one has several."""

    name: str
    module: nn.Module
    calls: tuple[LayerCall, ...]


def decide(recording: LayerRecording, where: Where) -> list[Decision]:
    """Decide for every layer with weights, and for every function that takes the part of one.

    Args:
        recording: of one pass.
        where: as for :func:`thinned.insert_dropout`.

    Returns:
        Decisions in order of the first calls; layers without a call come last.

    Raises:
        TypeError: ``where`` is of another type.
        InputError: ``where`` names no layer or one that can't have a site, or no layer can have one.
    """
    wanted = _wanted(recording, where)
    calls: dict[str, list[LayerCall]] = {}
    for call in recording.calls:
        calls.setdefault(call.name if call.kind == "layer" else f"{call.name}:{call.function}", []).append(call)
    decisions = []
    for name, of_name in calls.items():
        shape = of_name[0].shape
        if of_name[0].kind != "layer":
            decisions.append(Decision(name, None, shape, _NO_LAYER[of_name[0].kind]))
            continue
        layer = _Layer(name, recording.layers[name], tuple(of_name))
        if reason := _impossible(layer) or wanted(layer):
            decisions.append(Decision(name, None, shape, reason))
        else:
            decisions.append(_placed(layer))
    uncalled = "the pass does not call it"
    decisions += [Decision(name, None, (), uncalled) for name in recording.layers if name not in calls]
    if isinstance(where, Collection) and not isinstance(where, str):
        _check_names(where, decisions)
    _check_any(decisions)
    return decisions


def _impossible(layer: _Layer) -> str:
    """Why a layer can't have a site; "" where it can."""
    for call in layer.calls:
        if call.dropouts:
            return f"its input is dropped already, by {call.dropouts[-1]}"
        if not call.floating:
            return "its input are no floating-point numbers"
        if (dims := _dims(layer.module)) is not None and len(call.shape) != dims + 2:
            return "its input has no batch axis; give a batch of examples"
    return ""


def _dims(module: nn.Module) -> int | None:
    """Number of spatial axes of a convolution; None for a linear layer."""
    return len(module.kernel_size) if isinstance(module, nn.modules.conv._ConvNd) else None


def _placed(layer: _Layer) -> Decision:
    """The class of the dropout before a layer."""
    call, dims = layer.calls[0], _dims(layer.module)
    if all(not call.sources for call in layer.calls):
        return Decision(layer.name, layers.Dropout, call.shape, "single values of the network's input")
    if dims is not None:
        return Decision(
            layer.name, _SPATIAL[dims], call.shape, "whole channels, since a convolution takes feature maps"
        )
    layouts = {None if c.origin is None else c.origin.convolution_dims(c.shape) for c in layer.calls}
    if len(layouts) == 1 and (dims := layouts.pop()) is not None:
        return Decision(layer.name, _SPATIAL[dims], call.shape, "whole channels, since its input are feature maps")
    return Decision(layer.name, layers.Dropout, call.shape, "single features, since it is fully connected")


def _wanted(recording: LayerRecording, where: Where) -> Callable[[_Layer], str]:
    """A function that says why the user does not want a site before a layer; "" where he does.

    Raises:
        TypeError: ``where`` is of another type.
        InputError: ``where`` is the name of no place.
    """
    if isinstance(where, str):
        if where not in _PLACES:
            requirement = f"where must be {', '.join(map(repr, _PLACES))}, names in a list, or a function"
            raise InputError(sentence(requirement, f"got {where!r}", f"where=[{where!r}] names a module"))
        return _PLACE_RULES[where](recording)
    if callable(where) and not isinstance(where, nn.Module):
        return lambda layer: "" if where(layer.name, layer.module) else "where(name, module) is false"
    if isinstance(where, Collection) and all(isinstance(name, str) for name in where):
        names = frozenset(where)
        return lambda layer: _not_named(layer, names, recording)
    requirement = "where must be the name of a place, names of modules, or a function of name and module"
    raise TypeError(sentence(requirement, f"got {type(where).__name__}"))


def _not_named(layer: _Layer, names: Collection[str], recording: LayerRecording) -> str:
    if layer.name in names:
        return ""
    if any(name and layer.name.startswith(f"{name}.") for name in names):
        return _unsuitable(layer, recording)
    return "where does not name it"


def _unsuitable(layer: _Layer, recording: LayerRecording) -> str:
    """Why a layer is not one whose input is usually dropped; "" for an ordinary hidden layer."""
    own = {call.number for call in layer.calls}
    attention = {call.number: call for call in recording.calls if call.kind == "attention"}
    projected = {n: call for n, call in attention.items() if call.function != "multi_head_attention_forward"}
    groups, channels = getattr(layer.module, "groups", 1), getattr(layer.module, "in_channels", 1)
    reasons = {
        "it is recurrent: its input depends on its own output, and each step would have another mask": any(
            own & call.ancestors for call in layer.calls
        ),
        "it takes the network's input": any(not call.sources for call in layer.calls),
        "it is depthwise, and would hand a dropped channel on to the norm behind it": groups == channels > 1,
        "it makes queries, keys or values; attention has dropout of its own": any(
            own & call.sources for call in projected.values()
        ),
        "it takes the result of attention, which has dropout of its own": any(
            call.sources and call.sources <= attention.keys() for call in layer.calls
        ),
        "it is part of a gate, whose output scales other features": bool(own & recording.gates),
        "it projects a skip connection, which carries the features past the other layers": bool(own & recording.skips),
    }
    return next((reason for reason, holds in reasons.items() if holds), "")


def _hidden(recording: LayerRecording) -> Callable[[_Layer], str]:
    return lambda layer: _unsuitable(layer, recording)


def _input(recording: LayerRecording) -> Callable[[_Layer], str]:  # noqa: ARG001 - of the form of the others
    return lambda layer: "" if all(not call.sources for call in layer.calls) else "it does not take the network's input"


def _last_hidden(recording: LayerRecording) -> Callable[[_Layer], str]:
    def reason(layer: _Layer) -> str:
        if not any(call.number in recording.heads for call in layer.calls):
            return "it does not make the output"
        return "it takes the network's input" if any(not call.sources for call in layer.calls) else ""

    return reason


def _every_weight_layer(recording: LayerRecording) -> Callable[[_Layer], str]:  # noqa: ARG001
    return lambda _: ""


_PLACE_RULES = dict(zip(_PLACES, (_hidden, _input, _last_hidden, _every_weight_layer), strict=True))


def _check_names(names: Collection[str], decisions: list[Decision]) -> None:
    """Check that every name gets what it asks for.

    Raises:
        InputError: a name is that of no layer, or of one without a site.
    """
    reasons = {decision.name: "" if decision.dropout else decision.reason for decision in decisions}
    for name in names:
        within = [layer for layer in reasons if layer == name or (name and layer.startswith((f"{name}.", f"{name}:")))]
        if not within:
            close = difflib.get_close_matches(name, reasons, 3)
            remedy = f"did you mean {' or '.join(map(repr, close))}" if close else ""
            raise InputError(sentence("where must name layers of the network", f"got {name!r}", remedy))
        if all(reasons[layer] for layer in within):
            requirement = "where must name layers whose input can be dropped"
            raise InputError(sentence(requirement, f"got {name!r}", reasons[within[0]]))


def _check_any(decisions: list[Decision]) -> None:
    """Check that there is a site.

    Raises:
        InputError: there is none.
    """
    if not any(decision.dropout for decision in decisions):
        reasons = {decision.reason: shown(decision.name) for decision in decisions}
        value = ", ".join(f"{name} ({reason})" for reason, name in list(reasons.items())[:3])
        requirement = "insert_dropout must find a layer whose input it may drop"
        raise InputError(sentence(requirement, f"got {value or 'a network without weights'}"))
