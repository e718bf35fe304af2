"""Forward passes in evaluation with chosen dropout sites active, and nothing else of the model changed."""

import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Self

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from thinned import ops
from thinned.conversion.replacements import REPLACEMENTS, run_layer_by_layer
from thinned.ensemble.find_sites import Found, Inputs, evaluated, find
from thinned.ensemble.mask_sources import Drawn, Off
from thinned.ensemble.rnn_vmap import RECURRENT, over_members
from thinned.errors import InputError, sentence
from thinned.layers import Addressed, ConcreteDropout
from thinned.tracing import sites
from thinned.tracing.torch_functions import BINDERS

__all__ = ["Passes", "Select"]

Select = Callable[[Any], torch.Tensor] | None
_TORCH_DROPOUTS = nn.modules.dropout._DropoutNd


class Passes:
    """A model between passes; within ``with``, :meth:`one` and :meth:`many` run it.

    Args:
        model: any module.
        x: its input: a tensor, a tuple of arguments, or a mapping of keyword arguments.
        chosen: names of the sites that drop; None for all.
        select: takes the tensor that counts out of the model's output.
        batch_axis: of ``x``, along which examples lie; None finds it.

    Attributes:
        sites: the chosen ones.
        reason: why members are run one after the other, "" while they are run together.
    """

    def __init__(
        self, model: nn.Module, x: Any, chosen: Sequence[str] | None, select: Select, batch_axis: int | None
    ) -> None:
        if not isinstance(model, nn.Module):
            raise TypeError(sentence("model must be a torch.nn.Module", f"got {type(model).__name__}"))
        self.model, self.inputs, self.select = model, Inputs.of(x), select
        found = find(model, self.inputs, batch_axis)
        self.sites = _choice(found, chosen)
        self.reason = ""
        self._mode = _Active(model, {site.name for site in self.sites}, {site.module for site in self.sites})
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(torch.no_grad())
            stack.enter_context(sites.untouched(self.model))
            stack.enter_context(torch.compiler.set_stance("force_eager"))
            stack.enter_context(sites.unrouted())
            for module in self.model.modules():
                if module.training:
                    module.training = False
            stack.enter_context(self._mode.hooks())
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def module(self, name: str) -> nn.Module:
        """The module of a name."""
        return next(module for path, module in sites.named(self.model) if path == name)

    def chunk(self, values: int) -> int:
        """How many members to run at once for the largest tensors known of to hold ``values`` values in all."""
        sizes = [math.prod(site.shape) for site in self.sites] + [tensor.numel() for tensor in self.inputs.tensors]
        return max(1, values // max(sizes))

    def off(self) -> dict[str, Off]:
        """Deciders that drop nothing, for the weight-scaled pass."""
        return {site.name: Off(site.axis) for site in self.sites}

    def one(self, deciders: Mapping[str, ops.Decider]) -> torch.Tensor:
        """The output of one pass.

        Args:
            deciders: of all chosen sites, by name.

        Raises:
            InputError: a site was not reached, or the output holds more than one tensor and ``select`` is None.
        """
        inputs = self.inputs.map(torch.Tensor.clone)  # a model that works in place shall not change the caller's
        with self._mode.deciding(deciders):
            output = self.model(*inputs.args, **inputs.kwargs)
        if missed := {site.name for site in self.sites} - self._mode.reached:
            raise InputError(
                sentence(
                    "every chosen site must drop when its module trains and all else is in evaluation",
                    f"{', '.join(sorted(missed))} did not",
                    "leave it out with sites=[...]",
                )
            )
        return _tensor(output) if self.select is None else self.select(output)

    def many(
        self,
        decider: Callable[[int | None, torch.Tensor], ops.Decider],
        values: Mapping[str, torch.Tensor],
    ) -> torch.Tensor:
        """The outputs of many members along a new leading axis, in one batched pass where the model allows it.

        What stands before the first dropout runs once for all of them.

        Args:
            decider: of a site's axis of examples and a member's value.
            values: by the site's name, ``(members, ...)``.
        """
        axes = {site.name: site.axis for site in self.sites}

        def run(member: Mapping[str, torch.Tensor]) -> torch.Tensor:
            return self.one({name: decider(axes[name], value) for name, value in member.items()})

        return self.batched(run, dict(values))

    def batched(self, run: Callable[[Any], torch.Tensor], values: Any) -> torch.Tensor:
        """``run`` of each leading entry of ``values``: by ``vmap``, or by a loop where the model does not allow it."""
        members = len(tree_leaves(values)[0])
        if not self.reason:
            try:
                return torch.vmap(run, randomness="different")(values)
            except (RuntimeError, NotImplementedError, ValueError) as error:
                self.reason = str(error).split("\n")[0]  # an error of the model's own comes again in the loop
        return torch.stack([run(_member(values, m)) for m in range(members)])


def _member(values: Any, member: int) -> Any:
    return {name: value[member] for name, value in values.items()} if isinstance(values, dict) else values[member]


def _choice(found: Sequence[Found], chosen: Sequence[str] | None) -> tuple[Found, ...]:
    names = [site.name for site in found]
    if not found:
        raise InputError(
            sentence("a model must have a dropout site with p > 0 to be an ensemble", "this one has none", "add one")
        )
    if chosen is None:
        return tuple(found)
    if isinstance(chosen, str) or not chosen or not set(chosen) <= set(names):
        raise InputError(
            sentence("sites must be names of sites that drop", f"got {chosen!r}", f"choose from {', '.join(names)}")
        )
    return tuple(site for site in found if site.name in chosen)


def _tensor(output: Any) -> torch.Tensor:
    """The one tensor of an output, or its logits."""
    if isinstance(output, torch.Tensor):
        return output
    if isinstance(logits := getattr(output, "logits", None), torch.Tensor):
        return logits
    tensors = [leaf for leaf in tree_leaves(output) if isinstance(leaf, torch.Tensor)]
    if len(tensors) == 1:
        return tensors[0]
    raise InputError(
        sentence(
            "the output must be one tensor or have logits",
            f"got {type(output).__name__} with {len(tensors)} tensors",
            "say which one counts, as in select=lambda output: output[0]",
        )
    )


class _Active(TorchFunctionMode):
    """Runs chosen sites with their deciders, and holds their modules' training flags while these run.

    While a mode is on, torch's transformer layers run their parts, among which the sites are, and no fused kernel.
    """

    def __init__(self, model: nn.Module, chosen: set[str], holders: set[str]) -> None:
        super().__init__()
        self._names = {id(module): name for name, module in sites.named(model)}
        self._chosen, self._holders = chosen, holders
        self._deciders: Mapping[str, ops.Decider] = {}
        self._stack: list[tuple[nn.Module, bool]] = []
        self._counts: dict[str, int] = {}
        self.reached: set[str] = set()

    @contextmanager
    def hooks(self) -> Iterator[None]:
        before = nn.modules.module.register_module_forward_pre_hook(self._enter)
        after = nn.modules.module.register_module_forward_hook(self._leave, always_call=True)
        try:
            yield
        finally:
            before.remove()
            after.remove()

    @contextmanager
    def deciding(self, deciders: Mapping[str, ops.Decider]) -> Iterator[None]:
        """For one pass."""
        self._deciders, self._counts, self.reached = deciders, {}, set()
        try:
            with self:
                yield
        finally:
            while self._stack:
                self._close(self._stack[-1][0])

    def _enter(self, module: nn.Module, _: Any) -> None:
        name = self._names.get(id(module))
        self._stack.append((module, module.training))
        if name is None:
            return
        # Here and not once before the pass: a forward may call eval() on a part of the model.
        if name in self._holders:
            module.training = True
        if isinstance(module, Addressed):
            decider = self._next(name)
            if decider is None:
                module.training = False
                return
            if isinstance(module, ConcreteDropout):  # it has no decisions, and takes a key alone
                module.training = isinstance(decider, Drawn)
                decider = getattr(decider, "key", None)
            object.__setattr__(module, "key", decider)

    def _leave(self, module: nn.Module, *_: Any) -> None:
        while self._stack and self._close(self._stack[-1][0]) is not module:
            pass  # a module whose forward raised, and was caught, has left no trace

    def _close(self, module: nn.Module) -> nn.Module:
        _, training = self._stack.pop()
        module.training = training
        if isinstance(module, Addressed):
            module.__dict__.pop("key", None)
        return module

    def _path(self) -> tuple[str, nn.Module | None]:
        for module, _ in reversed(self._stack):
            if (name := self._names.get(id(module))) is not None:
                return name, module
        return "", None

    def _next(self, path: str, active: bool = True) -> ops.Decider | None:
        """The decider of the next mask of a module; None where that site is not chosen."""
        ordinal = self._counts.get(path, 0)
        self._counts[path] = ordinal + 1
        name = sites.site_name(path, ordinal)
        if not active or name not in self._chosen:
            return None
        self.reached.add(name)
        return self._deciders[name]

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func not in BINDERS:
            return evaluated.get(func, func)(*args, **kwargs)
        path, module = self._path()
        if isinstance(module, Addressed):
            return func(*args, **kwargs)  # its own code decides, and has been counted
        call = BINDERS[func](*args, **kwargs)
        active = call.active and call.p > 0
        deciders = [self._next(path, active) for _ in call.shapes]
        recurrent = functools.partial(over_members, func) if func in RECURRENT else None
        if not active or func not in REPLACEMENTS:
            return (recurrent or func)(*args, **kwargs)
        if isinstance(module, _TORCH_DROPOUTS):  # members' values don't fit into a tensor that they share
            args, kwargs = args[:3], {name: value for name, value in kwargs.items() if name != "inplace"}
        masks = iter([Off(None) if decider is None else decider for decider in deciders])
        if recurrent is not None:
            return run_layer_by_layer(recurrent, lambda: {"key": next(masks)}, args)  # type: ignore[typeddict-item]
        return REPLACEMENTS[func](lambda: {"key": next(masks)}, *args, **kwargs)  # type: ignore[typeddict-item]
