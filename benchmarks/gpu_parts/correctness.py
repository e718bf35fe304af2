"""Checks on the device, before anything is timed: masks and forms, bit for bit."""

import numpy as np
import torch

from thinned import functional, philox

__all__ = ["check"]

DEVICE = "cuda"
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
KEY = 0x923456789ABCDEF0


def same(name: str, out: torch.Tensor, expected: torch.Tensor) -> None:
    out = out.cpu()
    if out.dtype is torch.bool:
        out, expected = out.float(), expected.float()
    equal = out.dtype == expected.dtype and out.shape == expected.shape
    nan = expected.isnan()
    equal = equal and torch.equal(out.isnan(), nan) and torch.equal(out[~nan], expected[~nan])
    equal = equal and torch.equal(out.signbit()[~nan], expected.signbit()[~nan])
    if not equal:
        different = (out[~nan] != expected[~nan]).sum().item() if out.shape == expected.shape else -1
        raise SystemExit(f"WRONG on the device: {name}; {different} elements of {out.numel()} differ")


def _values(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    x = torch.randn(shape)
    x.view(-1)[:6] = torch.tensor([0.0, -0.0, float("inf"), -float("inf"), float("nan"), torch.finfo(dtype).tiny / 8])
    return x.to(dtype)


def masks() -> None:
    for n, start in ((1, 0), (1000, 0), (1 << 20, 0), (5000, 2**32 - 77), (5000, 2**35 - 1001), (5000, 2**39)):
        expected = torch.from_numpy(philox.keep(np.arange(n, dtype=np.uint64) + np.uint64(start), 0.4, KEY, 2**33))
        for dtype in DTYPES:
            x = torch.ones(n, dtype=dtype, device=DEVICE)
            out = functional.dropout(x, 0.4, key=KEY, call=2**33, within=((2**40,), (start,)))
            same(f"mask of {n} {dtype} from {start}", out != 0, expected)


def forms() -> None:
    functions = (functional.dropout, functional.alpha_dropout, functional.gaussian_dropout)
    layouts = {
        "contiguous": ((1 << 18,), lambda x: x),
        "odd size": ((100_003,), lambda x: x),
        "channels last": ((4, 40, 16, 20), lambda x: x.to(memory_format=torch.channels_last)),
        "transposed": ((300, 200), lambda x: x.t()),
        "slice": ((300, 200), lambda x: x[7:250:2, 3:190]),
    }
    for layout, (shape, change) in layouts.items():
        # every kernel is compiled for each dtype and layout: all dtypes, and all forms, in some layouts alone
        for dtype in DTYPES if layout == "contiguous" else (torch.float16,):
            x = change(_values(shape, dtype))
            for function in functions if layout in {"contiguous", "transposed"} else functions[:1]:
                for shared in ((), tuple(range(1, x.ndim))) if x.ndim > 1 else ((),):
                    expected = function(x, 0.3, True, key=KEY, call=5, shared=shared)
                    out = function(x.to(DEVICE), 0.3, True, key=KEY, call=5, shared=shared)
                    same(f"{function.__name__} {dtype} {layout} shared={shared}", out, expected)
            residual = torch.randn(x.shape).to(dtype)
            out = functional.dropout_add(x.to(DEVICE), residual.to(DEVICE), 0.3, key=KEY)
            same(f"dropout_add {dtype} {layout}", out, functional.dropout_add(x, residual, 0.3, key=KEY))
    key, p = torch.tensor([7, -1, 1 << 62]), torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
    x = torch.randn(3, 1000)
    for function in functions[:2]:
        out = function(x.to(DEVICE), p.to(DEVICE), True, key=key.to(DEVICE))
        same(f"members, {function.__name__}", out, function(x, p, True, key=key))


def large() -> None:
    """More than 2^31 elements: the last ones are those of their own indices."""
    n = 2**31 + 4096
    x = torch.ones(n, dtype=torch.float16, device=DEVICE)
    functional.dropout(x, 0.5, inplace=True, key=KEY)
    last = np.arange(n - 5000, n, dtype=np.uint64)
    same("2^31 + 4096 elements", x[-5000:] != 0, torch.from_numpy(philox.keep(last, 0.5, KEY)))
    same("the first of them", x[:5000] != 0, torch.from_numpy(philox.keep(np.arange(5000), 0.5, KEY)))


def graphs() -> None:
    """A captured call takes key, call and rate from the device at each replay."""
    x = torch.ones(10_000, device=DEVICE)
    key, call = torch.tensor(11, device=DEVICE), torch.tensor(0, device=DEVICE)
    rate = torch.tensor(0.5, dtype=torch.float64, device=DEVICE)
    for _ in range(2):
        functional.dropout(x, rate, key=key, call=call)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = functional.dropout(x, rate, key=key, call=call)
        call += 1
    for number in range(3):
        rate.fill_(0.5 - 0.1 * number)
        graph.replay()
        expected = functional.dropout(torch.ones(10_000), 0.5 - 0.1 * number, key=11, call=number)
        same(f"CUDA graph, call {number}", out, expected)


def compiled() -> None:
    x = torch.randn(5000)
    function = torch.compile(lambda v: functional.dropout(v.cos(), 0.3, key=5, call=6) * 2, fullgraph=True)
    out = function(x.to(DEVICE))
    expected = functional.dropout(torch.ones(5000), 0.3, key=5, call=6)
    same("mask under torch.compile", out != 0, expected != 0)


def check() -> None:
    """Run all checks; the first that fails ends the script."""
    for function in (masks, forms, large, graphs, compiled):
        function()
        torch.cuda.empty_cache()
    print("correct on the device: masks, forms, layouts, members, 2^31 + 4096 elements, CUDA graphs, torch.compile")
