"""Dropout by the same kernel with other tiles, to choose them by."""

from collections.abc import Iterator

import torch

from gpu_parts.dropout import DEVICE, KEY, NAMES, tensors
from gpu_parts.timing import Case, buffers
from thinned.kernels.address import Address, Region
from thinned.kernels.form import Form
from thinned.kernels.triton.address import address_arguments
from thinned.kernels.triton.backend import MatrixTile, RunTile, launch_matrices, launch_runs
from thinned.kernels.triton.elementwise.layout import Axis, Layout, layout_of

__all__ = ["cases"]


def cases() -> Iterator[Case]:
    """All of them."""
    yield from _runs()
    yield from _matrices()


def _matrices() -> Iterator[Case]:
    arguments = address_arguments(Address.from_rate(0.5, KEY, 3), Form.DROPOUT, torch.device(DEVICE))
    x = torch.randn(64, 256, 56, 56, device=DEVICE, dtype=torch.float16).to(memory_format=torch.channels_last)
    out = torch.empty_like(x)
    elements = ((16, 64, 4), (16, 64, 2), (16, 32, 4, 2), (16, 64, 3), (16, 32, 4), (16, 64, 8))
    spatial = ((16, 256, 8), (32, 256, 4), (32, 256, 8), (64, 64, 8), (16, 256, 4), (64, 256, 2))
    for name, region, tiles in (
        ("elements NHWC", Region(), elements),
        ("spatial NHWC", Region((2, 3)), spatial),
    ):
        layout = layout_of(out, x, None, region, False)
        calls = {
            "/".join(map(str, tile)): lambda _, layout=layout, tile=tile: launch_matrices(
                out, x, None, arguments, layout, 0, MatrixTile(*tile)
            )
            for tile in tiles
        }
        yield Case("tiles", f"f16 64x256x56x56 {name}", x.numel(), 4, calls)


def _runs() -> Iterator[Case]:
    arguments = address_arguments(Address.from_rate(0.5, KEY, 3), Form.DROPOUT, torch.device(DEVICE))
    tiles = [RunTile(*pair) for pair in ((8, 1), (4, 1), (8, 2), (16, 2), (32, 4), (64, 4))]
    for dtype in (torch.float16, torch.float32):
        for power in (20, 24, 28):
            n, size = 1 << power, dtype.itemsize
            count = buffers(2 * n * size)
            xs, outs = tensors((n,), dtype, count), tensors((n,), dtype, count)
            layout = Layout((Axis(n, 1, 1, 1, 1),), 0, False)
            calls = {
                f"{tile.groups}/{tile.warps}": lambda i, xs=xs, outs=outs, layout=layout, tile=tile: launch_runs(
                    outs[i], xs[i], None, arguments, layout, 0, tile
                )
                for tile in tiles
            }
            yield Case("tiles", f"{NAMES[dtype]} 2^{power}", n, 2 * size, calls, count)
            torch.cuda.empty_cache()
