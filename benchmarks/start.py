"""Start-up of a study's workers: seconds from the first thought of them until each has done a job.

    python benchmarks/start.py [--workers 2] [--repeats 3]

Each repeat is a fresh interpreter that has imported thinned, as a study has. "bare" starts as many interpreters at the
same time that import torch alone: what no engine can save. "hidden" is what a study of a table waits for: workers start
while it reads 200,000 rows of text.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

HERE = Path(__file__).parent
COLD = """
import sys, time
from pathlib import Path
from start import WAIT, wait
import thinned.studies.api
from thinned.studies.table.load import load
from thinned.studies.training.engines.engine import Task
from thinned.studies.training.engines.joblib_engine import Joblib
from thinned.studies.training.engines.run_jobs import run_jobs

def run(engine, folder):
    for _ in run_jobs(engine, Task(wait, engine.workers, Path(folder), lambda reports: None)):
        pass

table, folder, workers = sys.argv[1], sys.argv[2], int(sys.argv[3])
began = time.perf_counter()
engine = Joblib(workers, "loky")
if table:
    engine.start()
    load(table, "y")
    began = time.perf_counter()
run(engine, folder)
print(time.perf_counter() - began - WAIT)
"""
WAIT = 0.2  # seconds of a job, so that each worker gets one


def wait(_number: int, _report: Callable[[int], None]) -> None:
    import thinned.studies.training.jobs  # noqa: F401, PLC0415 - what a study's job loads

    time.sleep(WAIT)


def seconds(table: str, workers: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", COLD, table, str(Path(folder) / "run"), str(workers)]
        return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=HERE).stdout)


def bare(workers: int) -> float:
    began = time.perf_counter()
    running = [subprocess.Popen([sys.executable, "-c", "import torch"]) for _ in range(workers)]
    for process in running:
        process.wait()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        table = str(Path(folder) / "table.csv")
        frame = pd.DataFrame({f"x{i}": rng.normal(size=200_000) for i in range(9)})
        frame.assign(y=frame["x0"] > 0).to_csv(table, index=False)
        bare(args.workers)  # files come from the disk the first time
        for name, measure in {
            "bare": lambda: bare(args.workers),
            "cold": lambda: seconds("", args.workers),
            "hidden": lambda: seconds(table, args.workers),
        }.items():
            times = [measure() for _ in range(args.repeats)]
            print(f"{name:8}{statistics.median(times):6.2f} s, of {', '.join(f'{value:.2f}' for value in times)}")


if __name__ == "__main__":
    main()
