"""Launches of the kernels for the end of a branch."""

import torch
import triton

from thinned.kernels.activation import Activation
from thinned.kernels.address import Address
from thinned.kernels.form import Form
from thinned.kernels.triton.address import address_arguments
from thinned.kernels.triton.backend import INTERPRETED, on_device, run_tile
from thinned.kernels.triton.elementwise import branch

__all__ = ["backward", "forward"]

_GRADIENT_ROWS = 8  # rows of a tile of one warp
_PROGRAMS = 2048  # one-warp programs that keep a large GPU busy


def forward(
    x: torch.Tensor,
    bias: torch.Tensor | None,
    residual: torch.Tensor | None,
    address: Address,
    activation: Activation,
) -> torch.Tensor:
    """``residual + dropout(activation(x + bias))``; all contiguous, ``bias`` along the last axis, one address."""
    return _launch(x, bias, residual, address, activation, False)


def backward(
    grad: torch.Tensor,
    x: torch.Tensor,
    bias: torch.Tensor | None,
    address: Address,
    activation: Activation,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The gradients of x and of the bias from that of the output."""
    if bias is not None and bias.numel() % 128 == 0 and x.numel():
        return _launch_gradients(grad, x, bias, address, activation)
    of_x = _launch(x, bias, grad, address, activation, True)
    if bias is None:
        return of_x, None
    return of_x, of_x.reshape(of_x.shape[:-1].numel(), bias.numel()).sum(0, dtype=torch.float32).to(bias.dtype)


def _launch(
    x: torch.Tensor,
    bias: torch.Tensor | None,
    other: torch.Tensor | None,
    address: Address,
    activation: Activation,
    backwards: bool,
) -> torch.Tensor:
    out = torch.empty_like(x)
    n = x.numel()
    if not n:
        return out
    groups, warps = run_tile(n)
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


def _launch_gradients(
    grad: torch.Tensor, x: torch.Tensor, bias: torch.Tensor, address: Address, activation: Activation
) -> tuple[torch.Tensor, torch.Tensor]:
    """Both gradients in one pass: each program also sums its columns."""
    width = bias.numel()
    rows = x.numel() // width
    chunks = max(1, min(32, rows * width // (_GRADIENT_ROWS * 128 * _PROGRAMS)))
    programs = -(-rows // (_GRADIENT_ROWS * chunks))
    out, sums = torch.empty_like(x), x.new_empty((programs, width), dtype=torch.float32)
    with on_device(x):
        branch.branch_gradients_kernel[(programs * (width // 128),)](
            *(out, sums, x, bias, grad, *address_arguments(address, Form.DROPOUT, x.device), rows, chunks),
            ACTIVATION=int(activation),
            ROWS=_GRADIENT_ROWS,
            WIDTH=width,
            EMPTY=isinstance(address.keep, torch.Tensor) or address.keep == 0,
            SOFT=INTERPRETED,
            num_warps=1,
            enable_fp_fusion=False,
        )
    return out, sums.sum(0).to(bias.dtype)
