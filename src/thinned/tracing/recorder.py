"""The recorded pass: every call of a torch function and of a module, with what made and what takes each tensor."""

import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from thinned.tracing.modules import TORCH_DROPOUTS, is_leaf, is_thinned, named
from thinned.tracing.site import Op, Site, site_name
from thinned.tracing.tensor_map import TensorMap, tensors
from thinned.tracing.torch_functions import BINDERS, NOISE, DropoutCall

__all__ = ["VIEWS", "Recorder", "recording", "unrouted"]

_unrouted: ContextVar[bool] = ContextVar("unrouted", default=False)

#: functions that only look at their input from another side: the producer stays, and they consume nothing
VIEWS = frozenset(
    {
        *("view", "reshape", "transpose", "permute", "contiguous", "flatten", "unflatten", "unsqueeze", "squeeze"),
        *("expand", "expand_as", "to", "float", "type_as", "half", "bfloat16", "double", "detach", "movedim"),
        *("swapaxes", "chunk", "split", "unbind", "tensor_split", "narrow", "select", "__getitem__", "__get__", "t"),
        *("view_as", "reshape_as", "clone", "requires_grad_", "unpad_sequence"),
    }
)


def recording() -> bool:
    """Tell whether this thread records a pass, during which nothing is rerouted and no clock ticks."""
    return _unrouted.get()


@contextmanager
def unrouted() -> Iterator[None]:
    """Run converted and addressed models of this thread as if they were not, so that :func:`recording` holds."""
    token = _unrouted.set(True)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Using `torch.compile", UserWarning)  # nothing is compiled in the pass
            yield
    finally:
        _unrouted.reset(token)


class Draft:
    """A site whose consumers are not known yet."""

    def __init__(
        self,
        path: str,
        ordinal: int,
        kind: str,
        op: str,
        call: DropoutCall,
        shape: tuple[int, ...],
        producer: Op | None,
    ) -> None:
        self.fields = (site_name(path, ordinal), kind, op, float(call.p), call.active, tuple(shape), producer)
        self.consumers: dict[Op, None] = {}


class Recorder(TorchFunctionMode):
    """Sees every call of a torch function and every module; a map from tensors, held weakly, to what made them.

    Args:
        model: the model that the pass is of.
        modules: its modules by :func:`~thinned.tracing.modules.named`, where they are known.
        follow_data: record what made each tensor, and what takes it; without, sites have no producers or consumers.

    Attributes:
        recording: True while calls are recorded.
        noise: functions that drew random numbers without being dropout.
        drafts: sites, each with the module that it belongs to.
    """

    def __init__(
        self, model: nn.Module, modules: Iterable[tuple[str, nn.Module]] | None = None, *, follow_data: bool = True
    ) -> None:
        super().__init__()
        self.recording = False
        self.noise: list[Op] = []
        self.drafts: list[tuple[Draft, nn.Module]] = []
        self._follow_data = follow_data
        self._modules = {id(m): (name, m) for name, m in modules or named(model)}
        self._leaves: dict[int, bool] = {}  # of modules of the model, which live as long as the pass
        self._stack: list[nn.Module] = []
        self._counts: Counter[str] = Counter()
        self._producers: TensorMap[Op] = TensorMap()
        self._carries: TensorMap[list[Draft]] = TensorMap()  # drafts whose output a tensor is, or is a view of

    def sites(self) -> Iterator[Site]:
        """Yield the sites in order of the calls; complete after the pass."""
        for draft, module in self.drafts:
            yield Site(*draft.fields, tuple(draft.consumers), module)

    @contextmanager
    def hooks(self) -> Iterator[None]:
        """Follow the modules that this thread runs, and run converted ones as if they were not."""
        token = _recorder.set(self)
        before = nn.modules.module.register_module_forward_pre_hook(self._enter_here)
        after = nn.modules.module.register_module_forward_hook(self._leave_here, always_call=True)
        try:
            with unrouted():
                yield
        finally:
            before.remove()
            after.remove()
            _recorder.reset(token)

    def _enter_here(self, module: nn.Module, args: tuple[object, ...]) -> None:
        if _recorder.get() is self:  # torch's global hooks run in all threads
            self._enter(module, args)

    def _leave_here(self, module: nn.Module, args: object, output: object) -> None:
        if _recorder.get() is self:
            self._leave(module, args, output)

    def _path(self) -> tuple[str, nn.Module]:
        """The innermost module of the model that is running."""
        for module in reversed(self._stack):
            entry = self._modules.get(id(module))
            if entry is not None:
                return entry
        return self._modules[next(iter(self._modules))]

    def _op(self, name: str) -> Op:
        path, module = self._path()
        return Op(path, type(module).__name__ if self._is_leaf(module) else name)

    def _is_leaf(self, module: nn.Module) -> bool:
        if id(module) not in self._modules:
            return is_leaf(module)
        if id(module) not in self._leaves:
            self._leaves[id(module)] = is_leaf(module)
        return self._leaves[id(module)]

    def _in_thinned_layer(self) -> bool:
        return bool(self._stack) and is_thinned(self._stack[-1])

    def _enter(self, module: nn.Module, args: tuple[object, ...]) -> None:  # noqa: ARG002 - subclasses look at them
        self._stack.append(module)

    def _leave(self, module: nn.Module, args: object, output: object) -> None:
        if is_thinned(module):
            rate: float | torch.Tensor = getattr(module, "p", 0.0)
            p = float(rate.detach() if isinstance(rate, torch.Tensor) else rate)  # one that is learned has a gradient
            source, result = tensors(args), tensors(output)
            if source:
                call = DropoutCall("module", p, module.training, (tuple(source[0].shape),))
                if self._follow_data:
                    self._consume(source, result, type(module).__name__)
                self._site("module", type(module).__name__, call, source, result)
        if self._follow_data and self._is_leaf(module):
            for tensor in tensors(output):
                if tensor not in self._carries or not any(t is tensor for t in tensors(args)):
                    self._producers[tensor] = self._op("")
        while self._stack and self._stack.pop() is not module:
            pass  # a module whose forward raised, and was caught, has left no trace

    def call(self, func: Callable[..., object], args: tuple[object, ...], kwargs: dict[str, object]) -> object:
        """Call a function of the pass."""
        return func(*args, **kwargs)

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: object,
        args: tuple[object, ...] = (),
        kwargs: dict[str, object] | None = None,
    ) -> object:
        kwargs = kwargs or {}
        bind = BINDERS.get(func) if self.recording else None
        call = bind(*args, **kwargs) if bind else None
        is_followed = self.recording and (self._follow_data or call is not None)
        source = tensors((args, kwargs)) if is_followed else []
        before = self._producers.get(source[0]) if source else None
        result = self.call(func, args, kwargs)
        if not self.recording or self._in_thinned_layer():
            return result
        name = getattr(func, "__name__", str(func))
        if func in NOISE:
            self.noise.append(Op(self._path()[0], name))
        made = tensors(result) if is_followed else []
        if made and source and self._follow_data:
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
        self,
        kind: str,
        op: str,
        call: DropoutCall,
        source: list[torch.Tensor],
        made: list[torch.Tensor],
        *producer: Op | None,
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


_recorder: ContextVar[Recorder | None] = ContextVar("recorder", default=None)
