"""Record one pass of an audit: every dropout, its neighbours, and the line of source that calls it."""

import ast
import inspect
import os
import sys
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import NamedTuple

import torch
from torch import nn

from thinned.audits.observation.dropout_uses import DropoutUses, Use
from thinned.audits.observation.modules import is_drop_path, is_dropout_module
from thinned.audits.observation.needed_input import NeededInput, needed_input
from thinned.audits.observation.random_masks import AppliedMask, Location, MaskFinder, digest_of
from thinned.audits.observation.restore_parameters import RestoreParameters
from thinned.ops.torch_private import functorch_active
from thinned.tracing.data_flow import DataFlow, Origin, Step
from thinned.tracing.eager_stance import eager_stance
from thinned.tracing.recorder import Recorder
from thinned.tracing.site import Op, Site
from thinned.tracing.tensor_map import output_tensors, tensors
from thinned.tracing.torch_functions import BINDERS, DropoutCall

__all__ = ["AuditRecorder", "BatchNormCall", "ObservedDropout", "OutsideModule"]

_CHECKPOINT = ("checkpoint", "_checkpoint_impl")  # the first calls the second since torch 2.14
#: folders of torch and of thinned, with their separator so that torchvision is not among them; code that was executed
_LIBRARY_CODE = (*(f"{folder}{os.sep}" for folder in (Path(torch.__file__).parent, Path(__file__).parents[2])), "<")
_AUTOGRAD_FUNCTION = inspect.getsourcefile(torch.autograd.Function)
_ELEMENT_KINDS = ("functional", "module")
_BATCH_NORM_ARGUMENTS = ("input", "running_mean", "running_var", "weight", "bias", "training")


class OutsideModule(NamedTuple):
    """A dropout module that ran and is not part of the model.

    Attributes:
        reference: weak reference to it.
        class_name: its class.
    """

    reference: weakref.ref[nn.Module]
    class_name: str

    @property
    def exists(self) -> bool:
        """True if it still exists after the pass; False for one that the pass itself built."""
        return self.reference() is not None


class _Context(NamedTuple):
    """What is known of a dropout at its call; see :class:`ObservedDropout`."""

    module: nn.Module
    path: str
    outside_module: OutsideModule | None
    location: Location | None
    zero_fraction: float | None
    origin: Origin | None
    earlier_dropouts: tuple[int, ...]
    checkpoint_keeps_random_state: bool | None
    forward_seed: int | None
    in_no_grad: bool
    needed_input: NeededInput | None


@dataclass(frozen=True)
class ObservedDropout:
    """One call of dropout in a pass.

    Attributes:
        index: number of the call in its pass, counted from 0.
        site: rate and shape, and in training producer and consumers, as :mod:`thinned.sites` describes them.
        is_output: True if its result is an output of the model; followed in training alone.
        uses: what becomes of its result; followed in training alone.
        module: innermost module of the model around the call.
        path: qualified name of that module.
        outside_module: the dropout module that was called, where that is not part of the model.
        location: line of the user's code that called it.
        zero_fraction: fraction of its input's values that it set to 0; None where not measured.
        origin: last function with weights before it; followed in training alone.
        earlier_dropouts: indices of the dropouts that its input carries, with no weight between; followed in training
            alone.
        checkpoint_keeps_random_state: setting of the activation checkpointing around it; None without checkpointing.
        forward_seed: seed that the forward pass had set before; None if it had set none.
        in_no_grad: True if the forward pass had switched gradients off.
        needed_input: variable that it overwrote in place, and that is read again; None if there is none.
    """

    index: int
    site: Site
    is_output: bool
    uses: Use
    module: nn.Module
    path: str
    outside_module: OutsideModule | None
    location: Location | None
    zero_fraction: float | None
    origin: Origin | None
    earlier_dropouts: tuple[int, ...]
    checkpoint_keeps_random_state: bool | None
    forward_seed: int | None
    in_no_grad: bool
    needed_input: NeededInput | None

    @property
    def drops(self) -> bool:
        """True if this call drops anything."""
        return self.site.active and self.site.p > 0

    @property
    def is_built_in_forward(self) -> bool:
        """True if the pass itself built the dropout module."""
        return self.outside_module is not None and not self.outside_module.exists


class BatchNormCall(NamedTuple):
    """A call of batch norm whose input carries dropouts.

    Attributes:
        path: name of the module.
        call_index: number among the calls of that module, counted from 0.
        channel_size: number of values in each channel.
        variance: variance of each channel, shape (channels,); None where not measured.
        dropouts: indices of the dropouts that the input carries.
    """

    path: str
    call_index: int
    channel_size: int
    variance: torch.Tensor | None
    dropouts: tuple[int, ...]


