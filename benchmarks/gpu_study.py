"""A study of a network of one's own on a GPU and on the CPU: networks a second, and whether they find the same.

    python benchmarks/gpu_study.py [--epochs 4] [--arms dropout,as_is] [--out gpu_study.json]

`examples/digits.py`, the default design, one job at a time on either device (as the study chooses, with networks one by
one or several as one program). Losses of the two devices differ by rounding, which training enlarges: the largest
difference of an arm's mean test loss is printed beside the standard error of the arm's own improvement.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import msgspec
import torch

import thinned
from thinned.studies.design.own_network.cost import Timing
from thinned.studies.training.store import TIMING

DESIGN = {"batch_size": 64, "learning_rate": 0.004}


def run(device: str, epochs: int, arms: tuple[str, ...], folder: Path) -> dict[str, object]:
    """One study: its time, and the mean test loss of each setting."""
    start = time.perf_counter()
    study = thinned.study(
        "examples.digits:examples",
        network="examples.digits:network",
        out=folder,
        progress=False,
        jobs=1,
        device=device,
        epochs=epochs,
        arms=arms,
        **DESIGN,
    )
    timing = msgspec.convert(json.loads((folder / TIMING).read_text())["timing"], Timing)
    return {
        "wall seconds": time.perf_counter() - start,
        "networks": study.results.run.networks,
        "networks a second": study.results.run.networks_per_second,
        "members of a stack": timing.members,
        "speed-up of stacks": timing.speedup,
        "losses": study.table["test_loss"].to_dict(),
        "verdict": study.verdict,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--arms", default="dropout,as_is", type=lambda text: tuple(text.split(",")))
    parser.add_argument("--devices", default="cuda,cpu", type=lambda text: tuple(text.split(",")))
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    if "cuda" in args.devices and not torch.cuda.is_available():
        print("benchmarks/gpu_study.py needs a GPU that torch sees, and there is none here.")
        return
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for device in args.devices:
            results[device] = run(device, args.epochs, args.arms, Path(folder) / device)
            print(device, json.dumps(results[device]), flush=True)
    if args.out:
        args.out.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
