"""What runs while a converted model runs: torch's functions become ours, and masks get their addresses.

A model has one :class:`Circuit`. Modules whose forward may drop have an :class:`Entry` in place of ``forward``: it
knows where the model is, so that a block that activation checkpointing runs again outside the model is known, too.
Nothing here runs in evaluation.
"""

import functools
import inspect
import types
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from thinned import layers, ops, philox
from thinned.conversion.replacements import COUNTERPARTS
from thinned.errors import sentence
from thinned.kernels.address import Region, signed
from thinned.tracing.sites import recording, site_name
from thinned.tracing.torch_functions import DESCRIPTIONS, NOISE

__all__ = ["CLOCK", "Circuit", "Entry", "Report", "entry_of"]

CLOCK = "thinned_clock"
Parts = Mapping[int, tuple[int, int]]  # axis -> (part, number of equal parts)
_KEYS = 8  # masks of one module in one forward pass whose keys are known beforehand, as torch.compile needs them
_FORWARDS = 64  # forward passes whose backward may still come


class Report:
    """What of a model is ours, and what is not. Functional sites are added as the model runs.

    Attributes:
        converted: site name to what it was.
        unconverted: site name to the reason.
    """

    def __init__(self) -> None:
        self.converted: dict[str, str] = {}
        self.unconverted: dict[str, str] = {}

    def __repr__(self) -> str:
        lines = [f"{len(self.converted)} sites converted, {len(self.unconverted)} not"]
        lines += [f"  {name or '(the model)'}: {what}" for name, what in self.converted.items()]
        lines += [f"  NOT CONVERTED {name or '(the model)'}: {why}" for name, why in self.unconverted.items()]
        return "\n".join(lines)


