"""What runs while a converted model runs: torch's functions become ours, and masks get their addresses.

A model has one :class:`ConvertedModel`. A module whose forward may drop has a :class:`ForwardWrapper` around its
forward, which knows the module's name, so that a block that is run again outside the model is known, too. Nothing here
runs in evaluation. The state of a running pass is in its :class:`thinned.conversion.forward_pass.ForwardPass`.
"""

import functools
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from thinned import ops, philox
from thinned.conversion import torch_private
from thinned.conversion.clock import CLOCK, tick
from thinned.conversion.forward_pass import ForwardPass, MaskCount, Running, Snapshot, thread
from thinned.conversion.recomputation import (
    Start,
    capture,
    counts_of,
    draw_mark,
    missing_forward,
    note_start,
    surroundings,
)
from thinned.conversion.replacements import REPLACEMENTS
from thinned.conversion.report import ConversionReport
from thinned.conversion.sharding import WHOLE_WEIGHT_LAYERS, Parts, PartsOfSite, place
from thinned.errors import sentence
from thinned.kernels.address import signed
from thinned.layers.base import given_address
from thinned.tracing.recorder import recording
from thinned.tracing.sites import site_name
from thinned.tracing.torch_functions import BINDERS, NOISE

__all__ = ["ConvertedModel", "ForwardWrapper"]

Forward = Callable[..., object]
_KEYS = 128  # masks of one module in one forward pass whose keys are known beforehand, as torch.compile needs them
_FORWARDS = 64  # forward passes within custom autograd functions whose backward may still come


class _RoutedFunctions(TorchFunctionMode):
    """Hands torch's dropout functions to the pass that runs."""

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: object,
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        kwargs = kwargs or {}
        forward_pass = thread.forward_pass
        if forward_pass is not None and forward_pass.routed:
            if func in BINDERS:
                return forward_pass.model.replace(forward_pass, func, args, kwargs)
            if func in NOISE and not torch.compiler.is_compiling():
                forward_pass.model.note_noise(forward_pass, func)
        return func(*args, **kwargs)


