"""Dropout in its forms against PyTorch's, eager and compiled."""

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as peer

from gpu_parts.timing import Case, buffers
from thinned import functional

__all__ = ["DEVICE", "KEY", "NAMES", "cases", "tensors"]

DEVICE = "cuda"
KEY = 0x1234567890ABCDEF
NAMES = {torch.float16: "f16", torch.bfloat16: "bf16", torch.float32: "f32"}


def tensors(shape: tuple[int, ...], dtype: torch.dtype, count: int) -> list[torch.Tensor]:
    return [torch.randn(shape, device=DEVICE, dtype=dtype) for _ in range(count)]


def _compiled(function: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    return torch.compile(function, dynamic=False)


def _elementwise() -> Iterator[Case]:
    for dtype, name in NAMES.items():
        compiled = _compiled(lambda x: peer.dropout(x, 0.5))
        for power in (20, 22, 24, 26, 28):
            if dtype is torch.bfloat16 and power not in {20, 26}:
                continue
            n, size = 1 << power, dtype.itemsize
            count = buffers(2 * n * size)
            xs = tensors((n,), dtype, count)
            calls = {
                "ours": lambda i, xs=xs: functional.dropout(xs[i], 0.5, key=KEY, call=3),
                "F.dropout": lambda i, xs=xs: peer.dropout(xs[i], 0.5),
                "copy": lambda i, xs=xs: xs[i].clone(),
            }
            if power in ({20, 24, 28} if dtype is torch.float16 else {24}):
                calls["compiled"] = lambda i, xs=xs, compiled=compiled: compiled(xs[i])
            yield Case("dropout", f"{name} 2^{power}", n, 2 * size, calls, count)


def _add() -> Iterator[Case]:
    compiled = _compiled(lambda x, r: r + peer.dropout(x, 0.5))
    for power in (22, 26):
        n = 1 << power
        count = buffers(3 * n * 2)
        xs, rs = tensors((n,), torch.float16, count), tensors((n,), torch.float16, count)
        calls = {
            "ours": lambda i, xs=xs, rs=rs: functional.dropout_add(xs[i], rs[i], 0.5, key=KEY),
            "eager": lambda i, xs=xs, rs=rs: rs[i] + peer.dropout(xs[i], 0.5),
            "compiled": lambda i, xs=xs, rs=rs: compiled(xs[i], rs[i]),
        }
        yield Case("add", f"f16 2^{power}", n, 6, calls, count)


def _shared() -> Iterator[Case]:
    for shape in ((64, 256, 56, 56), (64, 256, 32, 32)):
        x = torch.randn(shape, device=DEVICE, dtype=torch.float16)
        for label, memory in (("NCHW", torch.contiguous_format), ("NHWC", torch.channels_last)):
            xs = [x.to(memory_format=memory)]
            calls = {
                "ours": lambda i, xs=xs: functional.dropout(xs[i], 0.5, shared=(2, 3), key=KEY),
                "F.dropout2d": lambda i, xs=xs: peer.dropout2d(xs[i], 0.5),
            }
            yield Case("spatial", f"f16 {'x'.join(map(str, shape))} {label}", x.numel(), 4, calls)
        calls = {
            "ours": lambda i, xs=xs: functional.dropout(xs[i], 0.5, key=KEY),
            "F.dropout": lambda i, xs=xs: peer.dropout(xs[i], 0.5),
        }
        yield Case("elements", f"f16 {'x'.join(map(str, shape))} NHWC", x.numel(), 4, calls)
    tokens = tensors((64, 512, 768), torch.float16, 1)
    yield Case(
        "tokens",
        "f16 64x512x768, shared over tokens",
        tokens[0].numel(),
        4,
        {
            "ours": lambda i: functional.dropout(tokens[i], 0.5, shared=(1,), key=KEY),
            "copy": lambda i: tokens[i].clone(),
        },
    )


def _other_forms() -> Iterator[Case]:
    n = 1 << 26
    xs = tensors((n,), torch.float16, 1)
    for name, ours, theirs in (
        ("alpha", functional.alpha_dropout, peer.alpha_dropout),
        ("gaussian", functional.gaussian_dropout, lambda x, p, _: x * (1 + torch.randn_like(x))),
    ):
        calls = {
            "ours": lambda i, ours=ours: ours(xs[i], 0.5, True, key=KEY),
            "eager": lambda i, theirs=theirs: theirs(xs[i], 0.5, True),
        }
        yield Case(name, "f16 2^26", n, 4, calls)
    key, call = torch.tensor(KEY, device=DEVICE), torch.tensor(3, device=DEVICE)
    calls = {"ours": lambda i: functional.dropout(xs[i], 0.5, key=key, call=call)}
    yield Case("dropout", "f16 2^26, key and call on the device", n, 4, calls)


def cases() -> Iterator[Case]:
    """All cases of dropout."""
    with torch.no_grad():
        for family in (_elementwise, _add, _shared, _other_forms):
            for case in family():
                yield case
                torch.cuda.empty_cache()
