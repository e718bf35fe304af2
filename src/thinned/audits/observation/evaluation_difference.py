"""Compare two evaluations of one input, and find the module where they begin to differ."""

import math
from typing import NamedTuple

import torch
from torch import nn

from thinned.audits.observation.passes import Passes
from thinned.tracing.modules import named
from thinned.tracing.tensor_map import output_tensors

__all__ = ["EvaluationDifference", "locate_difference", "outputs_agree"]

_TOLERANCE = 1e-3  # relative: far above the rounding of one order of summation, far below a dropped element


class EvaluationDifference(NamedTuple):
    """Two evaluations of one input differ.

    Attributes:
        path: name of the first module whose output differs.
        class_name: its class.
        largest: largest difference between the two outputs of that module.
        moved_zeros: fraction of that output that is 0 in one evaluation only.
    """

    path: str
    class_name: str
    largest: float
    moved_zeros: float


def outputs_agree(first: list[torch.Tensor], second: list[torch.Tensor]) -> bool:
    """True if two evaluations returned the same tensors, within rounding."""
    if len(first) != len(second):
        return False
    return all(_distance(a, b) == 0 for a, b in zip(first, second, strict=True))


def _distance(a: torch.Tensor, b: torch.Tensor) -> float:
    """The largest difference; 0 within rounding, infinite for different shapes."""
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
    return largest if largest > _TOLERANCE * float(a.abs().max()) else 0.0


def locate_difference(passes: Passes, first: list[torch.Tensor], second: list[torch.Tensor]) -> EvaluationDifference:
    """Find the first module whose output differs between evaluations; inner modules end before outer ones."""
    sums = [_OutputSums() for _ in range(2)]
    for seed, output_sums in enumerate(sums):
        passes.evaluated(10 + seed, output_sums)
    pairs = zip(*(output_sums.sums for output_sums in sums), strict=False)
    index = next((i for i, (a, b) in enumerate(pairs) if a != b), None)
    if index is None:  # their sums are the same, as where the root alone makes the difference
        return EvaluationDifference("", type(passes.model).__name__, _largest_difference(first, second), 0.0)
    outputs = [_OneOutput(index) for _ in range(2)]
    for seed, one_output in enumerate(outputs):
        passes.evaluated(20 + seed, one_output)
    module = outputs[0].module
    path = next((name for name, part in named(passes.model) if part is module), "")
    largest = _largest_difference(outputs[0].tensors, outputs[1].tensors)
    moved_zeros = _moved_zeros(outputs[0].tensors, outputs[1].tensors)
    return EvaluationDifference(path, type(module).__name__, largest, moved_zeros)


def _moved_zeros(first: list[torch.Tensor], second: list[torch.Tensor]) -> float:
    moved = 0.0
    for a, b in zip(first, second, strict=False):
        comparable = a.shape == b.shape and a.is_floating_point() and a.numel()
        if not comparable or torch.equal(a.flatten().sort().values, b.flatten().sort().values):
            continue  # the same values in another order
        if len(torch.unique(a[a != 0])) > 1:  # not a mask itself, as masked autoencoders return
            moved = max(moved, float(((a == 0) != (b == 0)).double().mean()))
    return moved


def _largest_difference(first: list[torch.Tensor], second: list[torch.Tensor]) -> float:
    """The largest difference between tensors of equal shape; finite, since JSON has no infinity."""
    pairs = [(a, b) for a, b in zip(first, second, strict=False) if a.shape == b.shape and a.is_floating_point()]
    return max((float((a - b).abs().double().nan_to_num().max()) for a, b in pairs if a.numel()), default=0.0)


class _OutputSums:
    """A forward hook that keeps the sums of every module's output."""

    def __init__(self) -> None:
        self.sums: list[tuple[float, ...]] = []

    def __call__(self, module: nn.Module, args: object, output: object) -> None:  # noqa: ARG002 - a hook's signature
        self.sums.append(tuple(_fingerprint(tensor) for tensor in _real_tensors(output)))


def _fingerprint(tensor: torch.Tensor) -> float:
    """A sum in which each position has a weight of its own, so that rows in another order have another sum."""
    values = tensor.detach().double().nan_to_num().flatten()
    return float(values @ torch.linspace(1, 2, len(values), dtype=torch.float64, device=values.device))


class _OneOutput:
    """A forward hook that keeps the output of the module call number ``index``."""

    def __init__(self, index: int) -> None:
        self.tensors: list[torch.Tensor] = []
        self.module: nn.Module | None = None
        self._index, self._count = index, 0

    def __call__(self, module: nn.Module, args: object, output: object) -> None:  # noqa: ARG002
        if self._count == self._index:
            self.module, self.tensors = module, [tensor.detach().clone() for tensor in _real_tensors(output)]
        self._count += 1


def _real_tensors(output: object) -> list[torch.Tensor]:
    return [
        tensor
        for tensor in output_tensors(output)
        if tensor.layout is torch.strided and not tensor.is_complex() and not tensor.is_quantized
    ]
