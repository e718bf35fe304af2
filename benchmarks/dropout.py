"""Dropout against PyTorch's, every row of the table in docs/kernels.md.

    python benchmarks/dropout.py [--threads 1,2] [--rounds 15] [--cpu-time] [ROW ...]

Each figure is the median over rounds in which ours and the peer take turns; before each timed call comes an untimed one
of the same function, so that both find the caches as they left them themselves. Ratios are to the peer in the same run.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch
import torch.nn.functional as peer

from thinned import functional
from thinned.kernels import native

Call = Callable[[], object]
KI, MI = 1 << 10, 1 << 20


def medians(calls: dict[str, Call], rounds: int, repeats: int, clock: Callable[[], float]) -> dict[str, float]:
    """Seconds of one call of each; the mean of `repeats` calls is one observation."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            call()
            start = clock()
            for _ in range(repeats):
                call()
            seconds[name].append((clock() - start) / repeats)
    return {name: statistics.median(values) for name, values in seconds.items()}


class Table:
    """Prints a line for each comparison: what, goal, measured."""

    def __init__(self, rounds: int, threads: int, clock: Callable[[], float]) -> None:
        self.rounds, self.threads, self.clock = rounds, threads, clock

    def row(self, what: str, n: int, calls: dict[str, Call], goals: dict[str, str]) -> None:
        """`calls` begins with ours; each goal is about the peer of its name."""
        repeats = max(1, min(200, (1 << 21) // max(n, 1)))
        rounds = max(5, self.rounds if n < 8 * MI else self.rounds // 2)
        seconds = medians(calls, rounds, repeats, self.clock)
        ours, *peers = calls
        cells = [f"{seconds[ours] / n * 1e9:7.3f} ns/element"]
        for name in peers:
            ratio = seconds[ours] / seconds[name]
            shown = f"{1 / ratio:5.1f} x faster than" if goals[name].startswith("≥") else f"{ratio:5.2f} x"
            cells.append(f"{shown} {name} (goal {goals[name]})")
        print(f"{self.threads} thread{'s' * (self.threads > 1)} | {what:34s} | {' | '.join(cells)}", flush=True)


def forward(table: Table) -> None:
    for n, label in (
        (64 * KI, "64 Ki"),
        (256 * KI, "256 Ki"),
        (MI, "1 Mi"),
        (4 * MI, "4 Mi"),
        (16 * MI, "16 Mi"),
        (64 * MI, "64 Mi"),
    ):
        x = torch.randn(n)
        for p in (0.1, 0.5):
            table.row(
                f"f32 forward {label}, p = {p}",
                n,
                {"ours": lambda x=x, p=p: functional.dropout(x, p), "torch.mul": lambda x=x: torch.mul(x, 2.0)},
                {"torch.mul": "≤ 1.25"},
            )
        if n in (MI, 64 * MI):
            table.row(
                f"f32 forward {label}",
                n,
                {"ours": lambda x=x: functional.dropout(x, 0.5), "F.dropout": lambda x=x: peer.dropout(x, 0.5)},
                {"F.dropout": "≥ 35" if n == MI else "≥ 12"},
            )


def in_place(table: Table) -> None:
    x = torch.zeros(64 * MI)
    table.row(
        "f32 in place 64 Mi",
        x.numel(),
        {"ours": lambda: functional.dropout(x, 0.5, inplace=True), "mul_": lambda: x.mul_(2.0)},
        {"mul_": "≤ 1.15"},
    )


def half(table: Table) -> None:
    for dtype in (torch.bfloat16, torch.float16):
        x = torch.randn(MI).to(dtype)
        table.row(
            f"{str(dtype)[6:]} forward 1 Mi",
            MI,
            {"ours": lambda x=x: functional.dropout(x, 0.5), "F.dropout": lambda x=x: peer.dropout(x, 0.5)},
            {"F.dropout": "≥ 25"},
        )


def backward(table: Table) -> None:
    for n, label in ((MI, "1 Mi"), (16 * MI, "16 Mi")):
        x, grad = torch.randn(n, requires_grad=True), torch.randn(n)

        def both(function: Callable[..., torch.Tensor], x: torch.Tensor = x, grad: torch.Tensor = grad) -> None:
            torch.autograd.grad(function(x, 0.5), x, grad)

        table.row(
            f"f32 forward + backward {label}",
            n,
            {"ours": lambda both=both: both(functional.dropout), "F.dropout": lambda both=both: both(peer.dropout)},
            {"F.dropout": "≥ 20"},
        )
    saved: list[int] = []
    x = torch.randn(KI, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t.nbytes), lambda _: torch.empty(0)):
        functional.dropout(x, 0.5)
        ours = sum(saved)
        peer.dropout(x, 0.5)
    print(f"bytes saved for backward by 1,024 elements: ours {ours}, F.dropout {sum(saved) - ours} (goal 0)")


def small(table: Table) -> None:
    x, grad = torch.randn(KI, requires_grad=True), torch.randn(KI)
    table.row(
        "1,024 elements forward, autograd",
        KI,
        {"ours": lambda: functional.dropout(x, 0.5), "F.dropout": lambda: peer.dropout(x, 0.5)},
        {"F.dropout": "≥ 1"},
    )
    table.row(
        "1,024 elements forward + backward",
        KI,
        {
            "ours": lambda: torch.autograd.grad(functional.dropout(x, 0.5), x, grad),
            "F.dropout": lambda: torch.autograd.grad(peer.dropout(x, 0.5), x, grad),
        },
        {"F.dropout": "≥ 1"},
    )


def add(table: Table) -> None:
    x, residual = torch.randn(16 * MI), torch.randn(16 * MI)
    table.row(
        "dropout_add 16 Mi",
        x.numel(),
        {
            "ours": lambda: functional.dropout_add(x, residual, 0.5),
            "r + F.dropout": lambda: residual + peer.dropout(x, 0.5),
            "torch.add": lambda: torch.add(residual, x),
        },
        {"r + F.dropout": "≥ 12", "torch.add": "≤ 1.2"},
    )


def spatial(table: Table) -> None:
    dense = torch.randn(64, 256, 32, 32)
    for label, x in (("NCHW", dense), ("channels-last", dense.to(memory_format=torch.channels_last))):
        table.row(
            f"Dropout2d 64x256x32x32 {label}",
            x.numel(),
            {
                "ours": lambda x=x: functional.dropout(x, 0.5, shared=(2, 3)),
                "F.dropout2d": lambda x=x: peer.dropout2d(x, 0.5),
            },
            {"F.dropout2d": "≤ 1"},
        )
        table.row(
            f"elementwise 64x256x32x32 {label}",
            x.numel(),
            {"ours": lambda x=x: functional.dropout(x, 0.5), "torch.mul": lambda x=x: torch.mul(x, 2.0)},
            {"torch.mul": "≤ 1.25"},
        )
    small = torch.randn(1024, 1024)
    table.row(
        "elementwise 1024x1024 transposed",
        small.numel(),
        {"ours": lambda: functional.dropout(small.t(), 0.5), "row-major": lambda: functional.dropout(small, 0.5)},
        {"row-major": "≤ 1"},
    )


def avx2(table: Table) -> None:
    x, chosen = torch.randn(MI), native.isa()
    try:
        native.use_isa("avx2")
    except ValueError as error:
        print(f"AVX2 row left out: {error}")
        return
    table.row(
        "f32 forward 1 Mi, AVX2",
        MI,
        {"ours": lambda: functional.dropout(x, 0.5), "F.dropout": lambda: peer.dropout(x, 0.5)},
        {"F.dropout": "≥ 20"},
    )
    native.use_isa(chosen)


def cohort(table: Table) -> None:
    x, keys = torch.randn(64, 128, 64), torch.arange(64) * 12345
    rates = torch.linspace(0.05, 0.9, 64, dtype=torch.float64)

    def member(x: torch.Tensor, p: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        return functional.dropout(x, p, key=key)

    mapped, mapped_mul = torch.func.vmap(member), torch.func.vmap(lambda x, *_: torch.mul(x, 2.0))
    table.row(
        "cohort of 64 x (128, 64)",
        x.numel(),
        {"ours": lambda: functional.dropout(x, rates, key=keys), "torch.mul": lambda: torch.mul(x, 2.0)},
        {"torch.mul": "≤ 1.5"},
    )
    table.row(
        "the same under vmap",
        x.numel(),
        {"ours": lambda: mapped(x, rates, keys), "torch.mul under vmap": lambda: mapped_mul(x, rates, keys)},
        {"torch.mul under vmap": "≤ 1.5"},
    )


def scaling(table: Table) -> None:
    if table.threads != 1 or table.clock is not time.perf_counter:
        return
    x, out = torch.randn(16 * MI), torch.empty(16 * MI)

    def on(threads: int, call: Call) -> Call:
        def run() -> None:
            torch.set_num_threads(threads)
            call()

        return run

    def dropout() -> None:
        native.dropout(x, address, out=out)

    address = native.Address.from_rate(0.5, 7, 0)
    calls = {
        "ours, 2 threads": on(2, dropout),
        "ours, 1 thread": on(1, dropout),
        "copy_, 2 threads": on(2, lambda: out.copy_(x)),
    }
    table.row(
        "2 threads, 16 Mi, into memory in use", x.numel(), calls, {"ours, 1 thread": "≥ 1.6", "copy_, 2 threads": "≤ 1"}
    )
    torch.set_num_threads(table.threads)


def importing(_: Table) -> None:
    code = "import torch, time; s = time.perf_counter(); import thinned; print(time.perf_counter() - s)"
    seconds = [float(subprocess.check_output([sys.executable, "-c", code])) for _ in range(5)]
    print(f"import thinned beyond import torch: {statistics.median(seconds) * 1000:.0f} ms (goal ≤ 100)")


ROWS = {
    function.__name__: function
    for function in (forward, in_place, half, backward, small, add, spatial, avx2, cohort, scaling, importing)
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(ROWS)}; all without one")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument(
        "--cpu-time",
        action="store_true",
        help="CPU time of the calling thread instead of elapsed time: 1 thread, busy machine",
    )
    options = parser.parse_args()
    if options.cpu_time and options.threads != "1":
        parser.error("--cpu-time needs --threads 1: it sees the calling thread alone")
    clock = time.thread_time if options.cpu_time else time.perf_counter
    print(f"torch {torch.__version__}, instruction set {native.isa()}")
    for threads in map(int, options.threads.split(",")):
        torch.set_num_threads(threads)
        for name in options.rows or ROWS:
            if threads == 1 or name != "importing":
                ROWS[name](Table(options.rounds, threads, clock))


if __name__ == "__main__":
    main()