class AuditRecorder(Recorder):
    """Record one pass of a model.

    Attributes:
        batch_norms: calls of batch norm whose input carries dropout.
        module_calls: number of calls of each module, by name.
        drop_path_shapes: shape of the input of each drop-path module, by name.
        outputs: the tensors that the model returned, detached.
        masks: masks that the model applied without a dropout function, with ``find_masks`` only.
        modes: training flag of each module at the start, by name.

    Args:
        model: the model that will run.
        modules: its modules, by name.
        follow_data: find out what becomes of each dropout's result, which takes time.
        measure: compute fractions of zeros and variances; False on meta tensors.
        without_dropout: let dropout functions return their input.
        find_masks: record masks that the model applies by itself, which takes time.
    """

    def __init__(
        self,
        model: nn.Module,
        modules: Mapping[str, nn.Module],
        *,
        follow_data: bool = True,
        measure: bool = True,
        without_dropout: bool = False,
        find_masks: bool = False,
    ) -> None:
        super().__init__(model, modules.items(), follow_data=follow_data or find_masks)
        self.modes = {name: module.training for name, module in modules.items()}
        self.batch_norms: list[BatchNormCall] = []
        self.module_calls: Counter[str] = Counter()
        self.drop_path_shapes: dict[str, tuple[int, ...]] = {}
        self.outputs: list[torch.Tensor] = []
        self.masks: list[AppliedMask] = []
        self._mask_finder: MaskFinder | None = None
        self._model, self._measure, self._without_dropout = model, measure, without_dropout
        self._find_masks = find_masks
        classes = {type(module) for module in modules.values()}
        self._drop_path_classes = {cls for cls in classes if is_drop_path(cls)}
        self._flow = DataFlow()
        self._uses = DropoutUses()
        self._files: dict[str, ast.Module | None] = {}  # parsed
        self._gradients = torch.is_grad_enabled()
        self._contexts: list[_Context] = []
        self._output_dropouts: set[int] = set()
        self._batch_norm_calls: Counter[str] = Counter()
        self._seed = torch.initial_seed()
        self._parameters = RestoreParameters(model)

    def run(self, args: tuple[object, ...], kwargs: dict[str, object]) -> None:
        """Call the model and record what it does."""
        if self._find_masks:
            self._mask_finder = MaskFinder(self._model, tensors((args, kwargs)))
        try:
            with eager_stance(), self.hooks(), self:
                self.recording = True
                result = output_tensors(self._model(*args, **kwargs))
        finally:
            self._parameters.restore()
        for tensor in result:
            steps = self._flow.dropouts(tensor)
            self._uses.add_output(tensor, steps)
            self._output_dropouts |= {index for index, step in steps.items() if step is Step.VIEW}
        self.outputs = [tensor.detach() for tensor in result]

    def dropouts(self) -> list[ObservedDropout]:
        """The dropouts of the pass, in order; complete when the pass is over."""
        pairs = zip(self.sites(), self._contexts, strict=True)
        return [
            ObservedDropout(index, site, index in self._output_dropouts, self._uses.uses.get(index, Use.NONE), *context)
            for index, (site, context) in enumerate(pairs)
        ]

    def _enter(self, module: nn.Module, args: tuple[object, ...]) -> None:
        super()._enter(module, args)
        entry = self._modules.get(id(module))
        if entry is not None:
            self.module_calls[entry[0]] += 1
            if type(module) in self._drop_path_classes and tensors(args):
                self.drop_path_shapes[entry[0]] = tuple(tensors(args)[0].shape)

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: object,
        args: tuple[object, ...] = (),
        kwargs: dict[str, object] | None = None,
    ) -> object:
        kwargs = kwargs or {}
        if self.recording:
            name = getattr(func, "__name__", "")
            self._parameters.before_call(name, args)
            if name == "batch_norm":
                self._add_batch_norm(args, kwargs)
            describe = BINDERS.get(func) if self._without_dropout else None
            if describe is not None and describe(*args, **kwargs).kind == "functional":
                return args[0] if args else kwargs["input"]
            if self._mask_finder is not None:
                self._add_masks(self._mask_finder, name, tensors((args, kwargs)))
        return super().__torch_function__(func, types, args, kwargs)

    def _add_masks(self, finder: MaskFinder, name: str, arguments: list[torch.Tensor]) -> None:
        for mask in finder.masks(name, arguments):
            location = _call_stack(sys._getframe()).location
            with torch._C.DisableTorchFunction():
                zero_fraction = float(mask.double().mean())
                self.masks.append(AppliedMask(self._path()[0], location, zero_fraction, digest_of(mask)))

    def _add_batch_norm(self, args: tuple[object, ...], kwargs: dict[str, object]) -> None:
        arguments = dict(zip(_BATCH_NORM_ARGUMENTS, args, strict=False)) | kwargs
        x, path = arguments["input"], self._path()[0]
        call_index, self._batch_norm_calls[path] = self._batch_norm_calls[path], self._batch_norm_calls[path] + 1
        dropouts = tuple(self._flow.dropouts(x)) if isinstance(x, torch.Tensor) else ()
        if not isinstance(x, torch.Tensor) or not (self._without_dropout or dropouts):
            return
        if not arguments.get("training") or arguments.get("running_mean") is None:
            return  # without running statistics, evaluation uses the batch's too: no shift
        variance, channel_size = None, x.numel() // max(1, x.shape[1])
        if self._measure and channel_size > 1 and not functorch_active():
            variance = x.detach().transpose(0, 1).flatten(1).double().var(1)
        self.batch_norms.append(BatchNormCall(path, call_index, channel_size, variance, dropouts))

    def _consume(self, source: list[torch.Tensor], made: list[torch.Tensor], name: str) -> None:
        super()._consume(source, made, name)
        if self._mask_finder is not None:
            self._mask_finder.add_function(source, made, name)
        name = "dropout" if self._in_thinned_layer() else name
        carried = self._flow.carried(source)
        gradients = any(tensor.requires_grad for tensor in made) if carried and self._gradients else None
        self._uses.add_function(source, made, name, carried, gradients)
        self._flow.add_function(source, made, name)

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
        is_element_kind = kind in _ELEMENT_KINDS
        stack = _call_stack(sys._getframe())
        overwrites = self._follow_data and source and made and made[0] is source[0] and call.active and call.p
        context = _Context(
            module,
            path,
            outside_module=self._outside_module(),
            location=stack.location,
            zero_fraction=self._zero_fraction(source, made, call) if is_element_kind else None,
            origin=self._flow.origin(source[0]) if source else None,
            earlier_dropouts=self._earlier_dropouts(source) if is_element_kind else (),
            checkpoint_keeps_random_state=stack.checkpoint_keeps_random_state,
            forward_seed=None if torch.initial_seed() == self._seed else torch.initial_seed(),
            in_no_grad=self._gradients and not torch.is_grad_enabled() and not stack.in_autograd_function,
            needed_input=needed_input(source[0], _user_frames(sys._getframe()), self._files) if overwrites else None,
        )
        self._contexts += [context] * (len(self.drafts) - first)
        if stack.in_autograd_function:
            self._uses.note(first, Use.TRAINED)  # by a backward pass of that function's own
        if is_element_kind and made:
            self._flow.add_dropout(made[0], first)
            self._uses.add_dropout(source[0] if source else None, made[0], first)
        elif op == "multi_head_attention_forward" and len(made) > 1:
            self._uses.add_dropout(None, made[1], first)  # the weights, which torch returns after dropout

    def _outside_module(self) -> OutsideModule | None:
        inner = self._stack[-1] if self._stack else None
        if inner is None or id(inner) in self._modules or not is_dropout_module(inner):
            return None
        return OutsideModule(weakref.ref(inner), type(inner).__name__)

    def _earlier_dropouts(self, source: list[torch.Tensor]) -> tuple[int, ...]:
        steps = self._flow.dropouts(source[0]) if source else {}
        return tuple(index for index, step in steps.items() if step <= Step.ACTIVATION)

    def _zero_fraction(self, source: list[torch.Tensor], made: list[torch.Tensor], call: DropoutCall) -> float | None:
        if not (self._measure and call.active and call.p and source and made) or functorch_active():
            return None
        x, dropped = source[0].detach(), made[0].detach()
        if made[0] is source[0] or x.shape != dropped.shape:  # in place, the input is gone
            return None
        with torch._C.DisableTorchFunction():
            n_values = int(torch.count_nonzero(x))  # what was 0 before, as behind ReLU, was not dropped
            n_left = int(torch.count_nonzero((x != 0) & (dropped != 0)))
            return 1 - n_left / n_values if n_values else None