class ConvertedModel:
    """What the wrappers of one model share.

    Args:
        root: the model, which has the clock.

    Attributes:
        wrappers: of all modules that have one.
        seed: None while keys are drawn.
        parts: which part of its masks this process has, or a function that tells it for a site's name.
        report: which sites were converted.
    """

    def __init__(self, root: nn.Module) -> None:
        self.root = root
        self.wrappers: list[ForwardWrapper] = []
        self.seed: int | None = None
        self.parts: Parts | PartsOfSite = {}
        self.report = ConversionReport()
        self.marked: deque[dict[tuple[str, int], Snapshot]] = deque(maxlen=_FORWARDS)

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "marked": deque(maxlen=_FORWARDS)}

    def begin(self, wrapper: "ForwardWrapper", module: nn.Module) -> ForwardPass:
        """Make the pass of an outermost module; a pass that is repeated gets its number once more."""
        if self.seed is None:
            return ForwardPass(self)
        clock = (module if wrapper.path == "" else self.root).get_buffer(CLOCK)
        if torch.compiler.is_compiling():
            forward_index = torch.ops.thinned.tick(clock)
            return ForwardPass(self, forward_index, forward_index)
        start = None if thread.replay is None else thread.replay.next_start(self)
        if start is None:
            if torch_private.in_backward():
                return self._recall(wrapper)
            number = tick(clock)
            start = Start(self, int(number) if clock.is_cpu else number, number)
        if not Running(wrapper, True, None, False).same_surroundings():
            note_start(start, wrapper.path)
        return ForwardPass(self, start.forward_index, start.forward_tensor)

    def _recall(self, wrapper: "ForwardWrapper") -> ForwardPass:
        """The pass whose module an ``autograd.Function`` runs again."""
        mark = draw_mark(wrapper.path)
        for marks in reversed(tuple(self.marked)):
            if (snapshot := marks.get(mark)) is not None:
                forward_pass = ForwardPass(self, snapshot.forward_index, snapshot.forward_tensor, recalled=True)
                for other in self.wrappers:
                    other.count.number = snapshot.counts.get(other, 0)
                return forward_pass
        raise missing_forward(wrapper.path)

    def mark(self, forward_pass: ForwardPass, path: str) -> None:
        """Note that the module at ``path`` may be run again by an ``autograd.Function``."""
        if not forward_pass.marks:
            self.marked.append(forward_pass.marks)
        forward_pass.marks[draw_mark(path)] = forward_pass.snapshot()

    @contextmanager
    def resumed(self, snapshot: Snapshot, *, routed: bool) -> Iterator[None]:
        """Within, the pass of ``snapshot`` runs on from there."""
        before = thread.forward_pass
        thread.forward_pass = forward_pass = ForwardPass(self, snapshot.forward_index, snapshot.forward_tensor)
        forward_pass.running = list(snapshot.running)
        forward_pass.routed = routed
        try:
            with counts_of(snapshot, self), _RoutedFunctions() if routed else nullcontext():
                yield
        finally:
            thread.forward_pass = before

    def replace(
        self,
        forward_pass: ForwardPass,
        func: Callable[..., object],
        args: tuple[object, ...],
        kwargs: Mapping[str, object],
    ) -> object:
        """Run our replacement of a torch function."""
        replacement = REPLACEMENTS.get(func)
        if not torch.compiler.is_compiling():
            wrapper, name = forward_pass.running[-1].wrapper, func.__name__
            reason = "" if replacement else f"{name} has no counterpart"
            if self._runs_again_unseen(forward_pass):
                reason = (
                    f"{name} is called by a checkpointed function that is not a module, or by an autograd.Function, "
                    "whose recomputation would not be seen; checkpoint a module instead"
                )
            first, masks = wrapper.count.number, len(BINDERS[func](*args, **kwargs).shapes)
            for ordinal in range(first, first + masks):
                known = self.report.unconverted if reason else self.report.converted
                known.setdefault(site_name(wrapper.path, ordinal), reason or name)
            if reason:
                return func(*args, **kwargs)
        if replacement is None:
            return func(*args, **kwargs)
        if not self.parts:
            return replacement(forward_pass.next_address, *args, **kwargs)
        with self.placed(forward_pass):
            return replacement(forward_pass.next_address, *args, **kwargs)

    def _runs_again_unseen(self, forward_pass: ForwardPass) -> bool:
        """Tell whether a function of the innermost module will be run again where nobody routes it."""
        innermost = forward_pass.running[-1]
        if innermost.same_surroundings():
            return False
        around = surroundings()
        if self.seed is not None:
            replays = capture(around, forward_pass, innermost.wrapper.path)
            return around.custom_function and not replays
        return around.custom_function or bool(around.regions)

    def note_noise(self, forward_pass: ForwardPass, func: Callable[..., object]) -> None:
        """Report that the model draws random numbers by itself."""
        path, name = forward_pass.running[-1].wrapper.path, func.__name__
        reason = f"{name} is the model's own random number, not a dropout of torch's"
        self.report.unconverted.setdefault(f"{path}:{name}", reason)

    @contextmanager
    def placed(self, forward_pass: ForwardPass) -> Iterator[None]:
        """Within, masks are the parts of larger ones that this process has."""
        wrapper = forward_pass.running[-1].wrapper
        parts = self.parts
        if callable(parts):
            parts = parts(site_name(wrapper.path, wrapper.count.number))
        elif wrapper.whole_weight:
            parts = {}
        if not parts:
            yield
            return
        with ops.placed(functools.partial(place, parts)):
            yield


class ForwardWrapper:
    """Runs a module's forward as a part of its model's forward pass.

    Args:
        module: the module.
        path: its qualified name.
        model: what all wrappers of the model share.

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
                with _RoutedFunctions():
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
            address = forward_pass.next_address()
            before = given_address.layer, given_address.key, given_address.call
            given_address.layer, given_address.key, given_address.call = module, address["key"], address["call"]
            try:
                return self._original(module, forward, args, kwargs)
            finally:
                given_address.layer, given_address.key, given_address.call = before

    def key(self, ordinal: int) -> int:
        """The key of a mask: by its number in the pass."""
        if ordinal >= self.known_keys:
            self.compute_keys(2 * ordinal)
        return self.keys[ordinal]

    def compute_keys(self, number: int = _KEYS) -> None:
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
    if not isinstance(torch_private.innermost_function_mode(), _RoutedFunctions):
        yield
        return
    forward_pass.routed = False
    try:
        with torch_private.without_innermost_function_mode():
            yield
    finally:
        forward_pass.routed = True
