"""The axes of a call, merged and in the order of memory, for the kernels' few."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch

from thinned.kernels.address import Region

__all__ = ["Axis", "Layout", "layout_of"]


class Axis(NamedTuple):
    """Its size, and the step along it in each tensor and in the mask's index."""

    size: int
    out: int
    x: int
    residual: int
    mask: int

    @property
    def steps(self) -> tuple[int, int, int, int]:
        """The steps."""
        return self[1:]


_ONE = Axis(1, 0, 0, 0, 0)


class Layout(NamedTuple):
    """Axes from the slowest to the fastest; with members, the first is theirs."""

    axes: tuple[Axis, ...]
    offset: int
    members: bool

    def split(self, inner: int) -> tuple[list[Axis], list[Axis]]:
        """Three outer axes, or more where there are more, and the ``inner`` fastest."""
        first = max(len(self.axes) - inner, int(self.members))
        outer, fastest = list(self.axes[:first]), list(self.axes[first:])
        return outer + [_ONE] * (3 - len(outer)), [_ONE] * (inner - len(fastest)) + fastest

    def pieces(self) -> Iterator[tuple[Axis, "Layout"]]:
        """One layout for each position along the slowest axis but that of members, and its distance from the first."""
        first = int(self.members)
        axis = self.axes[first]
        rest = self.axes[:first] + self.axes[first + 1 :]
        for i in range(axis.size):
            step = Axis(1, *(i * step for step in axis.steps))
            yield step, Layout(rest, self.offset + step.mask, self.members)


def layout_of(
    out: torch.Tensor, x: torch.Tensor | None, residual: torch.Tensor | None, region: Region, members: bool
) -> Layout:
    """The layout of tensors of one shape; with members, along their leading axis."""
    first = int(members)
    shape: Sequence[int] = out.shape[first:] if x is None else x.shape[first:]
    mask, offset = region.strides(shape)
    source = out if x is None else x
    other = source if residual is None else residual
    rows = zip(shape, out.stride()[first:], source.stride()[first:], other.stride()[first:], mask, strict=True)
    axes = sorted((Axis(*row) for row in rows if row[0] != 1), key=lambda axis: (-axis.out, -axis.x, -axis.mask))
    merged: list[Axis] = []
    for axis in axes:
        last = merged[-1] if merged else None
        if last is not None and last.steps == tuple(step * axis.size for step in axis.steps):
            merged[-1] = Axis(last.size * axis.size, *axis.steps)
        else:
            merged.append(axis)
    if members:
        merged.insert(0, Axis(out.shape[0], out.stride(0), source.stride(0), other.stride(0), 0))
    return Layout(tuple(merged), offset, members)