class _CallStack(NamedTuple):
    """Facts about the calls around a function.

    Attributes:
        location: the innermost line of the user's code.
        checkpoint_keeps_random_state: setting of the activation checkpointing; None without checkpointing.
        in_autograd_function: True within a torch.autograd.Function, which runs without gradients.
    """

    location: Location | None
    checkpoint_keeps_random_state: bool | None
    in_autograd_function: bool


def _frames(frame: FrameType | None) -> Iterator[FrameType]:
    """The frames of a pass, innermost first."""
    while frame is not None and frame.f_code is not AuditRecorder.run.__code__:
        yield frame
        frame = frame.f_back


def _user_frames(frame: FrameType) -> Iterator[FrameType]:
    return (frame for frame in _frames(frame) if not frame.f_code.co_filename.startswith(_LIBRARY_CODE))


def _call_stack(frame: FrameType) -> _CallStack:
    location, keeps_random_state, in_function = None, None, False
    for inner in _frames(frame):
        code = inner.f_code
        if location is None and not code.co_filename.startswith(_LIBRARY_CODE):
            location = Location(code.co_filename, inner.f_lineno)
        if code.co_name in _CHECKPOINT and "preserve" in inner.f_locals:
            keeps_random_state = bool(inner.f_locals["preserve"])
        in_function |= code.co_name == "apply" and code.co_filename == _AUTOGRAD_FUNCTION
        if code.co_name == "forward" and code.co_varnames[:1]:  # since torch 2.14, `apply` has no frame
            in_function |= isinstance(inner.f_locals.get(code.co_varnames[0]), torch.autograd.function.FunctionCtx)
    return _CallStack(location, keeps_random_state, in_function)
