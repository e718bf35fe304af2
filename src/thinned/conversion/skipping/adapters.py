"""What the residual branches of known block classes compute, as the names of their parts.

No library is imported: a class is known by its module and name, and its branches are checked on numbers
(:mod:`thinned.conversion.skipping.check`), so that a version that computes something else is refused.
"""

from typing import NamedTuple

import torch
from torch import nn

__all__ = ["ADAPTERS", "Adapter", "Branch", "adapter_of", "run_steps"]

_LAST, _FIRST = "channels last", "channels first"


class Branch(NamedTuple):
    """A residual branch.

    Attributes:
        drop: attribute of the block that drops the branch's samples.
        steps: attributes in order. A module is called (the first of several results counts), a tensor or a number
            multiplies, None does nothing.
    """

    drop: str
    steps: tuple[str, ...]

    @property
    def parts(self) -> tuple[str, ...]:
        """The attributes among the steps."""
        return tuple(step for step in self.steps if step not in {_LAST, _FIRST})


class Adapter(NamedTuple):
    """How the blocks of a class are computed.

    Attributes:
        module: the first part of the class's module.
        class_name: its name.
        branches: its branches in order; the block is nothing else.
        absent: attributes that must be None, an identity or False.
        ignored: arguments of the forward that play no part then.
    """

    module: str
    class_name: str
    branches: tuple[Branch, ...]
    absent: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()


ADAPTERS = (
    Adapter(
        "timm",
        "Block",
        (Branch("drop_path1", ("norm1", "attn", "ls1")), Branch("drop_path2", ("norm2", "mlp", "ls2"))),
    ),
    Adapter(
        "timm",
        "ConvNeXtBlock",
        (Branch("drop_path", ("conv_dw", _LAST, "norm", "mlp", "gamma", _FIRST)),),
        absent=("use_conv_mlp", "shortcut"),
    ),
    Adapter("torchvision", "CNBlock", (Branch("stochastic_depth", ("block", "layer_scale")),)),
    Adapter(
        "torchvision",
        "SwinTransformerBlock",
        (Branch("stochastic_depth", ("norm1", "attn")), Branch("stochastic_depth", ("norm2", "mlp"))),
    ),
    Adapter(
        "torchvision",
        "SwinTransformerBlockV2",
        (Branch("stochastic_depth", ("attn", "norm1")), Branch("stochastic_depth", ("mlp", "norm2"))),
    ),
    Adapter(
        "transformers",
        "ConvNextLayer",
        (
            Branch(
                "drop_path",
                ("dwconv", _LAST, "layernorm", "pwconv1", "act", "pwconv2", "layer_scale_parameter", _FIRST),
            ),
        ),
    ),
    Adapter(
        "transformers",
        "BeitLayer",
        (
            Branch("drop_path", ("layernorm_before", "attention", "dropout", "lambda_1")),
            Branch("drop_path", ("layernorm_after", "mlp", "dropout", "lambda_2")),
        ),
        absent=("relative_position_bias",),
        ignored=("interpolate_pos_encoding", "resolution"),
    ),
    Adapter(
        "transformers",
        "Dinov2Layer",
        (
            Branch("drop_path", ("norm1", "attention", "layer_scale1")),
            Branch("drop_path", ("norm2", "mlp", "layer_scale2")),
        ),
    ),
)


def adapter_of(module: nn.Module) -> Adapter | None:
    """The adapter of a block; None for other modules."""
    package, name = type(module).__module__.partition(".")[0], type(module).__name__
    return next((adapter for adapter in ADAPTERS if (adapter.module, adapter.class_name) == (package, name)), None)


def run_steps(block: nn.Module, branch: Branch, x: torch.Tensor) -> torch.Tensor:
    """A branch of a block, ``(n, ...)`` to the same shape."""
    for step in branch.steps:
        if step in {_LAST, _FIRST}:
            x = x.permute(0, 2, 3, 1) if step == _LAST else x.permute(0, 3, 1, 2)
            continue
        part = getattr(block, step)
        if isinstance(part, nn.Module):
            result = part(x)
            x = result[0] if isinstance(result, tuple) else result
        elif part is not None:
            x = part * x
    return x
