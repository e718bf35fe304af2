"""The passes of an audit, and everything that the rules look at."""

import math
import random
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.utils._pytree import tree_map

from thinned.audits.observation.recorder import Norm, Seen, Watch, is_drop_path, outputs
from thinned.audits.observation.restore_parameters import Guard
from thinned.tracing import sites
from thinned.tracing.sites import Op, is_thinned, tensors

__all__ = ["Difference", "Observation", "Shift", "observe", "rate_of"]

_SEED = 20120703  # of the passes: no seed that anybody's forward would set
_SAME = 1e-3  # relative: far above the rounding of one order of summation, far below a dropped element
_FEW = 32  # values of a channel: from fewer, no variance is estimated
_PROBES = 24  # calls of a drop-path module that tell its axes; all agree by chance with (1 - 2 p (1 - p))^24


class Shift(NamedTuple):
    """A batch norm behind dropout; ``ratio`` is the variance with dropout over that without, where measured."""

    norm: Norm
    ratio: float | None


class Difference(NamedTuple):
    """Two evaluations differ: the first module whose output does, by how much, and the share of zeros that moved."""

    path: str
    cls: str
    largest: float
    moved_zeros: float


@dataclass
class Observation:
    """What the passes saw; see the attributes of :class:`thinned.audits.observation.recorder.Watch`.

    Attributes:
        modules: of the model by name.
        train: dropouts of the training pass.
        evaluation: those of an evaluation pass.
        called: how often each module ran in training.
        asleep: modules in evaluation mode while the model trains.
        shifts: batch norms behind dropout.
        difference: of two evaluations, where no dropout was seen to be active.
        noise: random numbers that the model draws by itself in evaluation.
        axes: along which the decisions of a drop-path module differ.
        shapes: of their inputs.
        batch: length of the first axis of the first input.
        rows: of training data, where told.
    """

    modules: dict[str, nn.Module]
    train: list[Seen] = field(default_factory=list)
    evaluation: list[Seen] = field(default_factory=list)
    called: Mapping[str, int] = field(default_factory=dict)
    asleep: list[str] = field(default_factory=list)
    shifts: list[Shift] = field(default_factory=list)
    difference: Difference | None = None
    noise: tuple[Op, ...] = ()
    axes: dict[str, set[int]] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    batch: int | None = None
    rows: int | None = None


def observe(
    model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], *, rows: int | None, modes: Mapping[str, bool]
) -> Observation:
    """Run a model in training and evaluation, and leave it as it was."""
    passes = _Passes(model, args, kwargs)
    found = Observation(dict(sites.named(model)), rows=rows, batch=_batch((args, kwargs)))
    with _private_generators(model):
        train = passes.watch(True, 0)
        found.train, found.called, found.shapes = train.seen, train.called, train.shapes
        found.shifts = list(_shifts(train.norms, passes)) if train.norms else []
        first, second = passes.watch(False, 1), passes.plain(2)
        found.evaluation = first.seen
        found.noise = tuple(dict.fromkeys(first.noise))
        if not any(w.drops for w in first.seen) and not _same(first.result, second):
            found.difference = _difference(passes, first.result, second)
        found.asleep = _asleep(found.modules, modes, passes)
        found.axes = _axes(found, passes)
    return found


class _Watched(Watch):
    """A watch with the result of the pass."""

    result: list[torch.Tensor]


