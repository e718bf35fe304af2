"""Watches the passes of an audit: every dropout, with what it did and where in the source it stands."""

import os
import re
import sys
import weakref
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import torch
from torch import nn

import thinned
from thinned.audits.observation.flow import Flow, Link, Origin
from thinned.audits.observation.restore_parameters import Guard
from thinned.tracing import sites
from thinned.tracing.sites import Op, Recorder, Site, is_thinned, tensors
from thinned.tracing.torch_functions import BINDERS, DropoutCall

__all__ = ["Location", "Norm", "Seen", "Stranger", "Watch", "is_drop_path", "outputs"]

_NOT_THEIRS = (
    *(f"{Path(str(package.__file__)).parent}{os.sep}" for package in (torch, thinned)),
    "<",
)  # not torchvision
_DROP_PATH = re.compile(r"drop_?path|stochastic_?depth", re.IGNORECASE)
_RANDOM_FUNCTIONS = ("functional", "module")


class Location(NamedTuple):
    """A line of source code."""

    file: str
    line: int


class Stranger(NamedTuple):
    """A dropout module that ran and is not part of the model."""

    reference: Any
    cls: str

    @property
    def lives(self) -> bool:
        """Whether it is still there after the pass; one that was made in the pass is not."""
        return self.reference() is not None


@dataclass
class Seen:
    """One dropout of a pass.

    Attributes:
        number: its place in the order of the pass.
        module: the innermost module of the model around the call.
        path: its qualified name.
        stranger: the dropout module whose call it was, where that is not part of the model; held weakly.
        site: what :mod:`thinned.sites` knows of it; complete when the pass is over.
        location: the line of the user's code that called it.
        zeros: share of zeros in its output; None where not measured.
        origin: the last function with weights before it.
        onto: numbers of the dropouts that its input already carries, with no weight between.
        preserved: whether the activation checkpointing around it keeps the random state; None without checkpointing.
        reset: whether the generator's seed was set in the forward pass.
        output: whether its result is an output of the model.
    """

    number: int
    module: nn.Module
    path: str
    stranger: Stranger | None
    site: Site
    location: Location | None
    zeros: float | None
    origin: Origin | None
    onto: tuple[int, ...]
    preserved: bool | None
    reset: bool
    output: bool = False

    @property
    def drops(self) -> bool:
        """Whether it drops anything."""
        return self.site.active and self.site.p > 0


class Norm(NamedTuple):
    """A call of batch norm whose input carries dropouts.

    Attributes:
        path: name of the module.
        call: number among its module's calls.
        location: line of the call.
        values: in each channel.
        variance: of each channel.
        numbers: of the dropouts.
    """

    path: str
    call: int
    location: Location | None
    values: int
    variance: torch.Tensor | None
    numbers: tuple[int, ...]


