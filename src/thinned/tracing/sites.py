"""Finds every dropout of a model by one recorded forward pass of the real model on a real input.

Dropout hides in modules, in ``F.dropout``, in attention and between the layers of an LSTM. A static search finds the
modules that exist; a recorded pass finds the calls that happen, and what stands before and behind each.
"""

import random
import warnings
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from thinned.errors import sentence
from thinned.tracing.torch_functions import DESCRIPTIONS, NOISE, Call

Value = TypeVar("Value")

__all__ = ["Op", "Recording", "Site", "find", "named", "record", "recording", "site_name", "unrouted", "untouched"]

OPAQUE = (nn.MultiheadAttention, nn.RNNBase)  # one event each, though they have children
_WRAPPERS = ("_orig_mod", "_checkpoint_wrapped_module", "_fsdp_wrapped_module")
TORCH_DROPOUTS = nn.modules.dropout._DropoutNd
#: what only looks at its input from another side: the producer stays, and it consumes nothing
VIEWS = frozenset(
    [
        "view",
        "reshape",
        "transpose",
        "permute",
        "contiguous",
        "flatten",
        "unflatten",
        "unsqueeze",
        "squeeze",
        "expand",
        "expand_as",
        "to",
        "float",
        "type_as",
        "half",
        "bfloat16",
        "double",
        "detach",
        "movedim",
        "swapaxes",
        "chunk",
        "split",
        "unbind",
        "tensor_split",
        "narrow",
        "select",
        "__getitem__",
        "__get__",
        "t",
        "view_as",
        "reshape_as",
        "clone",
        "requires_grad_",
        "unpad_sequence",
    ]
)


class Op(NamedTuple):
    """Something that makes or takes a tensor: a leaf module, or a function called in a module's forward.

    Attributes:
        module: qualified name of the module, "" for the model itself.
        name: class of the leaf module, or name of the function.
    """

    module: str
    name: str


class Site(NamedTuple):
    """One place where a model drops.

    Attributes:
        name: qualified name of the module whose forward drops; its second and later masks in one forward pass of the
            model are ``name#1``, ``name#2`` … Its number, :func:`thinned.philox.site_number`, makes the key.
        kind: "module" (a dropout module), "functional", "attention" (dropout on attention weights) or "rnn" (between
            the layers of a recurrent module).
        op: class of the dropout module, or name of the torch function.
        p: probability of dropping; 0 where dropout could be and is off.
        active: False where the call itself asks for no dropout although the model trains.
        shape: of what is dropped; attention weights are (batch, heads, queries, keys).
        producer: what made the dropped tensor; None for an input of the model.
        consumers: what took the dropped tensor, in order of time, views looked through; empty for an output.
        module: the module that ``name`` names.
    """

    name: str
    kind: str
    op: str
    p: float
    active: bool
    shape: tuple[int, ...]
    producer: Op | None
    consumers: tuple[Op, ...]
    module: nn.Module

    @property
    def consumer(self) -> Op | None:
        """What took the dropped tensor first."""
        return self.consumers[0] if self.consumers else None


class Recording(NamedTuple):
    """What a recorded pass saw: its dropout sites, and random numbers that the model drew by itself."""

    sites: tuple[Site, ...]
    noise: tuple[Op, ...]


def site_name(path: str, ordinal: int) -> str:
    """The name of the mask number ``ordinal`` that the module at ``path`` draws in one forward pass."""
    return f"{path}#{ordinal}" if ordinal else path


def find(model: nn.Module, *args: Any, **kwargs: Any) -> tuple[Site, ...]:
    """Every dropout site that a training forward pass of ``model`` reaches.

    The pass is ``model(*args, **kwargs)`` in training mode, with all submodules training. Afterwards the model is as it
    was, also when the pass raises: training flags, buffers, hooks, attributes of modules, and the states of the random
    generators of torch, NumPy and ``random``. (What a forward pass changes in place within an attribute, such as a
    list that it appends to, stays changed.) Intermediate tensors are not kept alive.

    TorchScript, and dropout written out as arithmetic on random numbers, are not seen as sites; the latter are in
    :func:`record`'s ``noise``.

    Args:
        model: any module; converted and addressed ones, too, whose clock does not tick.
        args: of its forward.
        kwargs: of its forward.

    Returns:
        Sites in order of the calls, those with ``p`` = 0 included.

    Raises:
        TypeError: ``model`` is not a module.
        Exception: whatever the forward pass raises.

    Example:
        >>> import torch, thinned
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Dropout(0.2))
        >>> [site] = thinned.sites.find(model, torch.ones(2, 4))
        >>> site.name, site.kind, site.p, site.shape, site.producer
        ('2', 'module', 0.2, (2, 3), Op(module='1', name='ReLU'))
    """
    return record(model, *args, **kwargs).sites


