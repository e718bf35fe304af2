"""A recorder of a pass that draws no random number from torch's generators: threads beside it draw theirs."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import nn

from thinned.layers import LayerDrop, StochasticDepth
from thinned.tracing.modules import is_thinned
from thinned.tracing.preserve import random_states
from thinned.tracing.private_generators import PrivateGenerators, TorchFunction
from thinned.tracing.recorder import Recorder
from thinned.tracing.torch_functions import BINDERS

__all__ = ["SilentRecorder", "generators_kept"]

_TRAINING = {F.multi_head_attention_forward: ("training", 13), F.scaled_dot_product_attention: ("dropout_p", 4)}


class SilentRecorder(Recorder):
    """Records a pass in which dropout drops nothing, and noise comes from generators of the pass.

    Args:
        model: a copy that nobody else runs; its dropout layers of ours get keys.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self._generators = PrivateGenerators()
        for module in model.modules():
            if is_thinned(module) and module._buffers["key"] is None:
                module._buffers["key"] = torch.zeros((), dtype=torch.int64)
            if isinstance(module, (LayerDrop, StochasticDepth)):  # a branch that did not run would have no sites
                module._buffers["rate"] = torch.zeros((), dtype=torch.float64)

    def call(self, func: TorchFunction, args: tuple[object, ...], kwargs: dict[str, object]) -> object:
        """Call a function without a draw from torch's generators."""
        if func not in BINDERS:
            return self._generators.call(func, args, kwargs)
        kind = BINDERS[func](*args, **kwargs).kind
        if kind == "rnn":
            position = 5 if isinstance(args[3], bool) else 6  # of p: of padded and of packed sequences
            return func(*args[:position], 0.0, *args[position + 1 :])
        name, position = _TRAINING.get(func, ("training" if func.__module__ == F.__name__ else "train", 2))
        if len(args) > position:
            args = (*args[:position], False, *args[position + 1 :])
        else:
            kwargs = {**kwargs, name: False}
        result = func(*args, **kwargs)
        dropped = args[0] if args else kwargs["input"]
        in_place = func.__name__.endswith("_") or (args[3] if len(args) > 3 else kwargs.get("inplace"))
        if kind == "functional" and result is dropped and isinstance(dropped, torch.Tensor) and not in_place:
            return dropped.clone()  # the output of dropout is another tensor
        return result


@contextmanager
def generators_kept() -> Iterator[None]:
    """Put back the states of all random generators, unless another thread runs that may draw from them."""
    restore = random_states()
    try:
        yield
    finally:
        current = threading.current_thread()
        if not any(thread is not current and not thread.daemon for thread in threading.enumerate()):
            restore()
