"""Audit real models of other libraries, small and with random weights, and print every ERROR finding.

    pip install transformers monai timm torchvision segmentation-models-pytorch open-clip-torch torch-geometric vit-pytorch
    python benchmarks/audit.py [--libraries timm,monai] [--limit N] [--out runs/audit.jsonl]
    python benchmarks/audit.py --table runs/audit.jsonl   # prints the summary and the ERROR findings

Dropout rates are set above 0 where a library has them at 0. Measured for each model: whether the audit raised; whether
state, flags, hooks and generators are bitwise what they were; processor seconds against one plain forward and
backward; and, for one model in ten, the peak memory of tensors against that of a plain forward.
"""

# ruff: noqa: E501 - long lines of a table

import argparse
import hashlib
import json
import signal
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from audit_models import LIBRARIES, Build, check_size
from torch import nn

import thinned
from thinned.tracing.tensor_map import output_tensors

SECONDS = 60  # of processor time: limit for one model with its audits
SLOW = 1.0  # seconds of a forward and backward


def digest(model: nn.Module) -> str:
    """Digest of everything that an audit must leave as it is."""
    value = hashlib.blake2b()
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        value.update(name.encode())
        value.update(
            tensor.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes() if tensor.numel() else b""
        )
    for name, module in model.named_modules():
        hooks = [len(getattr(module, kind)) for kind in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")]
        value.update(f"{name}{module.training}{hooks}{sorted(vars(module))}".encode())
    value.update(torch.get_rng_state().numpy().tobytes())
    value.update(np.random.get_state()[1].tobytes())  # noqa: NPY002
    return value.hexdigest()


def loss_of(output: Any) -> torch.Tensor | None:
    terms = [t.float().sum() for t in output_tensors(output) if t.requires_grad and t.is_floating_point()]
    return sum(terms) if terms else None


def plain_step(model: nn.Module, args: Any, kwargs: Any) -> float:
    start = time.process_time()
    loss = loss_of(model(*args, **kwargs))
    if loss is not None:
        loss.backward()
    model.zero_grad(set_to_none=True)
    return time.process_time() - start


def peak_of(run: Callable[[], Any]) -> int:
    """Peak of the bytes that tensors made in ``run`` hold."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        run()
    current = peak = 0
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            current += event.nbytes()
            peak = max(peak, current)
    return peak


def examine(library: str, name: str, build: Build, number: int) -> dict[str, Any]:
    row: dict[str, Any] = {"library": library, "model": name}
    try:
        torch.manual_seed(0)
        model, args, kwargs = build()
        check_size(model)
        model.train()
        row["step"] = plain_step(model, args, kwargs)
        if row["step"] > SLOW:
            return row | {"skipped": "too slow"}
        row["step"] = min(plain_step(model, args, kwargs) for _ in range(2))  # the first one warms up
    except TimeoutError:
        return row | {"skipped": "too slow"}
    except Exception as error:  # noqa: BLE001 - a model that cannot be built or run here says nothing about the audit
        return row | {"skipped": f"{type(error).__name__}: {error}"[:150]}
    before = digest(model)
    try:
        start = time.process_time()
        result = thinned.audit(model, args, kwargs)
        row["audit"] = time.process_time() - start
    except TimeoutError:
        return row | {"skipped": "too slow"}
    except Exception as error:  # noqa: BLE001
        return row | {"raised": f"{type(error).__name__}: {error}"[:300]}
    row |= {"restored": digest(model) == before, "sites": result.sites, "counts": result.counts}
    row["findings"] = [
        {k: getattr(f, k) for k in ("code", "severity", "module", "class_name", "file", "line", "evidence")}
        for f in result
    ]
    if number % 10 == 0:
        row["memory"] = peak_of(lambda: thinned.audit(model, args, kwargs)) / max(
            1, peak_of(lambda: model(*args, **kwargs))
        )
    return row


def table(rows: list[dict[str, Any]]) -> str:
    audited = [row for row in rows if "skipped" not in row]
    lines = [f"{len(audited)} models audited, {len(rows) - len(audited)} could not be built or run here:"]
    for library in LIBRARIES:
        own = [row for row in audited if row["library"] == library]
        codes = Counter(f["code"] for row in own for f in row.get("findings", ()))
        lines.append(f"  {library}: {len(own)}; findings {dict(sorted(codes.items()))}")
    done = [row for row in audited if "audit" in row]
    lines.append(f"raised: {[(r['model'], r['raised']) for r in audited if 'raised' in r]}")
    lines.append(f"not restored: {[r['model'] for r in done if not r['restored']]}")
    if done:
        ratios = [row["audit"] / row["step"] for row in done]
        lines.append(
            f"seconds / (forward and backward): median {median(ratios):.2f}, 90 % below {sorted(ratios)[int(0.9 * len(ratios))]:.1f}"
        )
    memory = [row["memory"] for row in done if "memory" in row]
    if memory:
        lines.append(
            f"peak memory / forward's: median {median(memory):.2f}, most {max(memory):.2f} ({len(memory)} models)"
        )
    for row in done:
        lines += [f"| {row['library']} {row['model']} | {f['code']} | {f['module']} ({f['class_name']}) | {Path(f['file'] or '').name}:{f['line']} | {f['evidence']} |" for f in row["findings"] if f["severity"] == "error"]  # fmt: skip
    return "\n".join(lines)


def too_slow(*_: object) -> None:
    raise TimeoutError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--libraries", default=",".join(LIBRARIES))
    parser.add_argument("--limit", type=int, default=10_000, help="models of each library")
    parser.add_argument("--out", type=Path, default=Path("runs/audit.jsonl"))
    parser.add_argument("--table", type=Path)
    options = parser.parse_args()
    if options.table:
        sys.stdout.write(table([json.loads(line) for line in options.table.read_text().splitlines()]) + "\n")
        return
    warnings.filterwarnings("ignore")
    for operator in ("nms", "qnms"):  # without which a torchvision whose binary part does not load cannot be imported
        torch.library.define(f"torchvision::{operator}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    signal.signal(signal.SIGPROF, too_slow)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    rows = []
    with options.out.open("w") as file:
        for library in options.libraries.split(","):
            try:
                for number, (name, build) in enumerate(LIBRARIES[library]()):
                    if number >= options.limit:
                        break
                    signal.setitimer(signal.ITIMER_PROF, SECONDS)
                    rows.append(examine(library, name, build, number))
                    signal.setitimer(signal.ITIMER_PROF, 0)
                    file.write(json.dumps(rows[-1]) + "\n")
                    file.flush()
            except ImportError as error:
                sys.stderr.write(f"{library} is left out: {error}\n")
    sys.stdout.write(table(rows) + "\n")


if __name__ == "__main__":
    main()
