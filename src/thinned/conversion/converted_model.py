"""The state that the wrappers of one converted model share. It begins passes, resumes them, and replaces functions."""

import copy
import functools
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from thinned import ops
from thinned.conversion import torch_private
from thinned.conversion.clock import CLOCK, tick
from thinned.conversion.forward_pass import ForwardPass, Running, SiteOverride, Snapshot, thread
from thinned.conversion.own_noise import copy_seed, in_constructor, worker_number, worker_seed
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
from thinned.conversion.sharding import Parts, PartsOfSite, place
from thinned.errors import sentence
from thinned.tracing.site import site_name
from thinned.tracing.torch_functions import BINDERS, NOISE, with_rate

if TYPE_CHECKING:
    from thinned.conversion.forward_wrapper import ForwardWrapper

__all__ = ["ConvertedModel", "RoutedFunctions"]

_FORWARDS = 64  # forward passes within custom autograd functions whose backward may still come


class RoutedFunctions(TorchFunctionMode):
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
            if not torch.compiler.is_compiling() and func in NOISE:
                forward_pass.model.note_noise(forward_pass, func)
        return func(*args, **kwargs)


class ConvertedModel:
    """The state that the wrappers of one model share.

    Args:
        root: the model, which has the clock.

    Attributes:
        wrappers: of all modules that have one.
        seed: None while keys are drawn.
        parts: which part of its masks this process has, or a function that tells it for a site's name.
        report: which sites were converted.
        least: the least number of the next pass, so that averaging never sets back a copy's clock; None for others.
        overrides: by the name of a site, what it does instead of what the model's code says.
        copies: how many copies with masks of their own were made of the model.
        worker: number of the ``DataLoader`` worker that runs the model.
    """

    def __init__(self, root: nn.Module) -> None:
        self.root = root
        self.wrappers: list[ForwardWrapper] = []
        self.seed: int | None = None
        self.parts: Parts | PartsOfSite = {}
        self.report = ConversionReport()
        self.least: torch.Tensor | None = None
        self.overrides: Mapping[str, SiteOverride] = {}
        self.copies = 0
        self.worker: int | None = None
        self.marked: deque[dict[tuple[str, int], Snapshot]] = deque(maxlen=_FORWARDS)

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "marked": deque(maxlen=_FORWARDS)}

    def __deepcopy__(self, memo: dict[int, object]) -> "ConvertedModel":
        copied = memo[id(self)] = object.__new__(type(self))
        state = self.__getstate__()
        if self.seed is not None and in_constructor():
            self.copies += 1
            state |= {"seed": copy_seed(self.seed, self.copies), "copies": 0, "least": self.root.get_buffer(CLOCK)}
        copied.__dict__["seed"] = state["seed"]  # which wrappers look at while they are copied
        copied.__dict__.update(copy.deepcopy(state, memo))
        if copied.least is not None:
            copied.least = copied.least.clone()  # not the clock itself
        return copied

    def set_seed(self, seed: int) -> None:
        """Set the seed, and compute the keys that follow from it."""
        self.seed = seed
        for wrapper in self.wrappers:
            wrapper.precompute_keys()

    def _enter_worker(self, number: int) -> None:
        """Take a seed and a clock of its own: workers begin with the same, which may lie in shared memory."""
        assert self.seed is not None  # noqa: S101 - the caller has looked
        self.worker = number
        self.root._buffers[CLOCK] = self.root.get_buffer(CLOCK).clone()
        self.set_seed(worker_seed(self.seed, number))

    def begin(self, wrapper: "ForwardWrapper", module: nn.Module) -> ForwardPass:
        """Make the pass of an outermost module; a pass that is repeated gets its number once more."""
        if self.seed is None:
            return ForwardPass(self)
        if not torch.compiler.is_compiling():
            if module.__dict__.get("_is_replica"):
                raise _replica_error()
            if (number := worker_number()) is not None and number != self.worker:
                self._enter_worker(number)
        clock = getattr(module if wrapper.path == "" else self.root, CLOCK)  # torch 2.6 can't export get_buffer
        if torch.compiler.is_compiling():
            forward_index = torch.ops.thinned.tick(clock, self.least)
            return ForwardPass(self, forward_index, forward_index)
        start = None if thread.replay is None else thread.replay.next_start(self)
        if start is None:
            if torch_private.in_backward():
                return self._recall(wrapper)
            forward_index = tick(clock, self.least)
            start = Start(self, int(forward_index) if clock.is_cpu else forward_index, forward_index)
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
            with counts_of(snapshot, self), RoutedFunctions() if routed else nullcontext():
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
                entries = self.report.unconverted if reason else self.report.converted
                entries.setdefault(site_name(wrapper.path, ordinal), reason or name)
            if reason:
                return func(*args, **kwargs)
        if replacement is None:
            return func(*args, **kwargs)
        if self.overrides:
            running = forward_pass.running[-1].wrapper
            override = self.overrides.get(site_name(running.path, running.count.number))
            if override is not None:
                args, kwargs = with_rate(func, args, kwargs, override.rate)
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

    def placed(self, forward_pass: ForwardPass) -> AbstractContextManager[None]:
        """Within, masks are the parts of larger ones that this process has."""
        wrapper = forward_pass.running[-1].wrapper
        parts = self.parts
        if callable(parts):
            parts = parts(site_name(wrapper.path, wrapper.count.number))
        elif wrapper.whole_weight:
            parts = {}
        return ops.placed(functools.partial(place, parts)) if parts else nullcontext()


def _replica_error() -> RuntimeError:
    return RuntimeError(
        sentence(
            "an addressed model must not train in replicas, which would all have the same masks",
            "got a replica of nn.DataParallel",
            "use DistributedDataParallel with address(model, seed, parts={0: (rank, world_size)})",
        )
    )
