"""The passes of an audit, and everything that the rules look at."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.parameter import UninitializedBuffer

from thinned.audits.observation.evaluation_difference import EvaluationDifference, locate_difference, outputs_agree
from thinned.audits.observation.modules import can_drop, rate_of
from thinned.audits.observation.passes import Passes, one_at_a_time, restored_generators
from thinned.audits.observation.random_masks import AppliedMask, differing_masks
from thinned.audits.observation.recorder import ObservedDropout
from thinned.audits.observation.variance_shifts import VarianceShift, measure_shifts
from thinned.tracing.modules import named
from thinned.tracing.preserve import uninitialised, untouched
from thinned.tracing.site import Op
from thinned.tracing.tensor_map import tensors

__all__ = ["Observation", "observe"]

_PROBES = 24  # calls of a drop-path module to see its axes; all agree by chance with (1 - 2 p (1 - p))^24


@dataclass(frozen=True)
class Observation:
    """Everything that the passes recorded.

    Attributes:
        modules: modules of the model, by name.
        training: dropouts of the training pass, in order.
        evaluation: dropouts of an evaluation pass, in order.
        module_calls: number of calls of each module in the training pass, by name.
        fixed_seeds: indices of the training dropouts before which each forward pass sets the same seed.
        inactive_modules: names of the dropout modules that are in evaluation mode while the model trains.
        variance_shifts: batch norms after dropout.
        random_masks: masks that the model drew by itself in evaluation.
        difference: difference of two evaluations, which neither an active dropout nor a random mask explains; None
            if there is no such difference.
        noise: functions by which the model draws random numbers of its own in evaluation.
        drop_path_axes: axes along which the decisions of a drop-path module differ, by name.
        drop_path_shapes: shape of the input of a drop-path module, by name.
        drop_path_batch_axes: axis of that input that grows with the batch, by name, where its lengths leave it open.
        batch_size: length of the first axis of the first input.
        rows: number of training rows; None if the user did not give it.
    """

    modules: dict[str, nn.Module]
    training: list[ObservedDropout]
    evaluation: list[ObservedDropout]
    module_calls: Mapping[str, int]
    fixed_seeds: set[int]
    inactive_modules: list[str]
    variance_shifts: list[VarianceShift]
    random_masks: list[AppliedMask]
    difference: EvaluationDifference | None
    noise: tuple[Op, ...]
    drop_path_axes: dict[str, set[int]]
    drop_path_shapes: dict[str, tuple[int, ...]]
    drop_path_batch_axes: dict[str, int]
    batch_size: int | None
    rows: int | None


def observe(
    model: nn.Module,
    args: tuple[object, ...],
    kwargs: Mapping[str, object],
    *,
    rows: int | None,
    modes: Mapping[str, bool],
) -> Observation:
    """Run a model in training and evaluation mode, and leave it as it was."""
    with one_at_a_time, restored_generators(model):
        passes = Passes(_initialised(model, args, kwargs), args, kwargs)
        modules = passes.modules
        training = passes.first_recorded(True, 0)
        training_dropouts = training.dropouts()
        shifts = measure_shifts(training.batch_norms, passes)
        evaluation = passes.first_recorded(False, 1)
        evaluation_dropouts, second_outputs = evaluation.dropouts(), passes.evaluated(2)
        agree = outputs_agree(evaluation.outputs, second_outputs)
        random_masks = [] if agree and not evaluation.noise else _random_masks(passes)  # a small mask may round away
        difference = None
        if not agree and not random_masks and not any(dropout.drops for dropout in evaluation_dropouts):
            difference = locate_difference(passes, evaluation.outputs, second_outputs)
        input_tensors = (tensor for tensor in tensors((args, dict(kwargs))) if tensor.ndim)
        batch_size = next((tensor.shape[0] for tensor in input_tensors), None)
        return Observation(
            modules=modules if passes.model is model else dict(named(model)),
            training=training_dropouts,
            evaluation=evaluation_dropouts,
            module_calls=training.module_calls,
            fixed_seeds=_fixed_seeds(training_dropouts, passes),
            inactive_modules=_inactive_modules(modules, modes, training.modes),
            variance_shifts=shifts,
            random_masks=random_masks,
            difference=difference,
            noise=tuple(dict.fromkeys(evaluation.noise)),
            drop_path_axes=_drop_path_axes(modules, training.drop_path_shapes, passes),
            drop_path_shapes=training.drop_path_shapes,
            drop_path_batch_axes=_drop_path_batch_axes(training.drop_path_shapes, batch_size, passes),
            batch_size=batch_size,
            rows=rows,
        )


def _random_masks(passes: Passes) -> list[AppliedMask]:
    """Masks that differ between two evaluations."""
    first = passes.recorded(False, 1, find_masks=True).masks
    return differing_masks(first, passes.recorded(False, 2, find_masks=True).masks) if first else []


def _initialised(model: nn.Module, args: tuple[object, ...], kwargs: Mapping[str, object]) -> nn.Module:
    """The model itself, or an initialised copy of one with lazy modules, which stay lazy."""
    if not any(uninitialised(tensor) for tensor in (*model.parameters(), *model.buffers())):
        return model
    memo: dict[int, torch.Tensor] = {}
    for buffer in filter(uninitialised, model.buffers()):  # torch copies lazy parameters, and no lazy buffers
        memo[id(buffer)] = UninitializedBuffer(buffer.requires_grad, buffer.device, buffer.dtype)  # type: ignore[arg-type]
    initialised = copy.deepcopy(model, dict(memo)).eval()
    with untouched(nn.Identity()), torch.no_grad():  # leaves the generators as they are
        initialised(*args, **kwargs)
    for name, module in initialised.named_modules():
        module.training = model.get_submodule(name).training
    return initialised


def _fixed_seeds(dropouts: list[ObservedDropout], passes: Passes) -> set[int]:
    """Compare the seeds with those of another training pass; reversible layers set a fresh one in each."""
    if all(dropout.forward_seed is None for dropout in dropouts):
        return set()
    seeds = [dropout.forward_seed for dropout in passes.recorded(True, 3).dropouts()]
    return {
        dropout.index
        for dropout, seed in zip(dropouts, seeds, strict=False)
        if dropout.forward_seed is not None and dropout.forward_seed == seed
    }


def _inactive_modules(
    modules: dict[str, nn.Module], modes: Mapping[str, bool], modes_after_train: Mapping[str, bool]
) -> list[str]:
    """Dropout that is in evaluation mode while the model trains; frozen parts are left out."""
    inactive = []
    for name, module in modules.items():
        off = not modes_after_train[name] or (modes.get("", False) and not modes.get(name, True))
        if can_drop(module) and off and not _is_frozen(name, modules, modes_after_train, modes):
            inactive.append(name)
    return inactive


def _is_frozen(
    name: str, modules: dict[str, nn.Module], modes_after_train: Mapping[str, bool], modes: Mapping[str, bool]
) -> bool:
    """True if a part around the module is in evaluation mode, too, and has parameters, none of which is trained."""
    parts = name.split(".") if name else []
    for end in range(len(parts), -1, -1):
        path = ".".join(parts[:end])
        if path not in modules or (modes_after_train[path] and modes.get(path, True)):
            continue
        parameters = list(modules[path].parameters())
        if parameters:
            return not any(parameter.requires_grad for parameter in parameters)
    return False


def _drop_path_axes(
    modules: dict[str, nn.Module], shapes: dict[str, tuple[int, ...]], passes: Passes
) -> dict[str, set[int]]:
    """Call each drop-path module on ones, and see along which axes its decisions differ."""
    axes: dict[str, set[int]] = {}
    for path, shape in shapes.items():
        module = modules[path]
        if not passes.measure or not rate_of(module) or not shape:
            continue
        small = tuple(min(size, 4) for size in shape)
        like = next(module.parameters(), torch.ones(()))
        with passes.mode(True, 30), torch.no_grad():
            masks = [_mask(module, like.new_ones(small)) for _ in range(_PROBES)]
        axes[path] = {d for mask in masks if mask is not None for d in range(mask.ndim) if _varies(mask, d)}
    return axes


def _drop_path_batch_axes(shapes: dict[str, tuple[int, ...]], batch_size: int | None, passes: Passes) -> dict[str, int]:
    """Where the batch may be one of two axes, run a batch of one more, and see which axis has grown."""
    if batch_size is None or not any(shape[:1] and batch_size in shape[1:] for shape in shapes.values()):
        return {}
    try:
        larger = passes.recorded(True, 0, one_more_of=batch_size).drop_path_shapes
    except Exception:  # noqa: BLE001 - a forward may insist on its batch, or on the relation of its inputs
        return {}
    axes = {}
    for path, shape in shapes.items():
        sizes = zip(shape, larger.get(path, ()), strict=False)
        grown = [axis for axis, (size, larger_size) in enumerate(sizes) if larger_size > size]
        if len(grown) == 1:
            axes[path] = grown[0]
    return axes


def _mask(module: nn.Module, x: torch.Tensor) -> torch.Tensor | None:
    try:
        out = module(x)
    except (RuntimeError, ValueError, TypeError, IndexError):
        return None  # a module of this name that needs more than one tensor
    return out == 0 if isinstance(out, torch.Tensor) and out.shape == x.shape else None


def _varies(mask: torch.Tensor, axis: int) -> bool:
    return bool((mask != mask.narrow(axis, 0, 1)).any())
