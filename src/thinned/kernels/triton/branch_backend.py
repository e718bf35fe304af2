"""Launches of the kernels for the end of a branch."""

import torch
import triton

from thinned.kernels.activation import Activation
from thinned.kernels.address import Address
from thinned.kernels.form import Form
from thinned.kernels.triton.address import address_arguments
from thinned.kernels.triton.backend import INTERPRETED, RunTile, on_device, run_tile
from thinned.kernels.triton.elementwise import branch

__all__ = ["backward", "forward"]


def forward(
    x: torch.Tensor,
    bias: torch.Tensor | None,
    residual: torch.Tensor | None,
    address: Address,
    activation: Activation,
    tile: RunTile | None = None,
) -> torch.Tensor:
    """``residual + dropout(activation(x + bias))``; all contiguous, ``bias`` along the last axis, one address."""
    return _launch(x, bias, residual, address, activation, False, tile)


def backward(
    grad: torch.Tensor,
    x: torch.Tensor,
    bias: torch.Tensor | None,
    address: Address,
    activation: Activation,
    tile: RunTile | None = None,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The gradients of x and of the bias from that of the output."""
    of_x = _launch(x, bias, grad, address, activation, True, tile)
    if bias is None:
        return of_x, None
    return of_x, of_x.reshape(-1, bias.numel()).sum(0, dtype=torch.float32).to(bias.dtype)


def _launch(
    x: torch.Tensor,
    bias: torch.Tensor | None,
    other: torch.Tensor | None,
    address: Address,
    activation: Activation,
    backwards: bool,
    tile: RunTile | None,
) -> torch.Tensor:
    out = torch.empty_like(x)
    n = x.numel()
    if not n:
        return out
    groups, warps = tile or run_tile(n, x.element_size(), wide=n % 16 == 0)
    with on_device(x):
        branch.branch_kernel[(triton.cdiv(n, groups * 128),)](
            *(out, x, bias, other, *address_arguments(address, Form.DROPOUT, x.device), n),
            ACTIVATION=int(activation),
            BACKWARD=backwards,
            GROUPS=groups,
            WIDTH=1 if bias is None else bias.numel(),
            GUARD=n % (groups * 128) != 0,
            UNIT=1 if n % 16 else 16,
            EMPTY=isinstance(address.keep, torch.Tensor) or address.keep == 0,
            SOFT=INTERPRETED,
            num_warps=warps,
            enable_fp_fusion=False,
        )
    return out
