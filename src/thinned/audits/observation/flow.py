"""What happens to a tensor between two layers with weights: where it comes from, and which dropouts it carries."""

from enum import IntEnum
from typing import NamedTuple

import torch

from thinned.tracing.sites import VIEWS, TensorMap

__all__ = ["Flow", "Link", "Origin"]

_DROPOUTS = frozenset(["dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout"])
_DROPOUTS |= {"feature_dropout"}
_ACTIVATIONS = frozenset(
    [
        "relu",
        "relu6",
        "gelu",
        "silu",
        "elu",
        "selu",
        "celu",
        "leaky_relu",
        "prelu",
        "rrelu",
        "hardtanh",
        "hardswish",
        "hardsigmoid",
        "mish",
        "softplus",
        "softsign",
        "tanh",
        "tanhshrink",
        "sigmoid",
        "softmax",
        "log_softmax",
        "softmin",
        "logsigmoid",
        "threshold",
        "clamp",
        "masked_fill",
        "glu",
    ]
)
_POOLS = frozenset(
    [
        "max_pool1d",
        "max_pool2d",
        "max_pool3d",
        "avg_pool1d",
        "avg_pool2d",
        "avg_pool3d",
        "adaptive_avg_pool1d",
        "adaptive_avg_pool2d",
        "adaptive_avg_pool3d",
        "adaptive_max_pool1d",
        "adaptive_max_pool2d",
        "adaptive_max_pool3d",
        "lp_pool2d",
        "interpolate",
        "upsample",
        "upsample_nearest",
        "pad",
        "mean",
        "sum",
        "amax",
    ]
)
_MIXES = frozenset(
    [
        "add",
        "iadd",
        "radd",
        "sub",
        "isub",
        "rsub",
        "mul",
        "imul",
        "rmul",
        "div",
        "truediv",
        "cat",
        "concat",
        "stack",
        "where",
        "lerp",
        "addcmul",
    ]
)
_NORMS = frozenset(
    ["batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm", "local_response_norm", "normalize"]
)
_WEIGHTS = frozenset(
    [
        "conv1d",
        "conv2d",
        "conv3d",
        "conv_transpose1d",
        "conv_transpose2d",
        "conv_transpose3d",
        "linear",
        "bilinear",
        "embedding",
        "embedding_bag",
        "lstm",
        "gru",
        "rnn_tanh",
        "rnn_relu",
        "lstm_cell",
        "gru_cell",
        "multi_head_attention_forward",
        "scaled_dot_product_attention",
        "matmul",
        "bmm",
        "mm",
        "einsum",
        "addmm",
        "baddbmm",
    ]
)
_BETWEEN = 12  # functions remembered between a weight and a dropout


class Link(IntEnum):
    """The loosest step on a tensor's way from a dropout."""

    VIEW = 0
    ACTIVATION = 1
    POOL = 2
    MIX = 3


class Origin(NamedTuple):
    """The last function with weights that a tensor has passed, and the functions since then."""

    op: str
    between: tuple[str, ...] = ()

    def moved_axes(self) -> bool:
        """Whether axes were exchanged since then, so that the place of the features is not known."""
        return bool({"transpose", "permute", "movedim", "swapaxes", "t", "get"} & set(self.between))


class Flow:
    """A map, held weakly, from tensors to their origin and to the dropouts whose output they carry."""

    def __init__(self) -> None:
        self._origins: TensorMap[Origin] = TensorMap()
        self._trails: TensorMap[dict[int, Link]] = TensorMap()

    def origin(self, tensor: torch.Tensor) -> Origin | None:
        """Where a tensor comes from; None for an input of the model."""
        return self._origins.get(tensor)

    def trail(self, tensor: torch.Tensor) -> dict[int, Link]:
        """Numbers of the dropouts that a tensor carries without a weight between."""
        return self._trails.get(tensor) or {}

    def start(self, tensor: torch.Tensor, number: int) -> None:
        """A dropout made this tensor, which carries what its input carried, too."""
        self._trails[tensor] = {**self.trail(tensor), number: Link.VIEW}

    def step(self, source: list[torch.Tensor], made: list[torch.Tensor], name: str) -> None:
        """A function of this name took these tensors, and made those."""
        plain = name.strip("_")
        link = _link(plain, name)
        origin = Origin(plain) if plain in _WEIGHTS else self._passed(source, plain)
        trail: dict[int, Link] = {}
        if link is not None:
            for tensor in source if link is Link.MIX else source[:1]:
                for number, before in self.trail(tensor).items():
                    trail[number] = max(before, link, trail.get(number, link))
        for tensor in made:
            if origin is not None:
                self._origins[tensor] = origin
            if trail:
                self._trails[tensor] = trail
            elif tensor in self._trails:
                del self._trails[tensor]

    def _passed(self, source: list[torch.Tensor], plain: str) -> Origin | None:
        several = source if plain in _MIXES else source[:1]
        origin = next((found for tensor in several if (found := self.origin(tensor)) is not None), None)
        return None if origin is None else Origin(origin.op, (*origin.between, plain)[-_BETWEEN:])


def _link(plain: str, name: str) -> Link | None:
    if name in VIEWS or plain in _DROPOUTS:
        return Link.VIEW
    if plain in _ACTIVATIONS:
        return Link.ACTIVATION
    if plain in _POOLS:
        return Link.POOL
    return Link.MIX if plain in _MIXES else None