def record(model: nn.Module, *args: Any, **kwargs: Any) -> Recording:
    """As :func:`find`, with the noise that the model draws by itself."""
    if not isinstance(model, nn.Module):
        raise TypeError(sentence("model must be a torch.nn.Module", f"got {type(model).__name__}"))
    recorder = Recorder(model)
    with untouched(model), torch.compiler.set_stance("force_eager"), recorder.hooks(), recorder:
        model.train()
        recorder.recording = True
        model(*args, **kwargs)
    return Recording(tuple(recorder.sites()), tuple(dict.fromkeys(recorder.noise)))


def named(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Modules and their names, without the parts of a name that wrappers add (of ``torch.compile``, FSDP, DDP …)."""
    data_parallel = isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel))
    for name, module in model.named_modules():
        parts = [part for part in name.split(".") if part not in _WRAPPERS]
        yield ".".join(parts[1:] if data_parallel else parts), module


def recording() -> bool:
    """Whether a pass is being recorded, during which nothing is rerouted and no clock ticks."""
    return bool(_running)


@contextmanager
def unrouted() -> Iterator[None]:
    """Within, :func:`recording` holds: converted and addressed models run as if they were not."""
    _running.append(mark := object())
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Using `torch.compile", UserWarning)  # nothing is compiled in the pass
            yield
    finally:
        _running.remove(mark)


_running: list[object] = []


class Draft:
    """A site whose consumers are not known yet."""

    def __init__(
        self, path: str, ordinal: int, kind: str, op: str, call: Call, shape: Any, producer: Op | None
    ) -> None:
        self.fields = (site_name(path, ordinal), kind, op, float(call.p), call.active, tuple(shape), producer)
        self.consumers: dict[Op, None] = {}


class TensorMap(Generic[Value]):
    """A map from tensors, which it does not keep alive; torch.utils.weak has one whose keys cost ten times as much."""

    def __init__(self) -> None:
        self._entries: dict[int, tuple[weakref.ref[torch.Tensor], Value]] = {}

    def __setitem__(self, tensor: torch.Tensor, value: Value) -> None:
        number, entries = id(tensor), self._entries
        entries[number] = weakref.ref(tensor, lambda _: entries.pop(number, None)), value

    def __contains__(self, tensor: torch.Tensor) -> bool:
        return id(tensor) in self._entries

    def __delitem__(self, tensor: torch.Tensor) -> None:
        del self._entries[id(tensor)]

    def get(self, tensor: torch.Tensor) -> Value | None:
        """The value of a tensor."""
        entry = self._entries.get(id(tensor))
        return None if entry is None else entry[1]


class Recorder(TorchFunctionMode):
    """Sees every call of a torch function and every module; a map from tensors, held weakly, to what made them."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.recording = False
        self.noise: list[Op] = []
        self._modules = {id(m): (name, m) for name, m in named(model)}
        self._stack: list[nn.Module] = []
        self._counts: Counter[str] = Counter()
        self.drafts: list[tuple[Draft, nn.Module]] = []
        self._producers: TensorMap[Op] = TensorMap()
        self._carries: TensorMap[list[Draft]] = TensorMap()  # drafts whose output a tensor is, or is a view of

    def sites(self) -> Iterator[Site]:
        for draft, module in self.drafts:
            yield Site(*draft.fields, tuple(draft.consumers), module)

    @contextmanager
    def hooks(self) -> Iterator[None]:
        before = nn.modules.module.register_module_forward_pre_hook(self._enter)
        after = nn.modules.module.register_module_forward_hook(self._leave, always_call=True)
        try:
            with unrouted():
                yield
        finally:
            before.remove()
            after.remove()

    def _path(self) -> tuple[str, nn.Module]:
        """The innermost module of the model that is running."""
        for module in reversed(self._stack):
            if id(module) in self._modules:
                return self._modules[id(module)]
        return self._modules[next(iter(self._modules))]

    def _op(self, name: str) -> Op:
        path, module = self._path()
        return Op(path, type(module).__name__ if is_leaf(module) else name)

    def _enter(self, module: nn.Module, _: Any) -> None:
        self._stack.append(module)

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        if is_thinned(module):
            p = float(getattr(module, "p", 0.0))
            source, result = tensors(args), tensors(output)
            if source:
                call = Call("module", p, module.training, (tuple(source[0].shape),))
                self._consume(source, result, type(module).__name__)
                self._site("module", type(module).__name__, call, source, result)
        if is_leaf(module):
            for tensor in tensors(output):
                if tensor not in self._carries or not any(t is tensor for t in tensors(args)):
                    self._producers[tensor] = self._op("")
        while self._stack and self._stack.pop() is not module:
            pass  # a module whose forward raised, and was caught, has left no trace

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        describe = DESCRIPTIONS.get(func) if self.recording else None
        call = describe(*args, **kwargs) if describe else None
        source = tensors((args, kwargs)) if self.recording else []
        before = self._producers.get(source[0]) if source else None
        result = func(*args, **kwargs)
        if not self.recording or any(map(is_thinned, self._stack[-1:])):
            return result
        name = getattr(func, "__name__", str(func))
        if func in NOISE:
            self.noise.append(self._op(name) if not is_leaf(self._path()[1]) else Op(self._path()[0], name))
        made = tensors(result)
        if made and source:
            self._consume(source, made, name)
        if call is not None:
            self._site(call.kind, name, call, source, made, before)
        return result

    def _consume(self, source: list[torch.Tensor], made: list[torch.Tensor], name: str) -> None:
        """Tell the sites whose output this takes, and note who made what."""
        drafts = [d for tensor in source for d in self._carries.get(tensor) or ()]
        if name in VIEWS:
            producer = self._producers.get(source[0])
            for tensor in made:
                if not any(tensor is s for s in source):
                    self._set(tensor, producer, drafts)
            return
        op = self._op(name)
        for draft in drafts:
            draft.consumers[op] = None
        for tensor in made:
            self._set(tensor, op, [])

    def _set(self, tensor: torch.Tensor, producer: Op | None, drafts: list[Draft]) -> None:
        if producer is not None:
            self._producers[tensor] = producer
        if drafts:
            self._carries[tensor] = drafts
        elif tensor in self._carries:
            del self._carries[tensor]

    def _site(
        self, kind: str, op: str, call: Call, source: list[torch.Tensor], made: list[torch.Tensor], *producer: Op | None
    ) -> None:
        path, module = self._path()
        if isinstance(module, TORCH_DROPOUTS):
            kind, op = "module", type(module).__name__
        before = producer[0] if producer else self._producers.get(source[0])
        drafts = []
        for shape in call.shapes:
            ordinal = self._counts[path]
            self._counts[path] += 1
            inside = self._op(op)
            draft = Draft(path, ordinal, kind, op, call, shape, inside if kind == "rnn" else before)
            if kind == "rnn":
                draft.consumers[inside] = None
            else:
                drafts.append(draft)
            self.drafts.append((draft, module))
        if drafts and made:
            self._carries[made[0]] = drafts


def tensors(tree: Any) -> list[torch.Tensor]:
    """The tensors in arguments or a result, in order."""
    if isinstance(tree, torch.Tensor):
        return [tree]
    if tree is None or isinstance(tree, int | float | str | torch.dtype | torch.device):
        return []
    if type(tree) in {tuple, list}:
        return [tensor for part in tree for tensor in tensors(part)]
    if type(tree) is dict:
        return [tensor for part in tree.values() for tensor in tensors(part)]
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def is_leaf(module: nn.Module) -> bool:
    """Whether a module is one event: a layer of torch's or ours without children, attention, or a recurrent one."""
    return isinstance(module, OPAQUE) or (
        not module._modules and type(module).__module__.startswith(("torch.nn.", "thinned."))
    )


def is_thinned(module: nn.Module) -> bool:
    """Whether a module is a dropout layer of ours: it has the buffers of an address."""
    return "key" in module._buffers and "rate" in module._buffers and type(module).__module__.startswith("thinned.")


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Leave the model and the random generators as they are, whatever happens within."""
    scripted = [(m, m.training) for m in model.modules() if isinstance(m, torch.jit.ScriptModule)]
    plain = [m for m in model.modules() if not isinstance(m, torch.jit.ScriptModule)]
    modules = [(m, dict(m.__dict__), [dict(d) for d in _tables(m)]) for m in plain]
    kept = [b for b in model.buffers() if not uninitialised(b) and not b.is_meta]
    kept += [m.weight for m in model.modules() if isinstance(m, nn.Embedding) and m.max_norm]  # renormalised in place
    values = [(tensor, tensor.detach().clone()) for tensor in kept]
    restore_random = _random_state()
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


def _tables(module: nn.Module) -> list[dict[str, Any]]:
    return [module._parameters, module._buffers, module._modules]


def uninitialised(tensor: torch.Tensor) -> bool:
    return torch.nn.parameter.is_lazy(tensor)


def _random_state() -> Callable[[], None]:
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
