"""The calls of layers with weights in one recorded pass, and how they stand to one another."""

import math
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

import torch
from torch import nn

from thinned.conversion.insertion.lineage import Lineage, joined
from thinned.tracing.data_flow import DataFlow, Origin, Step
from thinned.tracing.forward_arguments import copied_arguments
from thinned.tracing.modules import OPAQUE, WEIGHT_LAYERS, is_thinned
from thinned.tracing.recorded_pass import run_recorded
from thinned.tracing.recorder import VIEWS
from thinned.tracing.silent_recorder import SilentRecorder
from thinned.tracing.site import Op
from thinned.tracing.tensor_map import TensorMap, output_tensors
from thinned.tracing.torch_functions import DropoutCall

__all__ = ["LayerCall", "LayerRecording", "record_layers"]

Kind = Literal["layer", "function", "attention", "recurrent", "embedding"]

_PRODUCTS = frozenset({"matmul", "rmatmul", "bmm", "mm", "einsum", "addmm", "baddbmm"})
_FUNCTIONS = frozenset(
    {
        *("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d"),
        *("linear", "bilinear"),
    }
)
_ATTENTION = frozenset({"multi_head_attention_forward", "scaled_dot_product_attention"})
_RECURRENT = frozenset(
    {"lstm", "gru", "rnn_tanh", "rnn_relu", "lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell"}
)
_EMBEDDINGS = frozenset({"embedding", "embedding_bag"})
_SQUASHES = frozenset({"sigmoid", "hardsigmoid", "softmax", "tanh", "relu6", "hardtanh", "clamp"})
_SUMS = frozenset({"add", "iadd", "radd"})
_GATINGS = frozenset({"mul", "imul", "rmul"})


class LayerCall(NamedTuple):
    """One call of something with weights, or of attention.

    Attributes:
        number: number of the call, counted from 0.
        name: qualified name of the module that calls it; that of the layer for a layer.
        function: name of the torch function.
        kind: "layer" (a linear or convolutional module), "function" (the same called as a function, without a module),
            "attention" (also any product of two features), "recurrent" or "embedding".
        shape: shape of the input.
        floating: False where the input are numbers of classes, words, …
        sources: the calls that made the input, with nothing that has weights between; empty for the network's input.
        ancestors: all calls that the input depends on.
        origin: the last function with weights before the input.
        dropouts: names of the sites at which the input is dropped already.
    """

    number: int
    name: str
    function: str
    kind: Kind
    shape: tuple[int, ...]
    floating: bool
    sources: frozenset[int]
    ancestors: frozenset[int]
    origin: Origin | None
    dropouts: tuple[str, ...]


class LayerRecording(NamedTuple):
    """The calls of a pass.

    Attributes:
        calls: in order of time.
        layers: the linear and convolutional modules of the model by name, called or not.
        heads: numbers of the calls that made an output, with nothing that has weights behind.
        gates: numbers of the calls whose output is squashed and multiplies other features, and of those that make it
            from pooled features.
        skips: numbers of the calls that project a skip connection.
    """

    calls: tuple[LayerCall, ...]
    layers: Mapping[str, nn.Module]
    heads: frozenset[int]
    gates: frozenset[int]
    skips: frozenset[int]


def record_layers(model: nn.Module, args: tuple[object, ...], kwargs: Mapping[str, object]) -> LayerRecording:
    """Record a training forward pass of a copy of ``model``.

    Raises:
        TypeError: ``model`` is not a module.
        Exception: whatever the forward pass raises.
    """
    recorder, output = run_recorded(model, LayerRecorder, copied_arguments(args), copied_arguments(dict(kwargs)))
    heads = frozenset[int]().union(*(recorder.last_calls(tensor) for tensor in output_tensors(output)))
    return LayerRecording(
        tuple(recorder.calls),
        recorder.layers(),
        heads,
        frozenset(recorder.gates),
        frozenset(recorder.skips),
    )


