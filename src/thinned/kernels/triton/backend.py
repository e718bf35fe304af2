"""The Triton backend: f32, bf16 and f16 on CUDA and ROCm. Key, call and threshold may lie on the device; none is read.

See :class:`thinned.kernels.backend.Backend`; ``dropout`` also takes ``Form.GAUSSIAN``, in one pass.
"""

import contextlib
import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
import triton
from triton.runtime.jit import JITFunction

from thinned.errors import sentence
from thinned.kernels.address import WHOLE, Address, Region
from thinned.kernels.form import Form
from thinned.kernels.triton.address import AddressArguments, address_arguments
from thinned.kernels.triton.elementwise import arithmetic, runs, strided, transposed
from thinned.kernels.triton.elementwise.layout import Axis, Layout, layout_of

__all__ = [
    "DTYPES",
    "INTERPRETED",
    "MatrixTile",
    "RunTile",
    "dropout",
    "launch_matrices",
    "launch_runs",
    "normals",
    "on_device",
    "run_tile",
]

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
#: True where TRITON_INTERPRET=1 runs the kernels in Python, on tensors of any device
INTERPRETED = not isinstance(runs.run_kernel, JITFunction)
_NORMALS = int(arithmetic.NORMALS.value)
_SHORT_RUN = 64  # elements; whole groups would be mostly empty
_AXES = 3  # outer axes that a kernel has


class RunTile(NamedTuple):
    """The groups that a program works on, and its warps."""

    groups: int
    warps: int


def run_tile(n: int) -> RunTile:
    """The tile for runs of ``n`` elements: a thread computes four neighbouring blocks.

    Measured: wider accesses, for more blocks a thread, take up to 1.6 times as long at two bytes an element.
    """
    groups = 8
    while groups > 1 and groups * 64 >= n:
        groups //= 2
    return RunTile(groups, 1)


def dropout(
    x: torch.Tensor,
    address: Address,
    region: Region = WHOLE,
    out: torch.Tensor | None = None,
    residual: torch.Tensor | None = None,
    form: Form = Form.DROPOUT,
) -> torch.Tensor:
    """Dropout by the kernels; see :class:`thinned.kernels.backend.Backend`."""
    if x.dtype not in DTYPES:
        raise TypeError(sentence("the Triton kernels take f32, bf16 and f16", f"got {x.dtype}"))
    if out is None:
        out = torch.empty_like(x)
    if not x.numel():
        return out
    if isinstance(address.keep, int) and form is not Form.GAUSSIAN and address.keep in {0, 65536}:
        return _constant(x, address.keep, out, residual)
    arguments = address_arguments(address, form, x.device)
    whole = (region is WHOLE or region == WHOLE) and not address.batched
    if whole and all(t is None or t.is_contiguous() for t in (x, out, residual)):
        layout = Layout((Axis(x.numel(), 1, 1, 1, 1),), 0, False)
    else:
        layout = layout_of(out, x, residual, region, address.batched)
    _launch(out, x, residual, arguments, layout, int(form))
    return out


def normals(x: torch.Tensor, address: Address, region: Region = WHOLE) -> torch.Tensor:
    """Normals by the kernels; see :class:`thinned.kernels.backend.Backend`."""
    members = x.shape[:1] if address.batched else ()
    out = torch.empty((*members, *region.mask_shape(x.shape[len(members) :])), device=x.device)
    if out.numel():
        arguments = address_arguments(address._replace(keep=1), Form.GAUSSIAN, x.device)
        layout = layout_of(out, None, None, region, address.batched)
        _launch(out, None, None, arguments, layout, _NORMALS)
    return out


def _constant(x: torch.Tensor, keep: int, out: torch.Tensor, residual: torch.Tensor | None) -> torch.Tensor:
    """Everything is kept or dropped."""
    if residual is not None:
        return torch.add(residual, x if keep else 0.0, out=out)
    return out.copy_(x) if keep else out.zero_()


def _launch(
    out: torch.Tensor,
    x: torch.Tensor | None,
    residual: torch.Tensor | None,
    arguments: AddressArguments,
    layout: Layout,
    form: int,
) -> None:
    outer, (fastest,) = layout.split(1)
    repeated = len(layout.axes) > 1 + int(layout.members) and layout.axes[-2].mask == 0  # many runs of one mask
    if fastest.steps == (1, 1, 1, 1) and len(outer) == _AXES and fastest.size >= _SHORT_RUN and not repeated:
        launch_runs(out, x, residual, arguments, layout, form, run_tile(fastest.size))
    elif len(layout.split(2)[0]) == _AXES:
        launch_matrices(out, x, residual, arguments, layout, form)
    else:
        for start, piece in layout.pieces():
            tensors = [
                None if t is None else t.as_strided((1,), (1,), t.storage_offset() + step)
                for t, step in ((out, start.out), (x, start.x), (residual, start.residual))
            ]
            _launch(tensors[0], tensors[1], tensors[2], arguments, piece, form)  # type: ignore[arg-type]


