"""The function mode that gives the chosen sites of a pass their masks."""

import functools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

from thinned import ops
from thinned.conversion.forward_pass import SiteAddress
from thinned.conversion.replacements import REPLACEMENTS, run_layer_by_layer
from thinned.ensemble.mask_sources import NoMask, SampledMask
from thinned.ensemble.pass_functions import normalise
from thinned.ensemble.rnn_vmap import RECURRENT, over_members
from thinned.layers import Addressed, ConcreteDropout
from thinned.tracing.modules import named
from thinned.tracing.private_generators import PrivateGenerators, TorchFunction
from thinned.tracing.site import site_name
from thinned.tracing.torch_functions import BINDERS

__all__ = ["SiteMode"]

_TORCH_DROPOUTS = nn.modules.dropout._DropoutNd
_CONVOLUTIONS: frozenset[TorchFunction] = frozenset(
    {
        *(torch.conv1d, torch.conv2d, torch.conv3d, F.interpolate),
        *(torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d),
    }
)


class SiteMode(TorchFunctionMode):
    """Runs the chosen sites with their mask sources, and all other sites without dropout.

    While a function mode is on, torch's transformer layers run their parts, which hold the sites, and no fused kernel.

    Args:
        model: structural copy of a model; it gets hooks, training flags and keys.
        chosen: names of the sites that drop.
        holders: names of the modules that hold them.

    Attributes:
        reached: names of the chosen sites that the last pass reached.
        convolved: result of the last convolution or interpolation, whose axis of classes is 1.
    """

    def __init__(self, model: nn.Module, chosen: set[str], holders: set[str]) -> None:
        super().__init__()
        self.reached: set[str] = set()
        self.convolved: object = None
        self._names = {id(module): name for name, module in named(model)}
        self._chosen, self._holders = chosen, holders
        self._sources: Mapping[str, ops.Decider] = {}
        self._running: list[tuple[nn.Module, bool]] = []
        self._counts: dict[str, int] = {}
        self._generators = PrivateGenerators()
        for module in model.modules():
            if not isinstance(module, torch.jit.ScriptModule):
                module.register_forward_pre_hook(self._enter, prepend=True)
                module.register_forward_hook(self._leave, prepend=True, always_call=True)

    @contextmanager
    def use(self, sources: Mapping[str, ops.Decider]) -> Iterator[None]:
        """Run one pass with the mask sources of all chosen sites."""
        self._sources, self._counts, self.reached, self.convolved = sources, {}, set(), None
        try:
            with self:
                yield
        finally:
            self.convolved = None
            while self._running:
                self._close()

    def _enter(self, module: nn.Module, _: object) -> None:
        name = self._names[id(module)]
        self._running.append((module, module.training))
        # Here and not once before the pass: a forward may call eval() on a part of the model.
        if name in self._holders:
            module.training = True
        if isinstance(module, Addressed):
            source = self._next_source(name)
            if source is None:
                module.training = False
                return
            key: object = source
            if isinstance(module, ConcreteDropout):  # it has no keep decisions, and takes a key alone
                module.training = isinstance(source, SampledMask)
                key = source.key if isinstance(source, SampledMask) else None
            object.__setattr__(module, "key", key)

    def _leave(self, module: nn.Module, *_: object) -> None:
        while self._running and self._close() is not module:
            pass  # the forward of an inner module raised, and an outer one caught it

    def _close(self) -> nn.Module:
        module, training = self._running.pop()
        module.training = training
        if isinstance(module, Addressed):
            module.__dict__.pop("key", None)
        return module

    def _innermost(self) -> tuple[str, nn.Module | None]:
        if not self._running:
            return "", None
        module, _ = self._running[-1]
        return self._names[id(module)], module

    def _next_source(self, path: str, active: bool = True) -> ops.Decider | None:
        """The source of the next mask of a module; None where that site is not chosen."""
        ordinal = self._counts.get(path, 0)
        self._counts[path] = ordinal + 1
        name = site_name(path, ordinal)
        if not active or name not in self._chosen:
            return None
        self.reached.add(name)
        return self._sources[name]

    def __torch_function__(
        self, func: TorchFunction, types: object, args: tuple[object, ...] = (), kwargs: dict[str, object] | None = None
    ) -> object:
        kwargs = kwargs or {}
        if func in BINDERS:
            return self._dropout(func, args, kwargs)
        result = self._generators.call(normalise(func), args, kwargs)
        if func in _CONVOLUTIONS:
            self.convolved = result
        return result

    def _dropout(self, func: TorchFunction, args: tuple[object, ...], kwargs: dict[str, object]) -> object:
        path, module = self._innermost()
        if isinstance(module, Addressed):
            return func(*args, **kwargs)  # the layer has got its source already
        call = BINDERS[func](*args, **kwargs)
        active = call.active and call.p > 0
        sources = [self._next_source(path, active) for _ in call.shapes]
        recurrent = functools.partial(over_members, func) if func in RECURRENT else None
        if not active or func not in REPLACEMENTS:
            return (recurrent or func)(*args, **kwargs)
        if isinstance(module, _TORCH_DROPOUTS):  # values of members do not fit into a tensor that members share
            args, kwargs = args[:3], {name: value for name, value in kwargs.items() if name != "inplace"}
        masks = iter([NoMask(None) if source is None else source for source in sources])

        def next_address() -> SiteAddress:
            return {"key": next(masks)}  # type: ignore[typeddict-item]

        if recurrent is not None:
            return run_layer_by_layer(recurrent, next_address, args)
        return REPLACEMENTS[func](next_address, *args, **kwargs)