class _Mode(TorchFunctionMode):
    """Sends torch's dropout functions to the circuit."""

    def __init__(self, circuit: "Circuit") -> None:
        super().__init__()
        self.circuit = circuit

    def __torch_function__(self, func: Any, classes: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in DESCRIPTIONS:
            return self.circuit.call(func, args, kwargs)
        if func in NOISE and not torch.compiler.is_compiling():
            self.circuit.noise(func)
        return func(*args, **kwargs)


_NO_BATCH = (layers.DropConnect, layers.EmbeddingDropout)  # masks of weights, which all processes share


def _place(parts: Parts, region: Region, shape: Sequence[int]) -> Region:
    """The region of a tensor of ``shape`` in a mask that is larger along the axes of ``parts``."""
    full, start = list(region.full or shape), list(region.start or [0] * len(shape))
    for axis, (part, count) in parts.items():
        if not -len(full) <= axis < len(full):
            raise IndexError(
                sentence(f"an axis of parts must lie in [{-len(full)}, {len(full) - 1}] here", f"got {axis}")
            )
        start[axis] += part * full[axis]
        full[axis] *= count
    return Region(region.shared, tuple(full), tuple(start))


def _tick(clock: torch.Tensor) -> torch.Tensor:
    call = clock.clone()
    clock.add_(1)
    return call


# An operator, since the partitioner of a compiled graph may otherwise save the clock in place of its copy, and find it
# advanced in the backward pass: gradients of another mask.
torch.library.define("thinned::tick", "(Tensor(a!) clock) -> Tensor")
torch.library.impl("thinned::tick", "CompositeExplicitAutograd", _tick)


@torch.library.register_fake("thinned::tick")  # type: ignore[untyped-decorator]
def _fake_tick(clock: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(clock)


class Circuit:
    """The state that the entries of one model share.

    Attributes:
        entries: of all modules that have one.
        root: the model, which has the clock.
        seed: None while keys are drawn.
        parts: which part of its masks this process has, or a function that tells it for a site's name.
    """

    entries: list["Entry"]

    def __init__(self, root: nn.Module) -> None:
        self.root = root
        self.seed: int | None = None
        self.parts: Parts | Callable[[str], Parts] = {}
        self.report = Report()
        self.mode = _Mode(self)
        self._clear()

    def _clear(self) -> None:
        self.__dict__.setdefault("entries", [])  # all of the model's
        self.stack: list[Entry] = []
        self.on = False  # whether the mode is on torch's stack
        self.call_number: int | torch.Tensor = 0  # of this forward pass: an int where nobody has to wait for a device
        self.call_tensor: torch.Tensor | None = None  # the same, for compiled parts
        self.again = False  # whether this is a recomputation in a backward pass
        self.history: deque[dict[tuple[str, int], tuple[int | torch.Tensor, int]]] = deque(maxlen=_FORWARDS)

    def __getstate__(self) -> dict[str, Any]:
        return {name: self.__dict__[name] for name in ("root", "seed", "parts", "report", "mode")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._clear()

    def begin(self) -> None:
        """The outermost module that trains is entered."""
        compiling = torch.compiler.is_compiling()
        self.again = not compiling and torch._C._current_graph_task_id() != -1
        if self.seed is None or self.again:
            return
        clock = self.root.get_buffer(CLOCK)
        self.call_tensor = torch.ops.thinned.tick(clock) if compiling else _tick(clock)
        self.call_number = int(self.call_tensor) if not compiling and clock.is_cpu else self.call_tensor
        if not compiling:
            self.history.append({})

    def end(self) -> None:
        """It is left again, by whatever way."""
        for entry in self.entries:
            if entry.count:
                entry.count = 0
        self.call_tensor = None

    def where(self) -> dict[str, Any]:
        """The address of the next mask of the module that runs: keyword arguments of a functional form."""
        entry = self.stack[-1]
        ordinal, entry.count = entry.count, entry.count + 1
        if self.seed is None:
            return {}
        if torch.compiler.is_compiling():
            return {"key": entry.compiled_key(ordinal), "call": self._compiled_call()}
        if not torch._C._are_functorch_transforms_active():
            call, ordinal = self._recall(entry, ordinal)
        else:
            call = self.call_number
        return {"key": entry.key(ordinal), "call": call}

    def _compiled_call(self) -> torch.Tensor:
        if self.call_tensor is None:
            raise RuntimeError(
                sentence(
                    "a compiled part of an addressed model must run within a forward pass of the model",
                    "it runs in a backward pass",
                    "compile the whole model, or checkpoint within the compiled part",
                )
            )
        return self.call_tensor

    def _recall(self, entry: "Entry", ordinal: int) -> tuple[int | torch.Tensor, int]:
        """The forward pass and ordinal of this call; in a recomputation, those of the call that it repeats.

        A checkpointed region restores torch's generator, so a number drawn from it is the same both times, and tells
        which of a site's calls this one repeats: neither the clock, which went on, nor an order of calls does.
        """
        mark = entry.path, int(torch.empty((), dtype=torch.int64).random_())
        if not self.again:
            self.history[-1][mark] = self.call_number, ordinal
            return self.call_number, ordinal
        for forward in reversed(self.history):
            if (first := forward.get(mark)) is not None:
                return first
        raise RuntimeError(
            sentence(
                "activation checkpointing of an addressed model needs preserve_rng_state=True",
                f"{entry.path or 'the model'} was run in a backward pass, and not from a state that its forward had",
                "leave that argument of torch.utils.checkpoint.checkpoint at its default",
            )
        )

    def call(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run our counterpart of a torch function."""
        counterpart = COUNTERPARTS.get(func)
        if torch.compiler.is_compiling():
            return func(*args, **kwargs) if counterpart is None else self._counterpart(counterpart, args, kwargs)
        entry, name = self.stack[-1], func.__name__
        reason = "" if counterpart else f"{name} has no counterpart"
        if entry.checkpointed_within():
            reason = (
                f"{name} is called without gradients, or by a checkpointed function that is not a module, whose "
                "recomputation would not be seen; checkpoint a module instead"
            )
        masks = len(DESCRIPTIONS[func](*args, **kwargs).shapes)
        for ordinal in range(entry.count, entry.count + masks):
            known = self.report.unconverted if reason else self.report.converted
            known.setdefault(site_name(entry.path, ordinal), reason or name)
        if reason or counterpart is None:
            return func(*args, **kwargs)
        return self._counterpart(counterpart, args, kwargs)

    def _counterpart(self, counterpart: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        if not self.parts:
            return counterpart(self.where, *args, **kwargs)
        with self.placed():
            return counterpart(self.where, *args, **kwargs)

    def noise(self, func: Any) -> None:
        """The model draws random numbers by itself."""
        name = func.__name__
        self.report.unconverted.setdefault(
            f"{self.stack[-1].path}:{name}", f"{name} is the model's own random number, not a dropout of torch's"
        )

    @contextmanager
    def placed(self) -> Iterator[None]:
        """Within, masks are the parts of larger ones that this process has."""
        entry = self.stack[-1]
        parts = self.parts(site_name(entry.path, entry.count)) if callable(self.parts) else self.parts
        if not parts or (not callable(self.parts) and isinstance(entry.module, _NO_BATCH)):
            yield
            return
        with ops.placed(functools.partial(_place, parts)):
            yield

    @contextmanager
    def off(self) -> Iterator[None]:
        """Take the mode off torch's stack: a module in evaluation is left alone, its fast path included."""
        if not self.on or torch.overrides._get_current_function_mode() is not self.mode:  # type: ignore[no-untyped-call]
            yield
            return
        self.on = False
        try:
            with torch.overrides._pop_mode_temporarily():
                yield
        finally:
            self.on = True


class Entry:
    """Stands in place of a module's ``forward``, and tells the circuit where the model is."""

    def __init__(self, module: nn.Module, path: str, circuit: Circuit, *, site: bool) -> None:
        self.module, self.path, self.circuit, self.site = module, path, circuit, site
        self.inner = module.__dict__.get("forward")  # somebody else's, such as accelerate's
        self.count = 0
        self.keys: list[int] = []
        self.key_tensors: torch.Tensor | None = None
        circuit.entries.append(self)

    @property
    def forward(self) -> types.MethodType:
        """What stands in place of the module's ``forward``, with the signature of the one that stood there before."""
        return types.MethodType(_stand_in(self.inner or type(self.module).forward, self.inner is not None), self)

    def original(self, *args: Any, **kwargs: Any) -> Any:
        """Run what ``forward`` was before."""
        if self.inner is not None:
            return self.inner(*args, **kwargs)
        return type(self.module).forward(self.module, *args, **kwargs)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The module's forward, with its dropout ours."""
        circuit = self.circuit
        if recording() or (not self.module.training and not circuit.on):
            return self.original(*args, **kwargs)
        if not self.module.training:
            with circuit.off():
                return self.original(*args, **kwargs)
        outermost = not circuit.stack
        if outermost:
            circuit.begin()
        circuit.stack.append(self)
        self._note_checkpointing()
        try:
            return self._run(*args, **kwargs)
        finally:
            circuit.stack.pop()
            if outermost:
                circuit.end()

    def _run(self, *args: Any, **kwargs: Any) -> Any:
        circuit = self.circuit
        if self.site and not circuit.parts:
            return self._drop(*args, **kwargs)
        if self.site:
            with circuit.placed():
                return self._drop(*args, **kwargs)
        if circuit.on:
            return self.original(*args, **kwargs)
        circuit.on = True
        try:
            with circuit.mode:
                return self.original(*args, **kwargs)
        finally:
            circuit.on = False

    def _drop(self, *args: Any, **kwargs: Any) -> Any:
        """A dropout layer of ours: it reads its address from its attributes, which stand before its buffers."""
        module = self.module
        if module._buffers.get("key") is not None:  # an address that somebody gave it
            return self.original(*args, **kwargs)
        where = self.circuit.where()
        if torch.compiler.is_compiling():
            return self._drop_compiled(where, *args, **kwargs)
        for name, value in where.items():
            object.__setattr__(module, name, value)
        try:
            return self.original(*args, **kwargs)
        finally:
            for name in where:
                object.__delattr__(module, name)

    def _drop_compiled(self, where: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        for name, value in where.items():
            setattr(self.module, name, value)
        try:
            return self.original(*args, **kwargs)
        finally:
            for name in where:
                setattr(self.module, name, None)

    def key(self, ordinal: int) -> int:
        """The key of a mask."""
        seed = self.circuit.seed or 0
        while ordinal >= len(self.keys):
            name = site_name(self.path, len(self.keys))
            self.keys.append(philox.fold_in(seed, philox.site_number(name)))
        return self.keys[ordinal]

    def know_keys(self) -> None:
        """Work out the first keys, which a compiled graph reads as a tensor."""
        self.keys = []
        self.key_tensors = torch.tensor([signed(self.key(ordinal)) for ordinal in range(_KEYS)])

    def compiled_key(self, ordinal: int) -> torch.Tensor:
        """The key of a mask, for a compiled graph."""
        if self.key_tensors is None or ordinal >= _KEYS:
            raise RuntimeError(
                sentence(
                    f"a module of a compiled, addressed model may draw {_KEYS} masks in one forward pass",
                    f"{self.path or 'the model'} draws more",
                    "make modules of its parts, or run it without torch.compile",
                )
            )
        return self.key_tensors[ordinal].to(self.circuit._compiled_call().device)

    def _note_checkpointing(self) -> None:
        if not torch.compiler.is_compiling():
            self._gradients, self._saving = torch.is_grad_enabled(), _saving()

    def checkpointed_within(self) -> bool:
        """Whether this module's own forward has entered a checkpointed region that is not a module."""
        if self._gradients and not torch.is_grad_enabled():
            return True  # as reentrant checkpointing runs it
        return _saving() is not self._saving and "checkpoint" in getattr(_saving(), "__qualname__", "")

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_gradients", "_saving")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.circuit.__dict__.setdefault("entries", []).append(self)  # which may not have its own state yet


def entry_of(module: nn.Module) -> Entry | None:
    """The entry that stands in place of a module's forward."""
    forward = module.__dict__.get("forward")
    entry = forward.__self__ if isinstance(forward, types.MethodType) else None
    return entry if isinstance(entry, Entry) else None


@functools.cache
def _stand_in(function: Callable[..., Any], bound: bool) -> Callable[..., Any]:
    """One function for all modules of a class, so that torch.compile can share their code."""

    @functools.wraps(function)
    def forward(entry: Entry, /, *args: Any, **kwargs: Any) -> Any:
        return entry(*args, **kwargs)

    signature = inspect.signature(function)
    first = [inspect.Parameter("entry", inspect.Parameter.POSITIONAL_ONLY)]
    parameters = list(signature.parameters.values())
    forward.__signature__ = signature.replace(parameters=first + (parameters if bound else parameters[1:]))  # type: ignore[attr-defined]
    forward.__name__ = "forward"  # under which pickle finds it
    return forward


def _saving() -> Any:
    """The function that packs tensors for backward, None by default."""
    hooks = torch._C._autograd._top_saved_tensors_default_hooks(True)
    return hooks[0] if hooks else None
