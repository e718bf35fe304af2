"""Follow what becomes of each dropout's result: probabilities, residual sums, layers that are not trained."""

from collections.abc import Mapping
from enum import Flag, auto
from typing import TypeVar

import torch

from thinned.tracing.data_flow import WEIGHT_FUNCTIONS, Step
from thinned.tracing.recorder import VIEWS
from thinned.tracing.tensor_map import TensorMap

__all__ = ["LOSSES", "DropoutUses", "Use"]

Value = TypeVar("Value")

_SUMS = frozenset({"mean", "sum", "amax", "getitem"})
_MIXES = frozenset(
    [
        *("add", "iadd", "radd", "sub", "mul", "imul", "rmul", "div", "truediv", "clamp", "clamp_min"),
        *("scatter_add", "index_add", "scatter", "index_copy", "index_put", "where", "maximum"),
    ]
)
_JOINS = frozenset({"cat", "concat", "stack", "hstack", "vstack"})
_LOGARITHMS = frozenset({"log", "log2", "log10"})
_PROBABILITY_LOSSES = frozenset({"nll_loss", "kl_div", "binary_cross_entropy", "nll_loss_nd"})
_NORMS = frozenset({"layer_norm", "group_norm", "instance_norm", "batch_norm", "rms_norm"})
_ACTIVATIONS = frozenset({"relu", "gelu", "silu", "elu", "leaky_relu", "tanh", "mish", "hardswish"})
_DROPOUTS = frozenset(["dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_dropout"])
_ADDITIONS = frozenset({"add", "iadd", "radd"})
LOSSES = frozenset(
    [
        *("cross_entropy", "nll_loss", "mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "binary_cross_entropy"),
        *("kl_div", "binary_cross_entropy_with_logits", "gaussian_nll_loss", "poisson_nll_loss", "multi_margin_loss"),
    ]
)


class Use(Flag):
    """A use of a dropout's result."""

    NONE = 0
    #: its result, or a mixture with others, goes to a logarithm
    LOGARITHM = auto()
    #: it goes to a loss of probabilities
    LOSS = auto()
    #: it is an output of the model, at most summed or averaged
    OUTPUT = auto()
    #: it is an output of the model or goes to a loss, with at most activations between
    FINAL = auto()
    #: a softmax takes it
    SOFTMAX = auto()
    #: it is the sum of a block's input and output, and the next such sum adds to it
    RESIDUAL_STREAM = auto()
    #: it is the sum of a block's input and output
    RESIDUAL_SUM = auto()
    #: a function with weights takes it, and its result needs a gradient; or nobody can tell
    TRAINED = auto()
    #: a function with weights takes it, and its result needs no gradient
    NOT_TRAINED = auto()


class DropoutUses:
    """The uses of each dropout's result, by the dropout's index."""

    def __init__(self) -> None:
        self.uses: dict[int, Use] = {}
        self._probabilities = _Carried()
        self._streams = _ResidualStreams()

    def note(self, index: int, use: Use) -> None:
        """Add a use of a dropout's result."""
        self.uses[index] = self.uses.get(index, Use.NONE) | use

    def add_dropout(self, source: torch.Tensor | None, result: torch.Tensor, index: int) -> None:
        """Note that a dropout took ``source`` and made ``result``; no source for weights within attention."""
        self._probabilities.start(result, index)
        if source is not None and self._streams.add_dropout(source, result, index):
            self.note(index, Use.RESIDUAL_SUM)

    def add_function(
        self,
        inputs: list[torch.Tensor],
        outputs: list[torch.Tensor],
        name: str,
        dropouts: Mapping[int, Step],
        gradients: bool | None,
    ) -> None:
        """Note that a function took the inputs and made the outputs.

        Args:
            inputs: tensors among its arguments.
            outputs: tensors that it made.
            name: its name.
            dropouts: dropouts that the inputs carry, with no weight between, each with the loosest step since.
            gradients: True if an output needs a gradient; None in a pass without gradients.
        """
        plain = name.strip("_")
        if plain in _LOGARITHMS or plain in _PROBABILITY_LOSSES:
            for tensor in inputs:
                for index, mixed in self._probabilities.dropouts(tensor).items():
                    if plain in _LOGARITHMS:
                        self.note(index, Use.LOGARITHM)
                    elif not mixed:
                        self.note(index, Use.LOSS)
        for index, step in dropouts.items():
            if plain in LOSSES and step <= Step.ACTIVATION:
                self.note(index, Use.FINAL)
            elif plain == "softmax":
                self.note(index, Use.SOFTMAX)
            elif plain in WEIGHT_FUNCTIONS and gradients is not None:
                self.note(index, Use.TRAINED if gradients else Use.NOT_TRAINED)
        self._probabilities.add_function(inputs, outputs, name)
        for index in self._streams.add_function(inputs, outputs, name):
            self.note(index, Use.RESIDUAL_STREAM)

    def add_output(self, tensor: torch.Tensor, dropouts: Mapping[int, Step]) -> None:
        """Note an output of the model, with the dropouts that it carries."""
        for index, step in dropouts.items():
            if step <= Step.ACTIVATION:
                self.note(index, Use.FINAL)
        for index, mixed in self._probabilities.dropouts(tensor).items():
            if not mixed:
                self.note(index, Use.OUTPUT)


class _Carried:
    """Dropouts whose values a tensor holds, each with True where it is mixed with other values."""

    def __init__(self) -> None:
        self._tensors: TensorMap[dict[int, bool]] = TensorMap()

    def dropouts(self, tensor: torch.Tensor) -> dict[int, bool]:
        return self._tensors.get(tensor) or {}

    def start(self, tensor: torch.Tensor, index: int) -> None:
        self._tensors[tensor] = {index: False}

    def add_function(self, inputs: list[torch.Tensor], outputs: list[torch.Tensor], name: str) -> None:
        if not self._tensors:
            return
        plain = name.strip("_")
        mixed = plain in _MIXES or (plain in _JOINS and not all(self.dropouts(tensor) for tensor in inputs))
        passes = mixed or name in VIEWS or plain in _SUMS
        carried: dict[int, bool] = {}
        for tensor in inputs if mixed or plain in _JOINS else inputs[:1] if passes else ():
            for index, earlier in self.dropouts(tensor).items():
                carried[index] = carried.get(index, False) or earlier or mixed
        for tensor in outputs:
            if carried:
                self._tensors[tensor] = carried
            elif tensor in self._tensors:
                del self._tensors[tensor]


class _ResidualStreams:
    """Find sums of a block's input and output, and dropouts whose result stays in such a sum.

    Each result of a function has a number, and a set of the numbers that it was computed from, as the bits of an
    integer; a sum is residual where one term was computed from the other.
    """

    def __init__(self) -> None:
        self._lineages: TensorMap[tuple[int, int]] = TensorMap()
        self._streams: TensorMap[bool] = TensorMap()  # True for the sums, and for what follows them
        self._dropouts: TensorMap[int] = TensorMap()
        self._count = 0

    def add_dropout(self, source: torch.Tensor, result: torch.Tensor, index: int) -> bool:
        """Follow a dropout, and return True if its input is the sum of a block's input and output."""
        if source in self._streams:
            self._dropouts[result] = index
            return True
        _put(self._dropouts, result, None)
        return False

    def add_function(self, inputs: list[torch.Tensor], outputs: list[torch.Tensor], name: str) -> list[int]:
        """Follow a function, and return the dropouts to whose result it adds a block's output."""
        plain = name.strip("_")
        lineages = [self._lineage(tensor) for tensor in inputs]
        if name in VIEWS:
            for tensor in outputs:
                self._lineages[tensor] = lineages[0]
                self._pass_on(inputs[0], tensor)
            return []
        skip = self._skip(inputs, lineages) if plain in _ADDITIONS else None
        index = None if skip is None else self._dropouts.get(skip)
        ancestors = 0
        for _, earlier in lineages:
            ancestors |= earlier
        for tensor in outputs:
            self._count += 1
            self._lineages[tensor] = self._count, ancestors | 1 << self._count
            if plain in _NORMS or plain in _ACTIVATIONS or plain in _DROPOUTS:
                self._pass_on(inputs[0], tensor)
            else:
                _put(self._streams, tensor, None if skip is None else True)
                _put(self._dropouts, tensor, None)
        return [] if index is None else [index]

    def _lineage(self, tensor: torch.Tensor) -> tuple[int, int]:
        lineage = self._lineages.get(tensor)
        if lineage is None:
            self._count += 1
            lineage = self._lineages[tensor] = self._count, 1 << self._count
        return lineage

    def _skip(self, inputs: list[torch.Tensor], lineages: list[tuple[int, int]]) -> torch.Tensor | None:
        """The term from which the other one was computed, in a sum of two tensors of one shape."""
        if len(inputs) != 2 or inputs[0].shape != inputs[1].shape or inputs[0].ndim < 2:
            return None
        (first, first_ancestors), (second, second_ancestors) = lineages
        if first == second:
            return None
        if second_ancestors >> first & 1:
            return inputs[0]
        return inputs[1] if first_ancestors >> second & 1 else None

    def _pass_on(self, source: torch.Tensor, result: torch.Tensor) -> None:
        if source is result:
            return
        _put(self._streams, result, self._streams.get(source))
        _put(self._dropouts, result, self._dropouts.get(source))


def _put(values: TensorMap[Value], tensor: torch.Tensor, value: Value | None) -> None:
    """Set the value of a tensor, or remove it with None."""
    if value is not None:
        values[tensor] = value
    elif tensor in values:
        del values[tensor]
