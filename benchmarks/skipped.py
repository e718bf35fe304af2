"""Training with work that is dropped and not done, against masks and against no dropout: one step of each, in turn.

    python benchmarks/skipped.py [case ...] [--device cuda] [--dtype bfloat16] [--rounds 7]

Cases: vit, vit-linear, feed-forward, mlp, heads, attention. All forms of a case take turns in one process, so that a
busy machine slows all of them, and each row is a median of rounds, with its ratio to the form of the goal. On the CPU,
the ratio of processor time stands beside it. Peak memory is that of a GPU's allocator, or of a fresh process for each
form, above its memory before the first step.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

import thinned

Step = Callable[[], None]
MIB = 1 << 20


class Case(NamedTuple):
    """Forms that are compared, by name, and the goals: a form, the form it is compared with, and the highest ratio."""

    title: str
    forms: dict[str, Callable[[torch.device, torch.dtype], Step]]
    goals: tuple[tuple[str, str, float], ...]
    memory: tuple[str, str, float] | None = None


# --- vision transformer ----------------------------------------------------------------------------------------------


class Attention(nn.Module):
    """Self-attention of 6 heads without dropout."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows, length, width = x.shape
        q, k, v = self.qkv(x).view(rows, length, 3, 6, width // 6).permute(2, 0, 3, 1, 4)
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(rows, length, width))


class Masked(nn.Module):
    """``x + drop_path(branch(x))``."""

    def __init__(self, branch: nn.Module, p: float) -> None:
        super().__init__()
        self.branch, self.drop = branch, thinned.DropPath(p)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.drop(self.branch(x))


def vit(form: type[nn.Module], rates: list[float], device: torch.device, dtype: torch.dtype) -> Step:
    """A training step of blocks of ViT-S/16 on 32 images of 224 × 224, as 197 tokens of width 384."""
    torch.manual_seed(0)
    width = 384
    blocks = [
        nn.Sequential(
            form(nn.Sequential(nn.LayerNorm(width), Attention(width)), rate),
            form(
                nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)),
                rate,
            ),
        )
        for rate in rates
    ]
    model = nn.Sequential(*blocks, nn.LayerNorm(width)).to(device)
    thinned.address(model, seed=1)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    tokens = torch.randn(32, 197, width, device=device)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(device.type, dtype, enabled=dtype is not torch.float32):
            loss = model(tokens).square().mean()
        loss.backward()
        optimizer.step()

    return step


def vit_case(title: str, rates: list[float], time_goal: float, memory_goal: float | None) -> Case:
    forms = {
        "skipped": lambda *where: vit(thinned.StochasticDepth, rates, *where),
        "masked": lambda *where: vit(Masked, rates, *where),
    }
    memory = None if memory_goal is None else ("skipped", "masked", memory_goal)
    return Case(title, forms, (("skipped", "masked", time_goal),), memory)


# --- multilayer perceptrons ------------------------------------------------------------------------------------------


def feed_forward(model: nn.Module, device: torch.device, dtype: torch.dtype) -> Step:
    """Forward and backward of 512 rows."""
    model.to(device, dtype)
    x = torch.randn(512, 1024, device=device, dtype=dtype, requires_grad=True)
    grad = torch.randn_like(x)

    def step() -> None:
        model.zero_grad()
        model(x).backward(grad)

    return step


def mlp(
    drop: Callable[[float], nn.Module], form: type[nn.Sequential], device: torch.device, dtype: torch.dtype
) -> Step:
    """A step with dense Adam on 256 rows."""
    layers = [drop(0.2), nn.Linear(784, 2048), nn.ReLU(), drop(0.5), nn.Linear(2048, 2048), nn.ReLU(), drop(0.5)]
    model = form(*layers, nn.Linear(2048, 10)).to(device, dtype)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, fused=True)
    x = torch.randn(256, 784, device=device, dtype=dtype)
    y = torch.randint(10, (256,), device=device)

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(x).float(), y).backward()
        optimizer.step()

    return step


# --- attention heads -------------------------------------------------------------------------------------------------


def heads(p: float, device: torch.device, dtype: torch.dtype) -> Step:
    """Attention of 8 samples, 16 heads, 512 positions and 64 features, forward and backward, q, k and v given."""
    q, k, v = (torch.randn(8, 16, 512, 64, device=device, dtype=dtype, requires_grad=True) for _ in range(3))
    grad = torch.randn_like(q)

    def step() -> None:
        torch.autograd.grad(thinned.functional.drop_head_attention(q, k, v, p=p, training=p > 0), (q, k, v), grad)

    return step


def attention(layer: nn.Module, device: torch.device, dtype: torch.dtype) -> Step:
    """The whole layer of self-attention on 8 samples of 512 positions, forward and backward."""
    layer.to(device, dtype)
    x = torch.randn(8, 512, 1024, device=device, dtype=dtype, requires_grad=True)
    grad = torch.randn_like(x)

    def step() -> None:
        layer.zero_grad()
        layer(x, x, x, need_weights=False)[0].backward(grad)

    return step


def _none(_: float) -> nn.Module:
    return nn.Identity()


def _whole() -> nn.Module:
    return nn.Sequential(nn.Linear(1024, 4096), nn.GELU(), nn.Linear(4096, 1024))


