"""Sizes of the tiles of the attention kernels, chosen by counts of compiled code and by times (docs/gpu.md)."""

from typing import NamedTuple

import torch

__all__ = ["Blocks", "Tile", "choose_blocks"]

_LARGE = 160 << 10  # bytes of shared memory that a block of threads may have on A100 and H100; 99 KiB elsewhere


class Tile(NamedTuple):
    """A kernel's tile and how it is compiled.

    Args:
        queries: rows; 16 times ``warps``, so that a thread holds all eight scores of its Philox calls.
        keys: columns: 32, 64 or 128.
        warps: of 32 threads each.
        stages: tiles that are loaded ahead, and the one in use.
        registers: at most, of each thread; None leaves it to the compiler.
    """

    queries: int
    keys: int
    warps: int
    stages: int
    registers: int | None = None

    def options(self) -> dict[str, int]:
        """The arguments of a launch."""
        options = {"QUERIES": self.queries, "KEYS": self.keys, "num_warps": self.warps, "num_stages": self.stages}
        return options if self.registers is None else options | {"maxnreg": self.registers}


class Blocks(NamedTuple):
    """The tiles of the three kernels."""

    forward: Tile
    key_value: Tile
    query: Tile


_SMALL = Blocks(Tile(64, 64, 4, 2), Tile(64, 64, 4, 1), Tile(64, 64, 4, 1))
_TINY = Blocks(Tile(64, 32, 4, 1), Tile(64, 32, 4, 1), Tile(64, 32, 4, 1))
_HALF = {  # by the padded size of a head; 16-bit numbers
    64: Blocks(Tile(128, 64, 8, 3, 128), Tile(64, 64, 4, 1), Tile(128, 64, 8, 3)),
    128: Blocks(Tile(128, 64, 8, 3), Tile(128, 64, 8, 2), Tile(128, 64, 8, 3)),
}
_HALF_BEFORE_9 = {  # compute capability 8: no product reads its operands from shared memory, which costs registers
    64: Blocks(Tile(64, 64, 4, 3), Tile(64, 64, 4, 1), Tile(128, 64, 8, 3)),
    128: Blocks(Tile(128, 64, 8, 3), Tile(64, 64, 4, 1), Tile(128, 64, 8, 3)),
}


def choose_blocks(query: torch.Tensor, value: torch.Tensor) -> Blocks:
    """The tiles for operands ``(..., L, E)`` and ``(..., S, Ev)`` on their device."""
    size = max(query.shape[-1], value.shape[-1])
    wide = query.dtype.itemsize > 2
    large, major = True, 9  # the interpreter takes any tile
    if query.is_cuda:
        properties = torch.cuda.get_device_properties(query.device)
        major = properties.major
        large = torch.version.hip is None and properties.shared_memory_per_block_optin >= _LARGE  # type: ignore[attr-defined]
    if size > 128 or (wide and size > 64):
        return _TINY
    if wide or not large:
        return _SMALL if size <= 64 else _TINY
    return (_HALF if major >= 9 else _HALF_BEFORE_9)[64 if size <= 64 else 128]
