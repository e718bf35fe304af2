"""Attention with dropout on a GPU: the mask and its gradients checked, then device times against PyTorch's.

    python benchmarks/gpu_attention.py [--candidates] [--quick]

The peer is ``F.scaled_dot_product_attention`` with dropout by its flash kernel. Times are medians of CUDA graphs that
are replayed in turn. ``--candidates`` also times other sizes of tiles; ``--quick`` leaves bfloat16 out. Kernels are
compiled by processes of their own beforehand.
"""

import argparse
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

import thinned
from thinned import philox
from thinned.kernels.address import Address
from thinned.kernels.attention import AttentionProblem
from thinned.kernels.triton.attention import attention_backward, attention_forward
from thinned.kernels.triton.attention.blocks import Blocks, Tile, choose_blocks

P, KEY, CALL = 0.1, 0x9E3779B97F4A7C15, (1 << 40) + 3
BATCH, HEADS, LENGTH = 8, 16, 2048
DTYPES = {"f16": torch.float16, "bf16": torch.bfloat16, "f32": torch.float32}
CANDIDATES = {  # of each kernel, in 16 bits, by the size of a head
    64: {
        "forward": [(64, 64, 4, 3), (64, 64, 4, 3, 128), (128, 128, 8, 3)],
        "key_value": [(64, 64, 4, 1, 168), (64, 64, 4, 1, 208), (64, 64, 4, 2, 208), (128, 64, 8, 1, 128)],
        "query": [(64, 64, 4, 3), (128, 64, 8, 3, 128)],
    },
    128: {
        "forward": [(128, 64, 8, 2), (64, 64, 4, 3)],
        "key_value": [(64, 64, 4, 1), (64, 64, 4, 2), (128, 64, 8, 1)],
        "query": [(64, 64, 4, 3), (128, 64, 8, 2)],
    },
}


class Case(NamedTuple):
    """A problem to time."""

    dtype: str
    size: int
    causal: bool
    length: int = LENGTH

    def operands(self) -> tuple[torch.Tensor, ...]:
        """Query, key, value and the gradient of the output."""
        torch.manual_seed(0)
        shape = BATCH, HEADS, self.length, self.size
        return tuple(torch.randn(shape, device="cuda").to(DTYPES[self.dtype]) for _ in range(4))

    def problem(self) -> tuple[AttentionProblem, torch.Tensor]:
        """The problem with key and call on the device, and the gradient of the output."""
        q, k, v, grad = self.operands()
        key, call = (torch.tensor(number, device="cuda") for number in (KEY - (1 << 64), CALL))
        address = Address(key, call, philox.threshold(P))
        return AttentionProblem(q, k, v, None, address, 1 / math.sqrt(self.size), self.causal), grad


