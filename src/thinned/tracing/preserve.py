"""Leaves a model and the random generators as they are through a forward pass."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

__all__ = ["random_states", "renormalises", "uninitialised", "untouched"]


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Leave the model and the random generators as they are, whatever happens within."""
    parts = list(model.modules())
    scripted = [(m, m.training) for m in parts if isinstance(m, torch.jit.ScriptModule)]
    plain = [m for m in parts if not isinstance(m, torch.jit.ScriptModule)] if scripted else parts
    modules = [(m, dict(m.__dict__), [dict(d) for d in _tables(m)]) for m in plain]
    buffers = {id(b): b for m in parts for b in m._buffers.values() if b is not None}
    kept = [b for b in buffers.values() if not uninitialised(b) and not b.is_meta]
    kept += [m.weight for m in parts if renormalises(m)]  # type: ignore[misc]
    values = [(tensor, tensor.detach().clone()) for tensor in kept]
    restore_random = random_states()
    try:
        yield
    finally:
        for module, attributes, tables in modules:
            for table, saved in zip(_tables(module), tables, strict=True):
                if table.keys() != saved.keys() or any(table[name] is not saved[name] for name in saved):
                    table.clear()
                    table.update(saved)
            module.__dict__.clear()
            module.__dict__.update(attributes)
        for script, training in scripted:  # its attributes are TorchScript's own
            script.training = training
        with torch.no_grad():
            for tensor, value in values:
                if not torch.equal(tensor, value):
                    tensor.copy_(value)
        restore_random()


def _tables(module: nn.Module) -> list[dict[str, object]]:
    return [module._parameters, module._buffers, module._modules]  # type: ignore[list-item]


def renormalises(module: nn.Module) -> bool:
    """Tell whether a forward of an embedding changes its weight in place."""
    return isinstance(module, nn.Embedding | nn.EmbeddingBag) and bool(module.max_norm)


def uninitialised(tensor: torch.Tensor) -> bool:
    """Tell whether a lazy module has not made this tensor yet."""
    return torch.nn.parameter.is_lazy(tensor)


def random_states() -> Callable[[], None]:
    """Read the states of all random generators; call the result to set them again."""
    cpu, arrays, plain = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002 - the global one
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    backend = torch.get_device_module(device) if device is not None else None
    states = backend.get_rng_state_all() if backend is not None and hasattr(backend, "get_rng_state_all") else None

    def restore() -> None:
        torch.set_rng_state(cpu)
        np.random.set_state(arrays)  # noqa: NPY002
        random.setstate(plain)
        if states is not None:
            backend.set_rng_state_all(states)  # type: ignore[union-attr]

    return restore
