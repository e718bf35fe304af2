"""The wrapper around a module's forward: torch's functions become ours, and masks get their addresses.

A module whose forward may drop has a :class:`ForwardWrapper`, which knows the module's name, so that a block that is
run again outside the model is known, too. Nothing here runs in evaluation. The state of a running pass is in its
:class:`thinned.conversion.forward_pass.ForwardPass`.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext

import torch
from torch import nn

from thinned import philox
from thinned.conversion import torch_private
from thinned.conversion.converted_model import ConvertedModel, RoutedFunctions
from thinned.conversion.forward_pass import ForwardPass, MaskCount, Running, thread
from thinned.conversion.recomputation import capture, surroundings
from thinned.conversion.sharding import WHOLE_WEIGHT_LAYERS
from thinned.errors import sentence
from thinned.kernels.address import signed
from thinned.layers.base import given_address
from thinned.tracing.recorder import recording
from thinned.tracing.site import site_name

__all__ = ["ForwardWrapper"]

Forward = Callable[..., object]
_KEYS = 128  # masks of one module in one forward pass whose keys are known beforehand, as torch.compile needs them


class ForwardWrapper:
    """Runs a module's forward as a part of its model's forward pass.

    Args:
        module: the module.
        path: its qualified name.
        model: the state that all wrappers of the model share.

    Attributes:
        inner: a forward that somebody else had put in place of the class's, such as accelerate.
        count: masks that the module has drawn in the pass of this thread.
    """

    def __init__(self, module: nn.Module, path: str, model: ConvertedModel, *, is_layer: bool) -> None:
        self.path, self.model, self.is_layer = path, model, is_layer
        self.whole_weight = isinstance(module, WHOLE_WEIGHT_LAYERS)
        self.inner: Forward | None = module.__dict__.pop("forward", None)
        self.count = MaskCount()
        self.keys: list[int] = []
        self.key_tensor = torch.empty(0, dtype=torch.int64)
        self.known_keys = 0

    def __deepcopy__(self, memo: dict[int, object]) -> "ForwardWrapper":
        copied = memo[id(self)] = object.__new__(type(self))
        copied.__dict__.update(copy.deepcopy(self.__dict__, memo))
        if copied.model.seed != self.model.seed:
            copied.precompute_keys()
        return copied

    def run(
        self, module: nn.Module, forward: Forward, args: tuple[object, ...], kwargs: Mapping[str, object]
    ) -> object:
        """Run ``forward``, that of the module's own class, with its dropout ours."""
        compiling = torch.compiler.is_compiling()
        outer = thread.forward_pass
        if not compiling and recording():
            return self._original(module, forward, args, kwargs)
        if not module.training:
            if outer is None or not outer.routed:
                return self._original(module, forward, args, kwargs)
            with _unrouted(outer):
                return self._original(module, forward, args, kwargs)
        if not compiling and torch_private.symbolic_tracing():
            raise NotImplementedError(
                sentence(
                    "torch.fx can't trace a converted model in training, whose masks would be constants of the graph",
                    f"{type(module).__name__} trains",
                    "call eval() first, or trace the model and convert the result",
                )
            )
        if outer is not None and outer.model is self.model:
            return self._within(outer, module, forward, args, kwargs)
        forward_pass = self.model.begin(self, module)
        forward_pass.routed = outer is not None and outer.routed
        thread.forward_pass = forward_pass
        try:
            return self._within(forward_pass, module, forward, args, kwargs)
        finally:
            thread.forward_pass = outer
            forward_pass.close()

    def _within(
        self,
        forward_pass: ForwardPass,
        module: nn.Module,
        forward: Forward,
        args: tuple[object, ...],
        kwargs: Mapping[str, object],
    ) -> object:
        forward_pass.running.append(self._running(forward_pass))
        try:
            if self.is_layer:
                return self._drop(forward_pass, module, forward, args, kwargs)
            if forward_pass.routed:
                return self._original(module, forward, args, kwargs)
            forward_pass.routed = True
            try:
                with RoutedFunctions():
                    return self._original(module, forward, args, kwargs)
            finally:
                forward_pass.routed = False
        finally:
            forward_pass.running.pop()

    def _running(self, forward_pass: ForwardPass) -> Running:
        """This module among those that run; regions that it is the first to run in are captured."""
        if torch.compiler.is_compiling():
            return Running(self, True, None, False)
        gradients, saving = torch.is_grad_enabled(), torch_private.saving()
        outer = forward_pass.running[-1] if forward_pass.running else None
        marked = forward_pass.recalled or (outer is not None and outer.marked)
        if self.model.seed is None:
            return Running(self, gradients, saving, False)
        if outer is None or not outer.same_surroundings():
            around = surroundings() if outer is not None or not gradients else None
            replays = [] if around is None else capture(around, forward_pass, self.path)
            marked = marked or (around is not None and around.custom_function and not replays)
        if marked and not (forward_pass.recalled and outer is None):
            self.model.mark(forward_pass, self.path)
        return Running(self, gradients, saving, marked)

    def _original(
        self, module: nn.Module, forward: Forward, args: tuple[object, ...], kwargs: Mapping[str, object]
    ) -> object:
        """Run what ran before the conversion."""
        return forward(module, *args, **kwargs) if self.inner is None else self.inner(*args, **kwargs)

    def _drop(
        self,
        forward_pass: ForwardPass,
        module: nn.Module,
        forward: Forward,
        args: tuple[object, ...],
        kwargs: Mapping[str, object],
    ) -> object:
        """Run a dropout layer of ours at its next address."""
        if module._buffers.get("key") is not None:  # an address that somebody gave it
            return self._original(module, forward, args, kwargs)
        with self.model.placed(forward_pass) if self.model.parts else nullcontext():
            overrides = self.model.overrides
            override = overrides.get(site_name(self.path, self.count.number)) if overrides else None
            address = forward_pass.next_address()
            given = given_address
            before = given.layer, given.key, given.call, given.rate, given.shared
            given.layer, given.key, given.call = module, address.get("key"), address.get("call", 0)
            given.rate, given.shared = None if override is None else override.rate, address.get("shared")
            try:
                return self._original(module, forward, args, kwargs)
            finally:
                given.layer, given.key, given.call, given.rate, given.shared = before

    def key(self, ordinal: int) -> int:
        """The key of a mask: by its number in the pass."""
        if ordinal >= self.known_keys:
            self.precompute_keys(2 * ordinal)
        return self.keys[ordinal]

    def precompute_keys(self, number: int = _KEYS) -> None:
        """Compute the first keys, which a compiled graph reads as a tensor."""
        names = [philox.site_number(site_name(self.path, ordinal)) for ordinal in range(number)]
        self.keys = philox.fold_in_each(self.model.seed or 0, names).tolist()
        self.key_tensor = torch.tensor([signed(key) for key in self.keys])
        self.known_keys = number

    def compiled_key(self, ordinal: int, device: torch.device) -> torch.Tensor:
        """The key of a mask, for a compiled graph."""
        if ordinal >= self.known_keys:
            raise RuntimeError(
                sentence(
                    f"a module of a compiled model may draw {self.known_keys} masks in one forward pass",
                    f"{self.path or 'the model'} draws more",
                    "run one forward pass without torch.compile first",
                )
            )
        return self.key_tensor[ordinal].to(device)


@contextmanager
def _unrouted(forward_pass: ForwardPass) -> Iterator[None]:
    """Take our mode off torch's stack: a module in evaluation is left alone, its fast path included."""
    if not isinstance(torch_private.innermost_function_mode(), RoutedFunctions):
        yield
        return
    forward_pass.routed = False
    try:
        with torch_private.without_innermost_function_mode():
            yield
    finally:
        forward_pass.routed = True
