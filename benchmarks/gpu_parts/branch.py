"""``residual + dropout(activation(x + bias))`` against torch.compile's fusion."""

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as peer

from gpu_parts.timing import Case, buffers
from thinned import functional

__all__ = ["cases"]

DEVICE = "cuda"
_SHAPES = ((4096, 1024), (16384, 4096))


def _plain(activation: Callable[[torch.Tensor], torch.Tensor]) -> Callable[..., torch.Tensor]:
    def function(x: torch.Tensor, bias: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        return residual + peer.dropout(activation(x + bias), 0.1)

    return function


def _cases(rows: int, width: int, activation: str, theirs: Callable[..., torch.Tensor]) -> Iterator[Case]:
    n = rows * width
    count = min(4, buffers(3 * n * 2))
    xs, rs, gs = ([torch.randn(rows, width, device=DEVICE, dtype=torch.float16) for _ in range(count)] for _ in "xrg")
    bias = torch.randn(width, device=DEVICE, dtype=torch.float16)
    plain = _plain(theirs)
    compiled = torch.compile(plain, dynamic=False)
    leaves = [tuple(t.detach().requires_grad_() for t in (x, bias, r)) for x, r in zip(xs, rs, strict=True)]

    def ours(x: torch.Tensor, bias: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        return functional.bias_dropout_add(x, bias, residual, 0.1, activation=activation, key=77, call=5)

    name = f"f16 {rows}x{width} {activation}"
    calls = {
        "ours": lambda i: ours(xs[i], bias, rs[i]),
        "eager": lambda i: plain(xs[i], bias, rs[i]),
        "compiled": lambda i: compiled(xs[i], bias, rs[i]),
    }
    with torch.no_grad():
        yield Case("fused", name, n, 6, calls, count)
    calls = {
        "ours": lambda i: torch.autograd.grad(ours(*leaves[i]), leaves[i], gs[i]),
        "compiled": lambda i: torch.autograd.grad(compiled(*leaves[i]), leaves[i], gs[i]),
    }
    # forward reads x and residual and writes the output; backward reads x and the gradient and writes one
    yield Case("fused", f"{name} + backward", n, 12, calls, count)


def _check() -> None:
    """Output and gradients against the parts in float64; sums of 8,192 rows err by some parts in a million."""
    operands = [torch.randn(shape) for shape in ((8192, 512), (512,), (8192, 512), (8192, 512))]
    results = []
    for impl, change in (("triton", lambda t: t.to(DEVICE)), ("native", lambda t: t.double())):
        *leaves, grad = (change(t) for t in operands)
        leaves = [t.requires_grad_() for t in leaves]
        out = functional.bias_dropout_add(*leaves, 0.1, activation="gelu", key=77, call=5, impl=impl)
        results.append([out, *torch.autograd.grad(out, leaves, grad)])
    errors = [((a.cpu() - b).norm() / b.norm()).item() for a, b in zip(*results, strict=True)]
    if max(errors) > 1e-6:
        raise SystemExit(f"WRONG on the device: bias_dropout_add, relative errors {errors}")
    print(f"bias_dropout_add: relative errors of the output and three gradients {max(errors):.1e} at most", flush=True)


def cases() -> Iterator[Case]:
    """Forward, and forward with backward."""
    _check()
    for rows, width in _SHAPES:
        for activation, theirs in (("gelu", peer.gelu), ("relu", peer.relu)):
            yield from _cases(rows, width, activation, theirs)
        torch.cuda.empty_cache()
