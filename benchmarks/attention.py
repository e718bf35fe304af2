"""Scaled dot-product attention with dropout, forward and backward, against PyTorch's with and without dropout.

    python benchmarks/attention.py [rounds]

The three are run in turn, so that a busy machine slows all of them; ratios are of medians and of minima.
Peak memory is that of a fresh process for each, above its memory before the first call.
"""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F

import thinned

SHAPE, P = (4, 8, 1024, 64), 0.1
CALLS: dict[str, Callable[..., torch.Tensor]] = {
    "ours, dropout 0.1": lambda *qkv: thinned.scaled_dot_product_attention(*qkv, dropout_p=P),
    "torch, dropout 0.1": lambda *qkv: F.scaled_dot_product_attention(*qkv, dropout_p=P),
    "torch, no dropout": F.scaled_dot_product_attention,
}


def operands() -> tuple[list[torch.Tensor], torch.Tensor]:
    torch.manual_seed(0)
    return [torch.randn(*SHAPE, requires_grad=True) for _ in range(3)], torch.randn(*SHAPE)


def measure(name: str, qkv: list[torch.Tensor], grad: torch.Tensor) -> tuple[float, float]:
    for tensor in qkv:
        tensor.grad = None
    start = time.perf_counter()
    out = CALLS[name](*qkv)
    middle = time.perf_counter()
    out.backward(grad)
    return middle - start, time.perf_counter() - middle


def peak(name: str) -> float:
    """MiB by which the process grew."""
    qkv, grad = operands()
    torch.mm(torch.ones(64, 64), torch.ones(64, 64))
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = _status("VmRSS")
    measure(name, qkv, grad)
    return (_status("VmHWM") - before) / 1024


def _status(field: str) -> int:
    """KiB, from Linux's account of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def main() -> None:
    if len(sys.argv) > 2:
        print(json.dumps(peak(sys.argv[2])))
        return
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    qkv, grad = operands()
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in CALLS}
    for name in CALLS:
        measure(name, qkv, grad)
    for _ in range(rounds):
        for name in CALLS:
            times[name].append(measure(name, qkv, grad))
    print(f"{SHAPE} float32, {torch.get_num_threads()} threads, {rounds} rounds")
    totals: dict[str, tuple[float, float]] = {}
    for name, pairs in times.items():
        sums = [a + b for a, b in pairs]
        totals[name] = statistics.median(sums), min(sums)
        child = subprocess.run([sys.executable, __file__, "0", name], capture_output=True, text=True, check=True)
        forward, backward = (statistics.median(part) * 1e3 for part in zip(*pairs, strict=True))
        print(
            f"{name:20s} forward {forward:6.1f} ms, backward {backward:6.1f} ms, total {totals[name][0] * 1e3:6.1f} ms "
            f"(best {totals[name][1] * 1e3:6.1f}), peak memory {float(child.stdout):6.1f} MiB"
        )
    ours = totals["ours, dropout 0.1"]
    for name in ("torch, dropout 0.1", "torch, no dropout"):
        print(f"ours / {name}: {ours[0] / totals[name][0]:.2f} (medians), {ours[1] / totals[name][1]:.2f} (best)")
    print(f"times faster than torch's dropout: {totals['torch, dropout 0.1'][0] / ours[0]:.2f}")


if __name__ == "__main__":
    main()
