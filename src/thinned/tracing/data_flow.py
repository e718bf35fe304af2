"""Follow tensors between two layers with weights: their origin, and the dropouts whose output they carry."""

from enum import IntEnum
from typing import NamedTuple

import torch

from thinned.tracing.recorder import VIEWS
from thinned.tracing.tensor_map import TensorMap

__all__ = ["WEIGHT_FUNCTIONS", "DataFlow", "Origin", "Step"]


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_DROPOUTS = _names("dropout dropout1d dropout2d dropout3d alpha_dropout feature_alpha_dropout feature_dropout")
_ACTIVATIONS = _names(
    "relu relu6 gelu silu elu selu celu leaky_relu prelu rrelu hardtanh hardswish hardsigmoid mish softplus "
    "softsign tanh tanhshrink sigmoid softmax log_softmax softmin logsigmoid threshold clamp masked_fill glu"
)
_POOLS = _names(
    "max_pool1d max_pool2d max_pool3d avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d "
    "adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d lp_pool2d interpolate "
    "upsample upsample_nearest pad mean sum amax"
)
_MIXES = _names("add iadd radd sub isub rsub mul imul rmul div truediv cat concat stack where lerp addcmul")
WEIGHT_FUNCTIONS = _names(
    "conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d linear bilinear embedding "
    "embedding_bag lstm gru rnn_tanh rnn_relu lstm_cell gru_cell multi_head_attention_forward "
    "scaled_dot_product_attention matmul bmm mm einsum addmm baddbmm"
)
_REMEMBERED = 12  # functions after a layer with weights
_AXIS_EXCHANGES = _names("transpose permute movedim swapaxes t get")


class Step(IntEnum):
    """Kind of function on a tensor's way from a dropout, from the strictest to the loosest."""

    VIEW = 0
    ACTIVATION = 1
    POOL = 2
    MIX = 3


class Origin(NamedTuple):
    """The last function with weights that a tensor has passed.

    Attributes:
        op: name of that function.
        later_ops: names of the functions since then.
        mixes_positions: True if a convolution with a kernel larger than one position made neighbours alike, at once
            or before convolutions of one position.
    """

    op: str
    later_ops: tuple[str, ...] = ()
    mixes_positions: bool = False

    def moved_axes(self) -> bool:
        """True where axes were exchanged since then, so that the axis of the features is unknown."""
        return bool(_AXIS_EXCHANGES & set(self.later_ops))

    def convolution_dims(self, shape: tuple[int, ...]) -> int | None:
        """The number of spatial axes where ``shape`` is the layout of a convolution's output; None elsewhere."""
        if not self.op.startswith("conv") or self.moved_axes():
            return None
        dims = int(self.op[-2])
        reshaped = {"flatten", "reshape", "view"} & set(self.later_ops)
        return dims if len(shape) == dims + 2 and not reshaped else None


class DataFlow:
    """A map from tensors to their origin and to the dropouts whose output they carry; it keeps no tensor alive."""

    def __init__(self) -> None:
        self._origins: TensorMap[Origin] = TensorMap()
        self._dropouts: TensorMap[dict[int, Step]] = TensorMap()

    def origin(self, tensor: torch.Tensor) -> Origin | None:
        """The last function with weights before this tensor; None for an input of the model."""
        return self._origins.get(tensor)

    def dropouts(self, tensor: torch.Tensor) -> dict[int, Step]:
        """Dropouts that a tensor carries with no weight between, each with the loosest step since."""
        return self._dropouts.get(tensor) or {}

    def carried(self, inputs: list[torch.Tensor]) -> dict[int, Step]:
        """Dropouts that any of these tensors carries, each with the loosest step of the last one that does."""
        if not self._dropouts:
            return {}
        return {index: step for tensor in inputs for index, step in self.dropouts(tensor).items()}

    def add_dropout(self, tensor: torch.Tensor, index: int) -> None:
        """Note that the dropout ``index`` made this tensor, which also carries what its input carried."""
        self._dropouts[tensor] = {**self.dropouts(tensor), index: Step.VIEW}

    def add_function(self, inputs: list[torch.Tensor], outputs: list[torch.Tensor], name: str) -> None:
        """Note that the function ``name`` took the inputs and made the outputs."""
        plain = name.strip("_")
        step = _step(plain, name) if self._dropouts else None
        origin = self._new_origin(inputs, plain) if plain in WEIGHT_FUNCTIONS else self._passed_on(inputs, plain)
        dropouts: dict[int, Step] = {}
        if step is not None:
            for tensor in inputs if step is Step.MIX else inputs[:1]:
                for index, earlier in self.dropouts(tensor).items():
                    dropouts[index] = max(earlier, step, dropouts.get(index, step))
        for tensor in outputs:
            if origin is not None:
                self._origins[tensor] = origin
            if dropouts:
                self._dropouts[tensor] = dropouts
            elif tensor in self._dropouts:
                del self._dropouts[tensor]

    def _new_origin(self, inputs: list[torch.Tensor], plain: str) -> Origin:
        if not plain.startswith("conv"):
            return Origin(plain)
        earlier = self.origin(inputs[0])
        has_wide_kernel = len(inputs) > 1 and any(size > 1 for size in inputs[1].shape[2:])
        return Origin(plain, mixes_positions=has_wide_kernel or (earlier is not None and earlier.mixes_positions))

    def _passed_on(self, inputs: list[torch.Tensor], plain: str) -> Origin | None:
        candidates = inputs if plain in _MIXES else inputs[:1]
        for tensor in candidates:
            origin = self.origin(tensor)
            if origin is not None:
                later_ops = (*origin.later_ops, plain)[-_REMEMBERED:]
                return Origin(origin.op, later_ops, origin.mixes_positions)
        return None


def _step(plain: str, name: str) -> Step | None:
    if name in VIEWS or plain in _DROPOUTS:
        return Step.VIEW
    if plain in _ACTIVATIONS:
        return Step.ACTIVATION
    if plain in _POOLS:
        return Step.POOL
    return Step.MIX if plain in _MIXES else None
