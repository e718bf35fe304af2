"""Drop paths of other libraries, which draw their own random numbers, become ours."""

from collections.abc import Iterator

import torch
from torch import nn

from thinned import layers
from thinned.audits.observation.modules import is_drop_path
from thinned.tracing.modules import is_thinned

__all__ = ["take_over_drop_paths"]

_ROWS = 64  # of the trial: all kept, or all dropped, has a probability of 1e-19


def take_over_drop_paths(network: nn.Module) -> tuple[str, ...]:
    """Replace the drop paths of timm, torchvision and transformers by ours, in place.

    A class is known by its name and its attributes, and by a trial: at a rate of 0.5 it must zero whole rows and
    double the others. Whatever else it does, it stays, as noise of the network's own.

    Returns:
        Qualified names of the modules that were replaced.
    """
    replaced = []
    for path, parent in list(network.named_modules()):
        for name, child in list(parent.named_children()):
            rate = _rate(child)
            if rate is not None and _drops_rows(child):
                ours = layers.DropPath(rate, bool(getattr(child, "scale_by_keep", True)))
                setattr(parent, name, ours.train(child.training))
                replaced.append(f"{path}.{name}" if path else name)
    return tuple(replaced)


def _rate(module: nn.Module) -> float | None:
    """The rate of a drop path that is not ours; None for any other module."""
    if not is_drop_path(module) or is_thinned(module) or module._parameters or module._modules or module._buffers:
        return None
    rate = next(
        (value for name in _attributes(module) if isinstance(value := getattr(module, name), int | float)), None
    )
    return None if rate is None or not 0 <= rate <= 1 or getattr(module, "mode", "row") != "row" else float(rate)


def _attributes(module: nn.Module) -> Iterator[str]:
    return (name for name in ("drop_prob", "p") if name in vars(module))


def _drops_rows(module: nn.Module) -> bool:
    """Try a module of the same class at a rate of 0.5: rows are dropped whole, and kept ones are doubled."""
    name = next(_attributes(module))
    rate, training, scale = getattr(module, name), module.training, getattr(module, "scale_by_keep", True)
    try:
        setattr(module, name, 0.5)
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            rows = module.train()(torch.ones(_ROWS, 3))
    except Exception:  # noqa: BLE001 - a module of somebody's own may raise anything; then it is left alone
        return False
    finally:
        setattr(module, name, rate)
        module.train(training)
    kept = 2.0 if scale else 1.0
    whole = bool((rows == rows[:, :1]).all()) and set(rows[:, 0].tolist()) == {0.0, kept}
    return rows.shape == (_ROWS, 3) and whole