def reference(problem: AttentionProblem, grad: torch.Tensor) -> list[torch.Tensor]:
    """Output and gradients in float64, with the mask of the specification."""
    q, k, v = (t.detach().cpu().double().requires_grad_() for t in problem[:3])
    keys, values = (t.repeat_interleave(q.shape[-3] // t.shape[-3], -3) for t in (k, v))
    scores = q @ keys.mT * problem.scale
    mask = torch.ones(scores.shape[-2:], dtype=torch.bool).tril() if problem.causal else problem.mask
    if mask is not None:
        mask = mask.cpu()
        scores = scores.masked_fill(~mask, -math.inf) if mask.dtype == torch.bool else scores + mask.double()
    hidden = (scores == -math.inf).all(-1, keepdim=True)
    weights = scores.masked_fill(hidden, 0).softmax(-1).masked_fill(hidden, 0)
    kept = torch.from_numpy(philox.keep(np.arange(weights.numel()).reshape(weights.shape), P, KEY, CALL))
    out = torch.where(kept, weights * philox.scale(P), 0.0) @ values
    return [out, *torch.autograd.grad(out, (q, k, v), grad.cpu().double())]


def check_function() -> str:
    """The function takes the kernels, and its numbers are theirs."""
    case = Case("f16", 64, True)
    problem, grad = case.problem()
    out, lse = attention_forward(problem)
    wanted = attention_backward(grad, out, lse, problem)
    results = through_function(case)()
    equal = all(torch.equal(a, b) for a, b in zip(results, wanted, strict=True))
    return f"{'right' if equal else 'WRONG'}: gradients through the function"


def check(dtype: str, query: tuple[int, ...], key: tuple[int, ...], mask: str, causal: bool) -> str:
    """Compare a small problem with the reference; a wrong decision would differ by a whole weight."""
    torch.manual_seed(1)
    q, k, v, grad = (torch.randn(shape).to("cuda", DTYPES[dtype]) for shape in (query, key, key, query))
    size = query[-2], key[-2]
    masks = {"none": None, "bool": torch.rand(size) > 0.3, "float": torch.randn(size)}
    given = masks[mask]
    if given is not None and given.dtype == torch.bool:
        given[3] = False  # a query that sees no key
    given = None if given is None else given.cuda()
    address = Address(torch.tensor(KEY - (1 << 64), device="cuda"), CALL, philox.threshold(P))
    problem = AttentionProblem(q, k, v, given, address, 1 / math.sqrt(query[-1]), causal)
    out, lse = attention_forward(problem)
    results = [out, *attention_backward(grad, out, lse, problem)]
    budget = {"f16": 2.0**-9, "bf16": 2.0**-6, "f32": 2.0**-18}[dtype]
    errors = [
        float((a.cpu().double() - b).abs().max() / b.abs().max())
        for a, b in zip(results, reference(problem, grad), strict=True)
    ]
    said = "right" if max(errors) <= budget else "WRONG"
    return f"{said}: {dtype} {query} {key} mask={mask} causal={causal}: relative errors " + ", ".join(
        f"{error:.1e}" for error in errors
    )


CHECKS = (
    ("f16", (2, 4, 256, 64), (2, 4, 256, 64), "none", False),
    ("f16", (2, 4, 256, 64), (2, 2, 256, 64), "none", True),
    ("bf16", (1, 4, 300, 128), (1, 1, 384, 128), "none", True),
    ("f16", (1, 2, 200, 128), (1, 2, 333, 128), "bool", False),
    ("f16", (1, 2, 200, 48), (1, 2, 333, 48), "float", False),
    ("f32", (1, 2, 200, 64), (1, 2, 200, 64), "none", True),
)


def graph(run: Callable[[], object]) -> torch.cuda.CUDAGraph:
    """Capture a call."""
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        run()
    torch.cuda.synchronize()
    captured = torch.cuda.CUDAGraph()
    with torch.cuda.graph(captured):
        run()
    return captured


def milliseconds(graphs: dict[str, torch.cuda.CUDAGraph], rounds: int = 15) -> dict[str, float]:
    """The median device time of each graph; they are replayed in turn."""
    times: dict[str, list[float]] = {name: [] for name in graphs}
    for number in range(rounds + 2):
        for name, captured in graphs.items():
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            captured.replay()
            end.record()
            end.synchronize()
            if number >= 2:
                times[name].append(start.elapsed_time(end))
    return {name: statistics.median(values) for name, values in times.items()}


def ours(case: Case, blocks: Blocks | None = None) -> dict[str, Callable[[], object]]:
    """The calls to time, of our kernels."""
    problem, grad = case.problem()
    out, lse = attention_forward(problem, blocks)

    def both() -> object:
        out, lse = attention_forward(problem, blocks)
        return attention_backward(grad, out, lse, problem, blocks)

    return {
        "forward": lambda: attention_forward(problem, blocks),
        "backward": lambda: attention_backward(grad, out, lse, problem, blocks),
        "both": both,
    }


def through_function(case: Case) -> Callable[[], object]:
    """Forward and backward as a user calls them."""
    problem, grad = case.problem()
    operands = [t.requires_grad_() for t in problem[:3]]
    address = {"dropout_key": problem.address.key, "dropout_call": problem.address.call}

    def both() -> object:
        out = thinned.scaled_dot_product_attention(*operands, dropout_p=P, is_causal=case.causal, **address)
        return torch.autograd.grad(out, operands, grad)

    return both


def theirs(case: Case, p: float) -> dict[str, Callable[[], object]]:
    """The calls to time, of PyTorch's flash kernel."""
    *operands, grad = case.operands()

    def forward() -> torch.Tensor:
        with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
            return F.scaled_dot_product_attention(*operands, dropout_p=p, is_causal=case.causal)

    def both() -> object:
        for tensor in operands:
            tensor.requires_grad_()
        return torch.autograd.grad(forward(), operands, grad)

    def without_gradient() -> object:
        with torch.no_grad():
            return forward()

    return {"forward": without_gradient, "both": both}


def peak(run: Callable[[], object]) -> float:
    """MiB that a call needs beyond what there was before."""
    run()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    result = run()
    torch.cuda.synchronize()
    del result
    return (torch.cuda.max_memory_allocated() - before) / 2**20


def compare(case: Case) -> None:
    """Print the times of one problem beside PyTorch's."""
    mine, flash, plain = ours(case), theirs(case, P), theirs(case, 0.0)
    for name in ("forward", "both"):
        calls = {"ours": mine[name], "flash": flash[name], "flash, no dropout": plain[name]}
        if name == "both":
            calls["function"] = through_function(case)
        times = milliseconds({label: graph(call) for label, call in calls.items()})
        label = f"{case.dtype:4s} d={case.size:3d} length={case.length} causal={case.causal!s:5s} {name:7s}"
        print(
            f"{label} ours {times['ours']:7.3f} ms, flash with dropout {times['flash']:7.3f}, "
            f"without {times['flash, no dropout']:7.3f}; ours / first {times['ours'] / times['flash']:.2f}; "
            f"peak {peak(mine[name]):.0f} and {peak(flash[name]):.0f} MiB"
            + (f"; through the function {times['function']:.3f} ms" if name == "both" else ""),
            flush=True,
        )


def candidates(size: int) -> Iterator[tuple[str, Tile, Blocks]]:
    """Each other tile of a kernel, with those chosen for the other kernels."""
    like = torch.empty(1, 1, size, device="cuda", dtype=torch.float16)
    chosen = choose_blocks(like, like)
    for kernel, tile in zip(Blocks._fields, chosen, strict=True):
        for other in (tile, *(Tile(*numbers) for numbers in CANDIDATES[size][kernel])):
            yield kernel, other, chosen._replace(**{kernel: other})


def try_candidates(size: int) -> None:
    """Print the times of other tiles; the first of each kernel is the chosen one."""
    case = Case("f16", size, False)
    for kernel, tile, blocks in candidates(size):
        name = "forward" if kernel == "forward" else "backward"
        try:
            calls = ours(case, blocks)
            elapsed = milliseconds({name: graph(calls[name])}, 7)[name]
        except Exception as error:  # noqa: BLE001 - a tile that does not fit, in Triton's or CUDA's words
            print(f"d={size} {kernel} {tuple(tile)}: {type(error).__name__} {str(error)[:80]}", flush=True)
            continue
        print(f"d={size} {kernel} {tuple(tile)}: {name} {elapsed:.3f} ms", flush=True)


@contextmanager
def stated(what: str) -> Iterator[None]:
    """Print how long something took."""
    start = time.perf_counter()
    yield
    print(f"[{what}: {time.perf_counter() - start:.0f} s]", flush=True)


def warm(words: list[str]) -> None:
    """Compile what a job needs: ``case DTYPE SIZE CAUSAL LENGTH``, ``tile SIZE NUMBER`` or ``check NUMBER``."""
    if words[0] == "check":
        check(*CHECKS[int(words[1])])
    elif words[0] == "case":
        ours(Case(words[1], int(words[2]), words[3] == "True", int(words[4])))["backward"]()
    else:
        kernel, _, blocks = list(candidates(int(words[1])))[int(words[2])]
        calls = ours(Case("f16", int(words[1]), False), blocks)
        if kernel != "forward":
            calls["backward"]()
    torch.cuda.synchronize()


def compile_all(cases: list[Case], with_candidates: bool) -> None:
    """Fill Triton's cache by processes of their own."""
    jobs = [["check", str(number)] for number in range(len(CHECKS))]
    jobs += [["case", case.dtype, str(case.size), str(case.causal), str(case.length)] for case in cases]
    if with_candidates:
        jobs += [["tile", str(size), str(n)] for size in CANDIDATES for n in range(len(list(candidates(size))))]

    def run(job: list[str]) -> None:
        subprocess.run([sys.executable, __file__, "--warm", *job], check=False, capture_output=True)

    with ThreadPoolExecutor(min(12, os.cpu_count() or 1)) as pool:
        list(pool.map(run, jobs))


def main(with_candidates: bool = False, quick: bool = False) -> None:
    """Check, then time."""
    cases = [Case(t, d, c) for t in (("f16",) if quick else ("f16", "bf16")) for d in (64, 128) for c in (False, True)]
    cases += [Case("f16", d, False, 2000) for d in (64, 128)]  # not a multiple of 128: rows begin within groups
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, ({BATCH}, {HEADS}, {LENGTH}, d), dropout {P}")
    with stated("compiling"):
        compile_all(cases, with_candidates)
    with stated("checks"):
        for arguments in CHECKS:
            print(check(*arguments), flush=True)
        print(check_function(), flush=True)
    with stated("times"):
        for case in cases:
            compare(case)
    if with_candidates:
        with stated("candidates"):
            for size in CANDIDATES:
                try_candidates(size)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--candidates", action="store_true", help="time other sizes of tiles, too")
    parser.add_argument("--quick", action="store_true", help="leave bfloat16 out")
    parser.add_argument("--warm", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("benchmarks/gpu_attention.py needs a GPU that torch sees, and there is none here.")
    elif options.warm:
        warm(options.warm)
    else:
        main(options.candidates, options.quick)
