"""Leads a module that runs again in a backward pass to its forward pass: through what the forward captured.

Activation checkpointing keeps the function that it will run again. In the forward pass that function is replaced by a
:class:`Replay`, which knows the moment of the pass: neither a thread's state nor a random number has to lead back to
it. An ``autograd.Function`` of somebody's own (reversible layers) keeps no function; its modules are known again by a
number drawn from torch's generator, whose state such a function restores.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, NamedTuple, Protocol

import torch
from torch.autograd.function import FunctionCtx

from thinned.conversion import torch_private
from thinned.conversion.forward_pass import ForwardPass, Snapshot, thread
from thinned.errors import sentence

if TYPE_CHECKING:
    from thinned.conversion.converted_model import ConvertedModel

__all__ = ["Replay", "Surroundings", "capture", "draw_mark", "note_start", "surroundings"]


class _Region(Protocol):
    """A checkpointed region that is open: where the function that will run again is kept."""

    preserves_random_state: bool

    def function(self) -> Callable[..., object]:
        """Return the function."""

    def replace(self, function: Callable[..., object]) -> None:
        """Keep another one."""


class _Reentrant:
    def __init__(self, ctx: "_CheckpointContext") -> None:
        self._ctx = ctx
        self.preserves_random_state = ctx.preserve_rng_state

    def function(self) -> Callable[..., object]:
        return self._ctx.run_function

    def replace(self, function: Callable[..., object]) -> None:
        self._ctx.run_function = function


class _NonReentrant:
    def __init__(self, frame: "_CheckpointFrame", preserves_random_state: bool) -> None:
        self._frame = frame
        self.preserves_random_state = preserves_random_state

    def function(self) -> Callable[..., object]:
        return self._frame.recompute_fn

    def replace(self, function: Callable[..., object]) -> None:
        self._frame.recompute_fn = function


class _CheckpointContext(Protocol):
    run_function: Callable[..., object]
    preserve_rng_state: bool


class _CheckpointFrame(Protocol):
    recompute_fn: Callable[..., object]


class Surroundings(NamedTuple):
    """The calls around a module or a function.

    Attributes:
        regions: the checkpointed regions that are open, innermost first.
        custom_function: True if the forward of an ``autograd.Function`` of somebody's own runs.
    """

    regions: tuple[_Region, ...]
    custom_function: bool


def surroundings() -> Surroundings:
    """Look at the calls that this one is part of."""
    regions: list[_Region] = []
    custom_function = False
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        if code is torch_private.REENTRANT_CHECKPOINT:
            regions.append(_Reentrant(frame.f_locals["ctx"]))
        elif code is torch_private.CHECKPOINT:
            inner = torch_private.non_reentrant(frame)
            if inner is not None:
                regions.append(_NonReentrant(inner.f_locals["new_frame"], inner.f_locals["preserve_rng_state"]))
        elif code.co_name == "forward" and code.co_varnames[:1]:
            custom_function |= isinstance(frame.f_locals.get(code.co_varnames[0]), FunctionCtx)
        frame = frame.f_back
    return Surroundings(tuple(regions), custom_function)


class Start(NamedTuple):
    """A forward pass that begins within a checkpointed region.

    Attributes:
        model: whose pass it is.
        forward_index: its number.
        forward_tensor: the same as a tensor.
    """

    model: "ConvertedModel"
    forward_index: int | torch.Tensor
    forward_tensor: torch.Tensor | None


class Replay:
    """Runs a checkpointed function again as a part of the forward pass that ran it first.

    Args:
        function: the function that checkpointing runs again.
        forward_pass: the pass around the region; None where the region holds whole passes.

    Attributes:
        starts: the passes that begin within, in order.
    """

    def __init__(self, function: Callable[..., object], forward_pass: ForwardPass | None) -> None:
        self._function = function
        self._model = None if forward_pass is None else forward_pass.model
        self._snapshot = None if forward_pass is None else forward_pass.snapshot()
        self._routed = forward_pass is not None and forward_pass.routed
        self.starts: list[Start] = []
        self._next = 0

    def __call__(self, *args: object, **kwargs: object) -> object:
        """Run the function as the forward pass did."""
        before = thread.replay
        thread.replay, self._next = self, 0
        try:
            if self._model is None or self._snapshot is None:
                return self._function(*args, **kwargs)
            with self._model.resumed(self._snapshot, routed=self._routed):
                return self._function(*args, **kwargs)
        finally:
            thread.replay = before

    def next_start(self, model: "ConvertedModel") -> Start | None:
        """The pass that begins next, if it is one of ``model``."""
        for number in range(self._next, len(self.starts)):
            if self.starts[number].model is model:
                self._next = number + 1
                return self.starts[number]
        return None


def capture(around: Surroundings, forward_pass: ForwardPass | None, path: str) -> list[Replay]:
    """Make the open regions run again as a part of ``forward_pass``.

    Raises:
        RuntimeError: a region does not keep the state of torch's generator.
    """
    replays = []
    for region in around.regions:
        function = region.function()
        if not isinstance(function, Replay):
            if not region.preserves_random_state:
                raise RuntimeError(
                    sentence(
                        "activation checkpointing of an addressed model needs preserve_rng_state=True",
                        f"{path or 'the model'} is called within a region that has preserve_rng_state=False",
                        "leave that argument of torch.utils.checkpoint.checkpoint at its default",
                    )
                )
            function = Replay(function, forward_pass)
            region.replace(function)
        replays.append(function)
    return replays


def note_start(start: Start, path: str) -> None:
    """Tell the open regions that a pass begins within them."""
    for replay in capture(surroundings(), thread.forward_pass, path):
        replay.starts.append(start)


def draw_mark(path: str) -> tuple[str, int]:
    """Draw the number that identifies a module within an ``autograd.Function`` when it runs again."""
    return path, int(torch.empty((), dtype=torch.int64).random_())


def missing_forward(path: str) -> RuntimeError:
    """The error of a module that runs in a backward pass, and whose forward pass is unknown."""
    return RuntimeError(
        sentence(
            "a module of an addressed model that runs in a backward pass must have run in the forward pass, from the "
            "same state of torch's generator",
            f"{path or 'the model'} did not",
            "let torch.utils.checkpoint run it again, uncompiled, or restore the generator before it runs again",
        )
    )


@contextmanager
def counts_of(snapshot: Snapshot, model: "ConvertedModel") -> Iterator[None]:
    """Within, the modules of ``model`` have drawn as many masks as they had at the moment of ``snapshot``."""
    before = {w: w.count.number for w in model.wrappers if w.count.number}
    for wrapper in model.wrappers:
        wrapper.count.number = snapshot.counts.get(wrapper, 0)
    try:
        yield
    finally:
        for wrapper in model.wrappers:
            wrapper.count.number = before.get(wrapper, 0)