class Watch(Recorder):
    """One pass of a model, watched.

    Attributes:
        seen: the dropouts, in order; complete after the pass.
        norms: batch norms whose input carries dropout.
        called: how often each module ran.
        shapes: of the input of each drop-path module.
    """

    def __init__(self, model: nn.Module, *, measure: bool = True, without: bool = False) -> None:
        super().__init__(model)
        self.norms: list[Norm] = []
        self.called: Counter[str] = Counter()
        self.shapes: dict[str, tuple[int, ...]] = {}
        self._measure, self._without = measure, without
        self._flow = Flow()
        self._known: list[dict[str, Any]] = []
        self._output: set[int] = set()
        self._norm_calls: Counter[str] = Counter()
        self._seed = torch.initial_seed()
        self._guard = Guard(model)

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """Call the model as it is."""
        model = next(iter(self._modules.values()))[1]
        try:
            with torch.compiler.set_stance("force_eager"), self.hooks(), self:
                self.recording = True
                return self._finish(model(*args, **kwargs))
        finally:
            self._guard.restore()

    @property
    def seen(self) -> list[Seen]:
        """The dropouts of the pass."""
        found = zip(self.sites(), self._known, strict=True)
        return [Seen(number=i, site=site, output=i in self._output, **known) for i, (site, known) in enumerate(found)]

    def _finish(self, result: Any) -> Any:
        for tensor in outputs(result):
            self._output |= {number for number, link in self._flow.trail(tensor).items() if link is Link.VIEW}
        return result

    def _enter(self, module: nn.Module, args: Any) -> None:
        super()._enter(module, args)
        known = self._modules.get(id(module))
        if known is not None:
            self.called[known[0]] += 1
            if is_drop_path(module) and tensors(args):
                self.shapes[known[0]] = tuple(tensors(args)[0].shape)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self.recording:
            self._guard.note(func, args)
            if getattr(func, "__name__", "") == "batch_norm":
                self._note_norm(args, kwargs or {})
            if self._without and (call := BINDERS.get(func)) and call(*args, **(kwargs or {})).kind == "functional":
                return args[0] if args else (kwargs or {})["input"]
        return super().__torch_function__(func, types, args, kwargs)

    def _note_norm(self, args: Any, kwargs: dict[str, Any]) -> None:
        names = ("input", "running_mean", "running_var", "weight", "bias", "training")
        given = dict(zip(names, args, strict=False)) | kwargs
        x, path = given["input"], self._path()[0]
        call, self._norm_calls[path] = self._norm_calls[path], self._norm_calls[path] + 1
        numbers = tuple(self._flow.trail(x))
        if not (self._without or numbers) or not given.get("training") or given.get("running_mean") is None:
            return  # batch statistics in evaluation, too: no shift
        variance, values = None, x.numel() // max(1, x.shape[1])
        if self._measure and values > 1:
            variance = x.detach().transpose(0, 1).flatten(1).double().var(1)
        self.norms.append(
            Norm(path, call, None if self._without else _around(sys._getframe())[0], values, variance, numbers)
        )

    def _consume(self, source: list[torch.Tensor], made: list[torch.Tensor], name: str) -> None:
        super()._consume(source, made, name)
        self._flow.step(source, made, "dropout" if any(map(is_thinned, self._stack[-1:])) else name)

    def _site(
        self,
        kind: str,
        op: str,
        call: DropoutCall,
        source: list[torch.Tensor],
        made: list[torch.Tensor],
        *producer: Op | None,
    ) -> None:
        first = len(self.drafts)
        super()._site(kind, op, call, source, made, *producer)
        path, module = self._path()
        direct = kind in _RANDOM_FUNCTIONS
        location, preserved = _around(sys._getframe())
        known = {
            "module": module,
            "path": path,
            "stranger": self._stranger(),
            "location": location,
            "zeros": self._zeros(made, call) if direct else None,
            "origin": self._flow.origin(source[0]) if source else None,
            "onto": self._before(source) if direct else (),
            "preserved": preserved,
            "reset": torch.initial_seed() != self._seed,
        }
        self._known += [known] * (len(self.drafts) - first)
        if direct and made:
            self._flow.start(made[0], first)

    def _stranger(self) -> Stranger | None:
        inner = self._stack[-1] if self._stack else None
        if (
            inner is None
            or id(inner) in self._modules
            or not (isinstance(inner, sites.TORCH_DROPOUTS) or is_thinned(inner))
        ):
            return None
        return Stranger(weakref.ref(inner), type(inner).__name__)

    def _before(self, source: list[torch.Tensor]) -> tuple[int, ...]:
        trail = self._flow.trail(source[0]) if source else {}
        return tuple(number for number, link in trail.items() if link <= Link.ACTIVATION)

    def _zeros(self, made: list[torch.Tensor], call: DropoutCall) -> float | None:
        if not (self._measure and call.active and call.p and made and made[0].numel()):
            return None
        with torch._C.DisableTorchFunction():
            return 1 - int(torch.count_nonzero(made[0].detach())) / made[0].numel()


def outputs(result: Any) -> list[torch.Tensor]:
    """The tensors of an output, also of one whose class the tree functions don't know."""
    found = tensors(result)
    if not found and hasattr(result, "__dict__"):
        found = tensors(list(vars(result).values()))
    return found


def is_drop_path(module: nn.Module) -> bool:
    """Whether a module is stochastic depth, by its name."""
    return bool(_DROP_PATH.search(type(module).__name__))


def _around(frame: FrameType | None) -> tuple[Location | None, bool | None]:
    """What the stack of a call tells.

    The innermost line within the pass that is neither ours nor torch's; and whether the activation checkpointing around
    it keeps the random state, None without checkpointing.
    """
    location, preserved = None, None
    while frame is not None and frame.f_code is not Watch.run.__code__:
        file = frame.f_code.co_filename
        if location is None and not file.startswith(_NOT_THEIRS):
            location = Location(file, frame.f_lineno)
        if frame.f_code.co_name == "checkpoint" and "preserve" in frame.f_locals:
            preserved = bool(frame.f_locals["preserve"])
        frame = frame.f_back
    return location, preserved
