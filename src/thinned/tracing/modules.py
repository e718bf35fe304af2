"""Modules as a recorded pass sees them: their names, and which of them are one event."""

from collections.abc import Iterator

from torch import nn

__all__ = [
    "INPUT_DROPOUT",
    "OPAQUE",
    "ORIGINAL_CLASS",
    "TORCH_DROPOUTS",
    "WEIGHT_LAYERS",
    "WRAPPER",
    "has_parts",
    "is_leaf",
    "is_thinned",
    "named",
    "original_class",
]

OPAQUE = (nn.MultiheadAttention, nn.RNNBase)  # one event each, though they have children
_WRAPPERS = ("_orig_mod", "_checkpoint_wrapped_module", "_fsdp_wrapped_module")
WRAPPER = "_thinned_wrapper"  # attribute of a module whose forward conversion has wrapped
ORIGINAL_CLASS = "_thinned_original_class"  # attribute of the class that conversion gives to such a module
TORCH_DROPOUTS = nn.modules.dropout._DropoutNd
WEIGHT_LAYERS = (nn.Linear, nn.modules.conv._ConvNd)  # layers that insertion can put dropout before
INPUT_DROPOUT = "input_dropout"  # name of the dropout layer that insertion gives to such a layer


def named(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield modules and their names, without the parts that wrappers add (``torch.compile``, FSDP, DDP …).

    Args:
        model: any module.

    Yields:
        Qualified name and module, the model itself first, each module once.
    """
    data_parallel = isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel))
    for name, module in model.named_modules():
        parts = [part for part in name.split(".") if part not in _WRAPPERS]
        yield ".".join(parts[1:] if data_parallel else parts), module


def is_leaf(module: nn.Module) -> bool:
    """Tell whether a module is one event: a layer of torch's or ours without children, attention, a recurrent one."""
    return isinstance(module, OPAQUE) or (
        not has_parts(module) and type(module).__module__.startswith(("torch.nn.", "thinned."))
    )


def has_parts(module: nn.Module) -> bool:
    """Tell whether a module consists of others, apart from an inserted dropout of its input."""
    inserted = {INPUT_DROPOUT} if isinstance(module, WEIGHT_LAYERS) else set[str]()
    return bool({*module._modules.keys()} - inserted)  # of TorchScript, a list


def is_thinned(module: nn.Module) -> bool:
    """Tell whether a module is a dropout layer of ours: it has the buffers of an address."""
    return "key" in module._buffers and "rate" in module._buffers and type(module).__module__.startswith("thinned.")


def original_class(module: nn.Module) -> type[nn.Module]:
    """The class that a module had before conversion wrapped its forward."""
    original: type[nn.Module] = getattr(type(module), ORIGINAL_CLASS, type(module))
    return original
