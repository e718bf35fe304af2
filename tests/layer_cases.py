"""One row a layer for the parametrised tests: how to make it, an input, and the index of each element's decision."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from thinned import layers, masks, philox

KEY = 0x0123456789ABCDEF
CALL = 3
P = 0.3


@dataclasses.dataclass(frozen=True)
class Case:
    """A layer whose survivors are ``x * scale`` and whose shape and shared axes say what a decision is taken on."""

    name: str
    build: Callable[..., nn.Module]
    shape: Sequence[int]
    shared: Sequence[int]

    def x(self, dtype: torch.dtype = torch.float32, seed: int = 0) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(*self.shape, generator=generator, dtype=torch.float64).to(dtype)

    def keep(self, p: float, key: int = KEY, call: int = CALL) -> torch.Tensor:
        index: npt.NDArray[np.int64] = masks.mask_index(self.shape, self.shared).numpy()
        return torch.from_numpy(philox.keep(index, p, key, call))


#: layers that are dropout with shared axes: (name, build(p), shape, shared)
SELECTING = [
    Case("Dropout", layers.Dropout, (6, 50), ()),
    Case("Dropout1d", layers.Dropout1d, (5, 40, 3), (2,)),
    Case("Dropout1d-unbatched", layers.Dropout1d, (40, 3), (1,)),
    Case("Dropout2d", layers.Dropout2d, (5, 40, 3, 2), (2, 3)),
    Case("Dropout3d", layers.Dropout3d, (5, 40, 3, 2, 2), (2, 3, 4)),
    Case("Dropout3d-unbatched", layers.Dropout3d, (40, 3, 2, 2), (1, 2, 3)),
    Case("BatchDropout", layers.BatchDropout, (4, 30, 7), (0,)),
    Case("LockedDropout", layers.LockedDropout, (9, 4, 33), (0,)),
    Case("LockedDropout-batch-first", lambda p: layers.LockedDropout(p, time_dim=1), (4, 9, 33), (1,)),
    Case("DropPath", layers.DropPath, (200, 2, 3), (1, 2)),
    Case("WordDropout", layers.WordDropout, (4, 50, 3), (2,)),
    Case("DropConnect", layers.DropConnect, (20, 30), ()),
]


def address(layer: nn.Module, key: int = KEY, call: int = CALL) -> nn.Module:
    """The layer with an addressed mask."""
    for module in layer.modules():
        if isinstance(module, layers.Addressed):
            module.key, module.call = torch.tensor(key), torch.tensor(call)
    return layer


#: every layer: name -> (build, inputs)
EVERY: dict[str, tuple[Callable[[], nn.Module], Callable[[], tuple[torch.Tensor, ...]]]] = {
    **{case.name: ((lambda case=case: case.build(P)), (lambda case=case: (case.x(),))) for case in SELECTING},
    "AlphaDropout": (lambda: layers.AlphaDropout(P), lambda: (torch.randn(6, 50),)),
    "FeatureAlphaDropout": (lambda: layers.FeatureAlphaDropout(P), lambda: (torch.randn(5, 40, 3),)),
    "GaussianDropout": (lambda: layers.GaussianDropout(P), lambda: (torch.randn(6, 50),)),
    "ConcreteDropout": (lambda: layers.ConcreteDropout(P), lambda: (torch.randn(6, 50),)),
    "DropoutAdd": (lambda: layers.DropoutAdd(P), lambda: (torch.randn(6, 50), torch.randn(6, 50))),
    "DropHead": (lambda: layers.DropHead(P), lambda: (torch.randn(3, 6, 5, 4),)),
    "DropBlock2d": (lambda: layers.DropBlock2d(P, 3), lambda: (torch.randn(4, 3, 9, 8),)),
    "EmbeddingDropout": (lambda: layers.EmbeddingDropout(40, 5, p=P), lambda: (torch.arange(80).view(8, 10) % 40,)),
    "WordDropout-numbers": (lambda: layers.WordDropout(P, unk_index=1), lambda: (torch.arange(2, 82).view(8, 10),)),
    "MultiheadAttention": (
        lambda: layers.MultiheadAttention(8, 2, P, batch_first=True),
        lambda: (torch.randn(3, 5, 8),) * 3,
    ),
    "MultiheadAttention-weights": (
        lambda: layers.MultiheadAttention(8, 2, P, batch_first=True),
        lambda: (torch.randn(3, 5, 8), torch.randn(3, 6, 8), torch.randn(3, 6, 8)),
    ),
    "drop_connect": (lambda: layers.drop_connect(nn.Linear(12, 9), p=P), lambda: (torch.randn(4, 12),)),
}


def first(output: torch.Tensor | tuple[torch.Tensor, ...]) -> torch.Tensor:
    """The tensor of an output; attention returns its weights too."""
    return output[0] if isinstance(output, tuple) else output
