"""The launches of the attention kernels: what they are given, and how many programs run."""

import math
from typing import NamedTuple

import torch
import triton

from thinned.kernels.attention import AttentionProblem
from thinned.kernels.form import Form
from thinned.kernels.triton.address import AddressArguments, address_arguments
from thinned.kernels.triton.attention.backward import delta_kernel, key_value_kernel, query_kernel
from thinned.kernels.triton.attention.blocks import Blocks, choose_blocks
from thinned.kernels.triton.attention.forward import forward_kernel

__all__ = ["attention_backward", "attention_forward", "supports"]

_DTYPES = {torch.float16, torch.bfloat16, torch.float32}
_MAX_SIZE = 256  # of a head: a tile of a larger one does not fit beside the others


def supports(query: torch.Tensor, value: torch.Tensor, scale: float) -> bool:
    """True for what the kernels compute.

    Not float64, for which GPUs have no fast products; heads of more than 256 numbers, or 128 in float32, of which a
    tile does not fit into the shared memory of small GPUs; a scale that is not positive, since the largest product
    would not be the largest score; and tensors without elements.
    """
    size = max(query.shape[-1], value.shape[-1])
    most = _MAX_SIZE // 2 if query.dtype is torch.float32 else _MAX_SIZE
    return query.dtype in _DTYPES and size <= most and scale > 0 and min(query.numel(), value.numel()) > 0


class _Layout(NamedTuple):
    """The operands with two batch axes."""

    query: torch.Tensor  # (batch, heads, L, E)
    key: torch.Tensor  # (batch, heads / group, S, E)
    value: torch.Tensor
    mask: torch.Tensor | None  # (batch, heads, L, S)

    @classmethod
    def from_problem(cls, problem: AttentionProblem) -> "_Layout":
        """View the operands so; copy what no strides describe."""
        batch = problem.query.shape[:-2]
        first = batch[0] if len(batch) > 1 else 1
        query, key, value = (_four_axes(t, first) for t in (problem.query, problem.key, problem.value))
        mask = problem.mask
        if mask is not None:
            sizes = query.shape[-2], key.shape[-2]
            mask = mask.expand(*batch, *sizes).reshape(first, -1, *sizes)
            mask = mask.view(torch.uint8) if mask.dtype == torch.bool else mask
        return cls(query, key, value, mask)

    def arguments(self, problem: AttentionProblem) -> dict[str, object]:
        """The arguments of the kernels that are not tensors of results."""
        mask = self.mask
        strides = (0, 0, 0, 0) if mask is None else mask.stride()
        sizes = self.query.shape[-1], self.value.shape[-1]
        return {
            "q": self.query,
            "k": self.key,
            "v": self.value,
            "mask": mask,
            **_strides("q", self.query),
            **_strides("k", self.key),
            **_strides("v", self.value),
            **dict(zip(("mask_batch", "mask_head", "mask_query", "mask_key"), strides, strict=True)),
            "heads": self.query.shape[1],
            "group": self.query.shape[1] // self.key.shape[1],
            "query_count": self.query.shape[2],
            "key_count": self.key.shape[2],
            "scale": problem.scale * math.log2(math.e),
            "E": sizes[0],
            "EV": sizes[1],
            "BLOCK_E": _padded(sizes[0]),
            "BLOCK_EV": _padded(sizes[1]),
            "MASK": "none" if mask is None else "bool" if mask.dtype == torch.uint8 else "float",
            "CAUSAL": problem.causal,
            "ALIGNED": self.key.shape[2] % 128 == 0,
            "PRECISION": _precision(self.query),
        }


def _four_axes(tensor: torch.Tensor, first: int) -> torch.Tensor:
    tensor = tensor.reshape(first, -1, *tensor.shape[-2:])
    return tensor if tensor.stride(-1) == 1 else tensor.contiguous()


def _strides(name: str, tensor: torch.Tensor) -> dict[str, int]:
    return dict(zip((f"{name}_batch", f"{name}_head", f"{name}_row"), tensor.stride(), strict=False))


def _padded(size: int) -> int:
    return max(16, 1 << (size - 1).bit_length())


def _precision(query: torch.Tensor) -> str:
    """That of products of float32: three products of 19-bit numbers, or one where PyTorch's may be so."""
    if not query.is_cuda:
        return "wide"
    return "tf32" if torch.backends.cuda.matmul.allow_tf32 else "tf32x3"


def _address(arguments: AddressArguments) -> dict[str, object]:
    names = ("key", "call", "keep", "key_low", "key_high", "call_low", "call_high", "keep_number")
    return {name: getattr(arguments, name) for name in names}


_DELTA = (
    *("grad", "delta", "keep", "keep_number", "grad_batch", "grad_head", "grad_row"),
    *("heads", "query_count", "EV", "BLOCK_EV"),
)


def attention_forward(problem: AttentionProblem, blocks: Blocks | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Attend; see :class:`thinned.kernels.attention.AttentionKernels`.

    Args:
        problem: operands that :func:`supports` accepts.
        blocks: sizes of the tiles; None chooses.
    """
    query, layout = problem.query, _Layout.from_problem(problem)
    out = torch.empty(*query.shape[:-1], problem.value.shape[-1], dtype=query.dtype, device=query.device)
    lse = torch.empty(query.shape[:-1], dtype=torch.float32, device=query.device)
    tile = (blocks or choose_blocks(layout.query, layout.value)).forward
    with torch.cuda.device_of(query):
        forward_kernel[(lse[..., 0].numel() * triton.cdiv(query.shape[-2], tile.queries),)](
            out=out,
            lse=lse,
            **layout.arguments(problem),
            **_address(address_arguments(problem.address, Form.DROPOUT, query.device)),
            **tile.options(),
        )
    return out, lse


def attention_backward(
    grad: torch.Tensor, out: torch.Tensor, lse: torch.Tensor, problem: AttentionProblem, blocks: Blocks | None = None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The gradients of query, key and value; see :class:`thinned.kernels.attention.AttentionKernels`.

    Args:
        grad: gradient of the output.
        out: result of :func:`attention_forward`.
        lse: its logarithms.
        problem: that of the forward pass.
        blocks: sizes of the tiles; None chooses.
    """
    query, layout = problem.query, _Layout.from_problem(problem)
    blocks = blocks or choose_blocks(layout.query, layout.value)
    grad, delta = _four_axes(grad, layout.query.shape[0]), torch.empty_like(lse)
    d_query, d_key, d_value = (torch.empty(t.shape, dtype=t.dtype, device=t.device) for t in problem[:3])
    arguments = layout.arguments(problem) | {"grad": grad, "lse": lse, "delta": delta} | _strides("grad", grad)
    arguments |= _address(address_arguments(problem.address, Form.DROPOUT, query.device))
    heads, shared, length = lse[..., 0].numel(), layout.key[..., 0, 0].numel(), query.shape[-2]
    with torch.cuda.device_of(query):
        delta_kernel[(heads * triton.cdiv(length, 64),)](
            out=out, QUERIES=64, **{name: arguments[name] for name in _DELTA}
        )
        tile = blocks.key_value
        key_value_kernel[(shared * triton.cdiv(layout.key.shape[2], 128) * (128 // tile.keys),)](
            d_key=d_key, d_value=d_value, CHECK=length % tile.queries != 0, **arguments, **tile.options()
        )
        tile = blocks.query
        query_kernel[(heads * triton.cdiv(length, tile.queries),)](d_query=d_query, **arguments, **tile.options())
    return d_query, d_key, d_value
