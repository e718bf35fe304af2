"""Dropout on a GPU: first checked, bit for bit, then timed against PyTorch's, eager and compiled.

    python benchmarks/gpu.py [--part PART ...] [--out FILE]

Times are device times: medians of CUDA graphs that are replayed in turns, over tensors that are not in the cache.
"""

import argparse
import importlib
import importlib.metadata
import json
import platform
import time
from pathlib import Path

import torch
from gpu_parts.timing import Result, measure

PARTS = {"dropout": "gpu_parts.dropout", "fused": "gpu_parts.branch"}  # modules with a function `cases`
EXTRA = {"tiles": "gpu_parts.tiles"}  # run where they are named: variants of a kernel


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--part", action="append", choices=["check", "attention", *PARTS, *EXTRA], help="repeat; all but tiles without"
    )
    parser.add_argument("--out", type=Path, help="file for the results, as JSON")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("benchmarks/gpu.py needs a GPU that torch sees, and there is none here.")
        return
    start = time.perf_counter()
    names = options.part or ["check", *PARTS, "attention"]
    device = torch.cuda.get_device_name()
    versions = {name: importlib.metadata.version(name) for name in ("torch", "triton")}
    print(f"{device}, {versions}, Python {platform.python_version()}", flush=True)
    if "check" in names:
        importlib.import_module("gpu_parts.correctness").check()
        print(f"  after {time.perf_counter() - start:.0f} s", flush=True)
    results: list[Result] = []
    for name in names:
        if name == "attention":  # prints its own table
            importlib.import_module("gpu_attention").main(quick=True)
        if name in {"check", "attention"}:
            continue
        for case in importlib.import_module({**PARTS, **EXTRA}[name]).cases():
            results.append(measure(case))
            print(results[-1].line(), flush=True)
        print(f"  {name}: after {time.perf_counter() - start:.0f} s", flush=True)
    print("\n".join(result.line() for result in results))
    if options.out:
        document = {"device": device, **versions}
        options.out.write_text(json.dumps({**document, "results": [r._asdict() for r in results]}, indent=1))


if __name__ == "__main__":
    main()