class _RunningLayer:
    """A linear or convolutional module that runs.

    Attributes:
        module: the module.
        call: number of its call; None until its weight is used.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.call: int | None = None


class LayerRecorder(SilentRecorder):
    """Records the calls of layers with weights.

    Attributes:
        calls: calls in order of time.
        gates: numbers of calls, as in :class:`LayerRecording`.
        skips: numbers of calls, as in :class:`LayerRecording`.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self.calls: list[LayerCall] = []
        self.gates: set[int] = set()
        self.skips: set[int] = set()
        self._flow = DataFlow()
        self._lineages: TensorMap[Lineage] = TensorMap()
        self._running: list[_RunningLayer] = []
        for parameter in model.parameters():
            self._lineages[parameter] = Lineage(is_weight=True)

    def layers(self) -> dict[str, nn.Module]:
        """The linear and convolutional modules of the model by name, but for those that attention uses as functions."""
        attention = [module for _, module in self._modules.values() if isinstance(module, OPAQUE)]
        parts = {id(part) for module in attention for part in module.children()}
        called = {call.name for call in self.calls if call.kind == "layer"}
        return {
            name: module
            for number, (name, module) in self._modules.items()
            if isinstance(module, WEIGHT_LAYERS) and (number not in parts or name in called)
        }

    def _is_layer(self, module: nn.Module) -> bool:
        """Tell whether a module is a linear or convolutional layer of the model; one outside it can get no site."""
        return isinstance(module, WEIGHT_LAYERS) and id(module) in self._modules

    def lineage(self, tensor: torch.Tensor) -> Lineage:
        """The calls that made a tensor."""
        return self._lineages.get(tensor) or Lineage()

    def last_calls(self, tensor: torch.Tensor) -> frozenset[int]:
        """The calls that made a tensor, without those that came to it past others by a skip connection."""
        calls = self.lineage(tensor).calls
        before = frozenset[int]().union(*(self.calls[number].ancestors for number in calls))
        return (calls - before - self.skips) or (calls - before)

    def _enter(self, module: nn.Module, args: tuple[object, ...]) -> None:
        super()._enter(module, args)
        if self._is_layer(module):
            self._running.append(_RunningLayer(module))

    def _leave(self, module: nn.Module, args: object, output: object) -> None:
        super()._leave(module, args, output)
        if not self._is_layer(module):
            return
        while self._running:
            running = self._running.pop()
            if running.module is module:
                if running.call is not None:
                    lineage = Lineage(frozenset({running.call}))
                    for tensor in output_tensors(output):
                        self._lineages[tensor] = lineage
                return

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: object,
        args: tuple[object, ...] = (),
        kwargs: dict[str, object] | None = None,
    ) -> object:
        result = super().__torch_function__(func, types, args, kwargs)
        if self.recording and func is torch.Tensor.__setitem__:  # which returns nothing, and changes its first argument
            assert isinstance(args[0], torch.Tensor)  # noqa: S101 - the function has run
            self._lineages[args[0]] = joined([self.lineage(t) for t in output_tensors(args)], squash=False)
        return result

    def _consume(self, source: list[torch.Tensor], made: list[torch.Tensor], name: str) -> None:
        super()._consume(source, made, name)
        name = "dropout" if any(map(is_thinned, self._stack[-1:])) else name
        plain = name.strip("_")
        lineage = self._called(plain, source)
        if lineage is None:
            lineages = [self.lineage(tensor) for tensor in (source[:1] if name in VIEWS else source)]
            lineage = joined(lineages, squash=plain in _SQUASHES)
            if plain in _SUMS and len(lineages) == 2:
                self._find_skip(*lineages)
            if plain in _GATINGS and len(lineages) == 2:
                self._find_gate(source, lineages)
        for tensor in made:
            self._lineages[tensor] = lineage
        self._flow.add_function(source, made, name)

    def _site(
        self,
        kind: str,
        op: str,
        call: DropoutCall,
        source: list[torch.Tensor],
        made: list[torch.Tensor],
        *producer: Op | None,
    ) -> None:
        first = len(self.drafts)
        super()._site(kind, op, call, source, made, *producer)
        if made and kind in {"functional", "module"} and call.active and call.p > 0:
            self._flow.add_dropout(made[0], first)

    def _called(self, plain: str, source: list[torch.Tensor]) -> Lineage | None:
        """Note a call of something with weights; None for any other function."""
        running = self._running[-1] if self._running else None
        if running is not None and running.call is not None:
            return None  # a layer of the user's own class that computes more than its product
        kind = self._kind(plain, source)
        if kind is None:
            return None
        if running is not None and kind == "function":
            kind = "layer"
            running.call = len(self.calls)
        lineages = [self.lineage(tensor) for tensor in source]
        taken = lineages if kind == "attention" else lineages[:1]
        if kind == "function" and plain in _PRODUCTS:
            taken = lineages
        sources = frozenset[int]().union(*(lineage.calls for lineage in taken))
        features = next((t for t, lineage in zip(source, lineages, strict=True) if not lineage.is_weight), source[0])
        path, _ = self._path()
        self.calls.append(
            LayerCall(
                number=len(self.calls),
                name=path if running is None else self._modules[id(running.module)][0],
                function=plain,
                kind=kind,
                shape=tuple(features.shape),
                floating=features.is_floating_point() or features.is_complex(),
                sources=sources,
                ancestors=sources.union(*(self.calls[number].ancestors for number in sources)),
                origin=self._flow.origin(features),
                dropouts=self._dropouts(features),
            )
        )
        return Lineage(frozenset({len(self.calls) - 1}))

    def _kind(self, plain: str, source: list[torch.Tensor]) -> Kind | None:
        kind: Kind | None = None
        if plain in _FUNCTIONS:
            kind = "function"
        elif plain in _ATTENTION:
            kind = "attention"
        elif plain in _RECURRENT:
            kind = "recurrent"
        elif plain in _EMBEDDINGS:
            kind = "embedding"
        elif plain in _PRODUCTS:
            lineages = [self.lineage(tensor) for tensor in source]
            if any(lineage.is_weight for lineage in lineages):
                kind = "function" if not all(lineage.is_weight for lineage in lineages) else None
            elif sum(bool(lineage.calls) for lineage in lineages) > 1:
                kind = "attention"
        return kind

    def _dropouts(self, tensor: torch.Tensor) -> tuple[str, ...]:
        steps = self._flow.dropouts(tensor)
        return tuple(self.drafts[index][0].fields[0] for index, step in steps.items() if step <= Step.POOL)

    def _find_skip(self, one: Lineage, other: Lineage) -> None:
        """Find the single call on one side of a sum whose input is also that of a longer way to the other side."""
        for short, long in ((one, other), (other, one)):
            if len(short.calls) != 1 or short.calls & long.calls:
                continue
            [projection] = short.calls
            sources = self.calls[projection].sources
            behind = frozenset[int]().union(*(self.calls[number].ancestors for number in long.calls))
            if projection not in behind and sources in {self.calls[number].sources for number in behind if sources}:
                self.skips.add(projection)

    def _find_gate(self, source: list[torch.Tensor], lineages: list[Lineage]) -> None:
        """Find the calls that made the one factor of a product that is squashed, where the other one is not."""
        squashed = [lineage.is_squashed for lineage in lineages]
        if sum(squashed) != 1:
            return
        factor, features = squashed.index(True), squashed.index(False)
        gates = lineages[factor].calls
        if gates & lineages[features].calls or not lineages[features].calls:
            return  # an activation such as x * sigmoid(x)
        spread = math.prod(source[features].shape[2:]) > 1
        while gates:
            self.gates |= gates
            before = frozenset[int]().union(
                *(self.calls[number].sources for number in gates if self._is_pooled(number))
            )
            gates = frozenset(number for number in before if spread and self._is_pooled(number)) - self.gates

    def _is_pooled(self, number: int) -> bool:
        """Tell whether the input of a call has one position, as what is pooled over all of them."""
        return math.prod(self.calls[number].shape[2:]) == 1