CASES = {
    "vit": vit_case("ViT-S/16, 12 blocks, 32 images, p = 0.4, step", [0.4] * 12, 0.64, 0.72),
    "vit-linear": vit_case("the same, linear rule up to 0.2", [0.2 * i / 11 for i in range(12)], 0.92, None),
    "feed-forward": Case(
        "feed-forward 1024-4096-1024, 512 rows, p = 0.5, forward and backward",
        {
            "skipped": lambda *where: feed_forward(thinned.ThinnedFeedForward(1024, 4096, 0.5), *where),
            "no dropout": lambda *where: feed_forward(_whole(), *where),
        },
        (("skipped", "no dropout", 0.55),),
    ),
    "mlp": Case(
        "MLP 784-2048-2048-10, 256 rows, p = 0.2 and 0.5, step with Adam",
        {
            "skipped": lambda *where: mlp(thinned.BatchDropout, thinned.ThinnedMLP, *where),
            "one mask, masked": lambda *where: mlp(thinned.BatchDropout, nn.Sequential, *where),
            "torch, element-wise": lambda *where: mlp(nn.Dropout, nn.Sequential, *where),
            "no dropout": lambda *where: mlp(_none, nn.Sequential, *where),
        },
        (("skipped", "no dropout", 0.45), ("skipped", "torch, element-wise", 0.3)),
    ),
    "heads": Case(
        "DropHead p = 0.5 on (8, 16 heads, 512, 64), queries, keys and values given, forward and backward",
        {"skipped": lambda *where: heads(0.5, *where), "no dropout": lambda *where: heads(0.0, *where)},
        (("skipped", "no dropout", 0.7),),
    ),
    "attention": Case(
        "the same with its projections, 8 x 512 positions of width 1024",
        {
            "skipped": lambda *where: attention(thinned.ThinnedAttention(1024, 16, 0.5, batch_first=True), *where),
            "no dropout": lambda *where: attention(nn.MultiheadAttention(1024, 16, batch_first=True), *where),
        },
        (("skipped", "no dropout", 0.7),),
    ),
}


class Seconds(NamedTuple):
    """The median time of a step: by the clock, and of all processors, which other programs do not change much."""

    wall: float
    processor: float


def seconds(steps: dict[str, Step], device: torch.device, rounds: int) -> dict[str, Seconds]:
    """The median time of a step of each form, the forms in turn."""
    times: dict[str, list[Seconds]] = {name: [] for name in steps}
    warm = 25 if device.type == "cuda" else 1  # a GPU's allocator has to see the sizes, which differ from step to step
    for number in range(warm + rounds):
        for name, step in steps.items():
            _wait(device)
            start, used = time.perf_counter(), time.process_time()
            step()
            _wait(device)
            if number >= warm:
                times[name].append(Seconds(time.perf_counter() - start, time.process_time() - used))
    return {name: Seconds(*map(statistics.median, zip(*values, strict=True))) for name, values in times.items()}


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak(case: str, form: str, device: torch.device, dtype: torch.dtype) -> float:
    """MiB that two steps need above what there was before the model."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        step = CASES[case].forms[form](device, dtype)
        step()
        step()
        return (torch.cuda.max_memory_allocated(device) - before) / MIB
    step = CASES[case].forms[form](device, dtype)
    torch.mm(torch.ones(64, 64), torch.ones(64, 64))
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = _status("VmRSS")
    step()
    step()
    return (_status("VmHWM") - before) / 1024


def _status(field: str) -> int:
    """KiB, from Linux's account of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def peaks(name: str, forms: tuple[str, ...], options: argparse.Namespace) -> dict[str, float]:
    """The peak memory of forms: on the CPU, of a fresh process each."""
    if options.device == "cuda":
        return {form: peak(name, form, torch.device("cuda"), getattr(torch, options.dtype)) for form in forms}
    command = [sys.executable, __file__, name, "--dtype", options.dtype, "--peak-of"]
    return {form: json.loads(subprocess.check_output([*command, form])) for form in forms}


def report(name: str, options: argparse.Namespace) -> None:
    """Print the rows of a case."""
    case, device, dtype = CASES[name], torch.device(options.device), getattr(torch, options.dtype)
    medians = seconds({form: make(device, dtype) for form, make in case.forms.items()}, device, options.rounds)
    print(f"{case.title}")
    print("  " + ", ".join(f"{form} {1e3 * value.wall:.1f} ms" for form, value in medians.items()))
    for form, other, goal in case.goals:
        ratio, used = (a / b for a, b in zip(medians[form], medians[other], strict=True))
        processor = "" if device.type == "cuda" else f", of processor time {used:.3f} x"
        print(f"  {form} / {other}: {ratio:.3f} x (goal {goal}){processor}", flush=True)
    if case.memory is not None and not options.no_memory:
        form, other, goal = case.memory
        memory = peaks(name, (form, other), options)
        sizes = ", ".join(f"{key} {value:.0f} MiB" for key, value in memory.items())
        print(f"  peak memory: {sizes}: {memory[form] / memory[other]:.3f} x (goal {goal})")
    sys.stdout.flush()


def main() -> None:
    """Run the cases that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="case", help=", ".join(CASES))
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--no-memory", action="store_true", help="times only")
    parser.add_argument("--peak-of", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if unknown := set(options.cases) - set(CASES):
        parser.error(f"no case {min(unknown)}; cases are {', '.join(CASES)}")
    if options.peak_of:
        print(json.dumps(peak(options.cases[0], options.peak_of, torch.device("cpu"), getattr(torch, options.dtype))))
        return
    where = torch.cuda.get_device_name() if options.device == "cuda" else f"{torch.get_num_threads()} threads"
    print(f"torch {torch.__version__}, {where}, {options.dtype}")
    for name in options.cases or CASES:
        report(name, options)


if __name__ == "__main__":
    main()