class _Passes:
    """Runs a model again and again from the same state, each time with other random numbers."""

    def __init__(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.model, self.args, self.kwargs = model, args, kwargs
        self.grad = False
        given = [*model.parameters(), *tensors((args, kwargs))]
        self.measure = not any(tensor.is_meta for tensor in given)

    @contextmanager
    def mode(self, training: bool, seed: int) -> Iterator[None]:
        with (
            sites.untouched(self.model),
            sites.unrouted(),
            warnings.catch_warnings(),
            torch.set_grad_enabled(self.grad),
        ):
            warnings.simplefilter("ignore")  # the model's own, which its user sees when it runs
            self.model.train(training)
            # torch.manual_seed tells every backend, which takes longer than a small model
            (torch.manual_seed if torch.accelerator.is_available() else torch.default_generator.manual_seed)(
                _SEED + seed
            )
            np.random.seed(_SEED + seed)  # noqa: NPY002 - the global one, which the model may use
            random.seed(_SEED + seed)
            yield

    def watch(self, training: bool, seed: int, *, without: bool = False) -> _Watched:
        with self.mode(training, seed):
            watch = _Watched(self.model, measure=self.measure, without=without)
            if without:
                for module in self.model.modules():
                    if is_thinned(module):
                        module.train(False)
            try:
                result = watch.run(*_copied(self.args), **_copied(self.kwargs))
            except RuntimeError as error:
                if self.grad or "grad" not in str(error):
                    raise
                self.grad = True  # a forward that asks for gradients, as of forces
                again = True
            else:
                again = False
                watch.result = [t.detach() for t in outputs(result)]
        return self.watch(training, seed, without=without) if again else watch

    def plain(self, seed: int, hook: Callable[[nn.Module, Any, Any], None] | None = None) -> list[torch.Tensor]:
        """The outputs of an evaluation in which a hook is called for every module."""
        with self.mode(False, seed), torch.compiler.set_stance("force_eager"), Guard(self.model):
            handle = nn.modules.module.register_module_forward_hook(hook) if hook else None
            try:
                result = self.model(*_copied(self.args), **_copied(self.kwargs))
            finally:
                if handle is not None:
                    handle.remove()
            return [t.detach() for t in outputs(result)]


def _copied(tree: Any) -> Any:
    """Inputs of a pass: a forward may write to them."""

    def leaf(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return value.detach().clone().requires_grad_(value.requires_grad)
        return value.clone() if callable(getattr(value, "clone", None)) else value

    return tree_map(leaf, tree)


def _batch(tree: Any) -> int | None:
    return next((t.shape[0] for t in tensors(tree) if t.ndim), None)


def _same(first: list[torch.Tensor], second: list[torch.Tensor]) -> bool:
    if len(first) != len(second):
        return False
    return all(_distance(a, b) == 0 for a, b in zip(first, second, strict=True))


def _distance(a: torch.Tensor, b: torch.Tensor) -> float:
    """The largest difference, 0 within rounding; infinite for other shapes."""
    if a.is_meta or b.is_meta:
        return 0.0
    if a.shape != b.shape:
        return math.inf
    if a.layout is not torch.strided or a.is_quantized or not a.numel():
        return 0.0
    if not a.is_floating_point() and not a.is_complex():
        return float((a != b).any())
    a, b = (x.to(torch.complex128 if x.is_complex() else torch.float64).nan_to_num() for x in (a, b))
    largest = float((a - b).abs().max())
    return largest if largest > _SAME * float(a.abs().max()) else 0.0


def _difference(passes: _Passes, first: list[torch.Tensor], second: list[torch.Tensor]) -> Difference:
    """Find where two evaluations begin to differ: inner modules end first."""
    outlines = [_Outline() for _ in range(2)]
    for seed, outline in enumerate(outlines):
        passes.plain(10 + seed, outline)
    pairs = zip(*(outline.sums for outline in outlines), strict=False)
    index = next((i for i, (a, b) in enumerate(pairs) if a != b), None)
    if index is None:  # their sums are the same, as of rows in another order
        return Difference("", type(passes.model).__name__, _apart(first, second), 0.0)
    kept = [_Outline(keep=index) for _ in range(2)]
    for seed, outline in enumerate(kept):
        passes.plain(20 + seed, outline)
    module = kept[0].module
    path = next((name for name, m in sites.named(passes.model) if m is module), "")
    moved = 0.0
    for a, b in zip(kept[0].kept, kept[1].kept, strict=False):
        alike = a.shape == b.shape and a.is_floating_point() and a.numel()
        if alike and len(torch.unique(a[a != 0])) > 1:  # not a mask itself, as masked autoencoders return
            moved = max(moved, float(((a == 0) != (b == 0)).double().mean()))
    return Difference(path, type(module).__name__, _apart(kept[0].kept, kept[1].kept), moved)


def _apart(first: list[torch.Tensor], second: list[torch.Tensor]) -> float:
    """The largest difference of numbers in tensors of equal shapes; finite, as JSON wants it."""
    pairs = [(a, b) for a, b in zip(first, second, strict=False) if a.shape == b.shape and a.is_floating_point()]
    return max((float((a - b).abs().double().nan_to_num().max()) for a, b in pairs if a.numel()), default=0.0)


class _Outline:
    """A hook that keeps a sum of every output, or one output."""

    def __init__(self, keep: int | None = None) -> None:
        self.sums: list[tuple[float, ...]] = []
        self.kept: list[torch.Tensor] = []
        self.module: nn.Module | None = None
        self.keep, self._count = keep, 0

    def __call__(self, module: nn.Module, _: Any, output: Any) -> None:
        if self.keep is None:
            self.sums.append(tuple(float(t.double().nan_to_num().sum()) for t in _plain(output)))
        elif self._count == self.keep:
            self.module, self.kept = module, [t.detach().clone() for t in _plain(output)]
        self._count += 1


def _plain(output: Any) -> list[torch.Tensor]:
    return [t for t in outputs(output) if t.layout is torch.strided and not t.is_complex() and not t.is_quantized]


def _shifts(norms: list[Norm], passes: _Passes) -> Iterator[Shift]:
    """Compare the variances at batch norms with those of a training pass from the same state without dropout."""
    without = {(norm.path, norm.call): norm.variance for norm in passes.watch(True, 0, without=True).norms}
    for norm in norms:
        before = without.get((norm.path, norm.call))
        if norm.variance is None or before is None or norm.values < _FEW or not float(before.mean()) > 0:
            yield Shift(norm, None)
            continue
        floor = 1e-3 * before.mean()  # a channel that is all but constant has no variance to shift
        yield Shift(norm, float((norm.variance / before.clamp(min=floor)).clamp(max=100).mean()))


def rate_of(module: nn.Module) -> float:
    """The rate that a module is configured with; 0 if it has none."""
    for name in ("p", "drop_prob", "dropout", "drop_rate"):
        value = getattr(module, name, None)
        if isinstance(value, float | int) and not isinstance(value, bool) and 0 <= value <= 1:
            return float(value)
    return 0.0


def _drops(module: nn.Module) -> bool:
    return (
        isinstance(module, (sites.TORCH_DROPOUTS, *sites.OPAQUE)) or is_thinned(module) or is_drop_path(module)
    ) and rate_of(module) > 0


def _asleep(modules: dict[str, nn.Module], modes: Mapping[str, bool], passes: _Passes) -> list[str]:
    """Dropout that is in evaluation mode while the model trains, frozen parts left out."""
    with passes.mode(True, 0):
        after = {name: module.training for name, module in modules.items()}
    sleeping = []
    for name, module in modules.items():
        off = not after[name] or (modes.get("", False) and not modes.get(name, True))
        if _drops(module) and off and not _frozen(name, modules, after, modes):
            sleeping.append(name)
    return sleeping


def _frozen(name: str, modules: dict[str, nn.Module], after: Mapping[str, bool], modes: Mapping[str, bool]) -> bool:
    """Whether a part around it is in evaluation, too, and has parameters, none of which is trained."""
    parts = name.split(".") if name else []
    for end in range(len(parts), -1, -1):
        path = ".".join(parts[:end])
        if path not in modules or (after[path] and modes.get(path, True)):
            continue
        parameters = list(modules[path].parameters())
        if parameters:
            return not any(p.requires_grad for p in parameters)
    return False


def _axes(found: Observation, passes: _Passes) -> dict[str, set[int]]:
    """Call each drop-path module on ones, and see along which axes its decisions differ."""
    axes: dict[str, set[int]] = {}
    for path, shape in found.shapes.items():
        module = found.modules[path]
        if not passes.measure or not rate_of(module) or not shape:
            continue
        small = tuple(min(size, 4) for size in shape)
        like = next(module.parameters(), torch.ones(()))
        with passes.mode(True, 30), torch.no_grad():
            masks = [_mask(module, like.new_ones(small)) for _ in range(_PROBES)]
        varying = {d for mask in masks if mask is not None for d in range(mask.ndim) if _varies(mask, d)}
        axes[path] = varying
    return axes


def _mask(module: nn.Module, x: torch.Tensor) -> torch.Tensor | None:
    try:
        out = module(x)
    except (RuntimeError, ValueError, TypeError, IndexError):
        return None  # a module of this name that needs more than one tensor
    return out == 0 if isinstance(out, torch.Tensor) and out.shape == x.shape else None


def _varies(mask: torch.Tensor, axis: int) -> bool:
    return bool((mask != mask.narrow(axis, 0, 1)).any())


@contextmanager
def _private_generators(model: nn.Module) -> Iterator[None]:
    """Put back the generators that modules hold; between passes they run on."""
    held = list({id(v): v for m in model.modules() for v in vars(m).values()}.values())
    restore: list[Callable[[], object]] = []
    for g in held:
        if isinstance(g, torch.Generator | np.random.RandomState):
            restore.append(partial(g.set_state, g.get_state()))  # type: ignore[arg-type]
        elif isinstance(g, np.random.Generator):
            restore.append(partial(setattr, g.bit_generator, "state", g.bit_generator.state))
        elif isinstance(g, random.Random):
            restore.append(partial(g.setstate, g.getstate()))
    try:
        yield
    finally:
        for put_back in restore:
            put_back()