def _steps(axes: list[Axis]) -> Iterator[int]:
    """The steps along each axis: all of ``out``, then of ``x``, ``residual`` and the mask."""
    for tensor in range(4):
        for axis in axes:
            yield axis.steps[tensor]


def on_device(x: torch.Tensor) -> contextlib.AbstractContextManager[object]:
    """Triton launches on torch's current device."""
    return torch.cuda.device(x.device) if x.is_cuda else contextlib.nullcontext()


def launch_runs(
    out: torch.Tensor,
    x: torch.Tensor | None,
    residual: torch.Tensor | None,
    arguments: AddressArguments,
    layout: Layout,
    form: int,
    tile: RunTile,
) -> None:
    """Launch :func:`thinned.kernels.triton.elementwise.runs.run_kernel` with a tile of choice."""
    outer, (run,) = layout.split(1)
    _, b, c = outer
    per_group = 64 if form in {int(Form.GAUSSIAN), _NORMALS} else 128
    size = tile.groups * per_group
    leading = layout.offset % per_group != 0 or any(axis.mask % per_group for axis in outer)
    tiles = -(-(run.size + (per_group - 1 if leading else 0)) // size)
    with on_device(out):
        runs.run_kernel[(tiles * math.prod(axis.size for axis in outer),)](
            *(out, x, residual, *arguments, run.size, tiles, layout.offset, b.size, c.size, *_steps(outer)),
            FORM=form,
            GROUPS=tile.groups,
            OUTER=any(axis.size > 1 for axis in outer),
            LEADING=leading,
            CARRY=layout.offset != 0 or any(axis.mask for axis in outer),
            GUARD=leading or run.size % size != 0,
            UNIT=1 if leading or run.size % 16 else 16,
            SOFT=INTERPRETED,
            num_warps=tile.warps,
            enable_fp_fusion=False,
        )


class MatrixTile(NamedTuple):
    """Rows and columns of a tile, the chunks of rows that a program works on, and its warps."""

    rows: int
    columns: int
    chunks: int
    warps: int = 4


def _matrix_tile(rows: Axis, columns: Axis, itemsize: int, whole_groups: bool) -> MatrixTile:
    """The tile for matrices; ``whole_groups``: for the kernel of transposed tensors."""
    if whole_groups:
        return MatrixTile(16, min(128 // itemsize, triton.next_power_of_2(columns.size)), min(4, -(-rows.size // 128)))
    width = min(1024, triton.next_power_of_2(columns.size))
    while width > 128 and -(-columns.size // width) * width > columns.size * 1.125:
        width //= 2
    shared = rows.mask == 0 or columns.mask == 0
    size = 4096 if shared else 1024  # an element with a block of its own keeps many registers busy
    height = max(1, min(size // width, triton.next_power_of_2(rows.size)))
    return MatrixTile(height, width, min(8, -(-rows.size // height)) if rows.mask == 0 else 1)


def launch_matrices(
    out: torch.Tensor,
    x: torch.Tensor | None,
    residual: torch.Tensor | None,
    arguments: AddressArguments,
    layout: Layout,
    form: int,
    tile: MatrixTile | None = None,
) -> None:
    """Launch the kernel of transposed tensors, or that of all others, with a tile of choice."""
    outer, (rows, columns) = layout.split(2)
    whole_groups = rows.mask == 1 and columns.mask != 0 and form not in {int(Form.GAUSSIAN), _NORMALS}
    whole_groups = whole_groups and max(rows.steps[:3]) < 1 << 24  # it steps over 128 rows in int32
    tile = tile or _matrix_tile(rows, columns, out.element_size(), whole_groups)
    height = 128 if whole_groups else tile.rows
    row_tiles, column_tiles = -(-rows.size // (height * tile.chunks)), -(-columns.size // tile.columns)
    grid = (row_tiles * column_tiles * math.prod(axis.size for axis in outer),)
    arrays = (out, x, residual, *arguments, rows.size, columns.size, row_tiles, column_tiles, layout.offset)
    steps = (outer[1].size, outer[2].size, *_steps([*outer, rows, columns]))
    constants: dict[str, object] = {
        "FORM": form,
        "COLUMNS": tile.columns,
        "CHUNKS": tile.chunks,
        "SOFT": INTERPRETED,
        "num_warps": tile.warps,
        "enable_fp_fusion": False,
    }
    with on_device(out):
        if whole_groups:
            transposed.transposed_kernel[grid](*arrays, *steps, **constants)
        else:
            shared = {"SHARED_ROWS": rows.mask == 0, "SHARED_COLUMNS": columns.mask == 0}
            strided.strided_kernel[grid](*arrays, *steps, ROWS=tile.rows, **shared, **constants)
