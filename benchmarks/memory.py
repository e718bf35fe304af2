"""Peak memory of a study of a large table, all processes together.

    python benchmarks/memory.py [--rows 1000000] [--columns 50] [--folds 2] [--from frame|parquet|csv]

One rate and none, 64-64, one epoch, from a table of float64 numbers; the final model's five members are a part of it.
The memory is the proportional set size (Linux), in which a page that processes share is counted once, sampled ten times
a second. "Before" is the interpreter with all that is imported, and the table that the caller holds.
"""

import argparse
import os
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import thinned


def processes() -> list[int]:
    """This process and its children."""
    own, found = os.getpid(), [os.getpid()]
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(path.read_text().rpartition(")")[2].split()[1]) == own:
                found.append(int(path.parent.name))
        except OSError:
            continue  # it has ended
    return found


def memory() -> int:
    """Bytes that these processes hold."""
    total = 0
    for number in processes():
        try:
            text = Path(f"/proc/{number}/smaps_rollup").read_text()
        except OSError:
            continue
        total += next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")) * 1024
    return total


class Peak:
    """The largest memory while it is watched, for each of the words that say what is done."""

    def __init__(self) -> None:
        self.of: dict[str, int] = {}
        self.doing = "reading the table"
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> "Peak":
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._end.wait(0.1):
            self.of[self.doing] = max(self.of.get(self.doing, 0), memory())

    def doing_now(self, doing: str) -> None:
        self.doing = doing.partition(" (")[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--columns", type=int, default=50)
    parser.add_argument("--folds", type=int, default=2)
    parser.add_argument("--from", dest="source", choices=["frame", "parquet", "csv"], default="frame")
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({f"x{i}": rng.normal(size=args.rows) for i in range(args.columns - 1)})
    frame["y"] = (frame["x0"] + frame["x1"] + rng.normal(size=args.rows) > 0).astype(np.float64)
    size = int(frame.memory_usage().sum())
    with tempfile.TemporaryDirectory() as folder:
        data: Any = frame
        if args.source != "frame":
            data = Path(folder) / f"table.{args.source}"
            frame.to_csv(data, index=False) if args.source == "csv" else frame.to_parquet(data)
            del frame
        before, started = memory(), time.perf_counter()
        with Peak() as peak:
            thinned.study(
                data,
                "y",
                out=Path(folder) / "run",
                arms=["dropout"],
                rates=[0.5],
                folds=args.folds,
                seeds=1,
                hidden=(64, 64),
                epochs=1,
                batch_size=4096,
                progress=lambda step, plan: peak.doing_now(step.doing),
            )
    print(
        f"{args.rows:,} rows x {args.columns} columns, {size / 1e6:,.0f} MB, from a {args.source}; {args.folds} folds; "
        f"{time.perf_counter() - started:.0f} s\n{before / 1e6:8,.0f} MB before"
    )
    for doing, value in peak.of.items():
        print(f"{value / 1e6:8,.0f} MB peak: {doing}")
    highest = max(peak.of.values())
    print(f"{highest / 1e6:8,.0f} MB in all, {(highest - before) / size:.1f} x the table more than before")


if __name__ == "__main__":
    main()
