"""Dropout of a layer's input: a child of the layer, which a hook of the layer runs before its forward.

A wrapper around the layer would rename its parameters, and another class would change what the user's code asks it for.
The hook is a function of this module that finds the dropout through the layer that is called, so that copies, replicas
and unpickled models run their own.
"""

from collections.abc import Iterator

import torch
from torch import nn

from thinned.errors import sentence
from thinned.layers import Addressed
from thinned.tracing.modules import INPUT_DROPOUT, named

__all__ = ["attach", "detach", "layers_with_input_dropout"]


def _drop_input(
    layer: nn.Module, args: tuple[torch.Tensor, ...], kwargs: dict[str, torch.Tensor] | None = None
) -> tuple[tuple[torch.Tensor, ...], dict[str, torch.Tensor]]:
    """Run the dropout of the input of ``layer``; a forward pre-hook."""
    dropout = layer._modules.get(INPUT_DROPOUT)
    if dropout is None or kwargs is None:  # torch.ao.quantization moves hooks to layers of its own
        requirement = f"a layer with inserted dropout must keep it as {INPUT_DROPOUT}"
        remedy = "call thinned.remove_dropout before layers are replaced"
        raise RuntimeError(sentence(requirement, f"{type(layer).__name__} took the place of such a layer", remedy))
    if args:
        return (dropout(args[0]), *args[1:]), kwargs
    return args, {**kwargs, "input": dropout(kwargs["input"])}


def attach(layer: nn.Module, dropout: nn.Module) -> None:
    """Let ``dropout`` drop the input of ``layer``, in the mode that the layer is in."""
    layer.add_module(INPUT_DROPOUT, dropout.train(layer.training))
    layer.register_forward_pre_hook(_drop_input, with_kwargs=True)


def detach(layer: nn.Module) -> None:
    """Take off what :func:`attach` has put on."""
    del layer._modules[INPUT_DROPOUT]
    for number in _hook_numbers(layer):
        del layer._forward_pre_hooks[number]
        layer._forward_pre_hooks_with_kwargs.pop(number, None)


def layers_with_input_dropout(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the layers whose input an inserted dropout drops, and their names."""
    for name, module in named(model):
        if _hook_numbers(module) and isinstance(module._modules.get(INPUT_DROPOUT), Addressed):
            yield name, module


def _hook_numbers(layer: nn.Module) -> list[int]:
    return [number for number, hook in layer._forward_pre_hooks.items() if hook is _drop_input]
