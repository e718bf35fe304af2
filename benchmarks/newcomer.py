"""A newcomer's path: from a clone to a report on one's own table, and from an empty environment to a fixed mistake.

    python benchmarks/newcomer.py [--keep FOLDER]

It takes README's steps in an empty folder, with a new environment for each of the two paths. The table has 1,600
customers with German numbers and dates, gaps, an identifier and a column that gives the target away; the network has
five dropout mistakes. Each line has the wall time and the processor time of a step. What pip finds in its cache is not
downloaded again.
"""

import argparse
import csv
import datetime
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MODEL = """
import torch
import torch.nn.functional as F
from torch import nn


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1)
        self.linear = nn.Linear(32, 64)
        self.head = nn.Linear(64, 10)
        {sites}

    def forward(self, x):
        x = {first}
        x = {second}
        x = F.relu(self.linear(x.mean((2, 3))))
        return {last}
"""
WRONG = MODEL.format(
    sites="self.drop, self.last, self.unused = nn.Dropout2d(0.2), nn.Dropout(0.5), nn.Dropout(0.4)",
    first="F.relu(self.norm1(self.drop(self.conv1(x))))",
    second="F.dropout(F.relu(self.conv2(x)), 0.3)",
    last="self.last(self.head(x))",
)
RIGHT = MODEL.format(
    sites="self.drop, self.last = nn.Dropout2d(0.2), nn.Dropout(0.5)",
    first="F.relu(self.norm1(self.conv1(x)))",
    second="self.drop(F.relu(self.conv2(x)))",
    last="self.head(self.last(x))",
)


def customers(rows: int) -> Iterator[dict[str, object]]:
    """Rows as a company's system exports them."""
    draw = random.Random(3)
    for number in range(rows):
        signup = datetime.date(2019, 1, 1) + datetime.timedelta(days=draw.randint(0, 1800))
        calls, revenue = draw.randint(0, 9), draw.lognormvariate(6.5, 1)
        plan = draw.choices(["basic", "plus", "premium"], [5, 3, 2])[0]
        left = 0.35 * calls - 0.0002 * revenue + 0.8 * (plan == "basic") + draw.gauss(0, 0.8) > 2.6
        yield {
            "customer_id": 100_000 + 7 * number,
            "signup": f"{signup:%d.%m.%Y}",
            "age": "" if draw.random() < 0.08 else round(draw.gauss(45, 14)),
            "revenue": f"{revenue:,.2f}".translate(str.maketrans(",.", ".,")),
            "calls": calls if draw.random() > 0.05 else "n/a",
            "plan": plan,
            "region": draw.choice(["Nord", "Süd", "Ost", "West", ""]),
            "cancelled_on": f"{signup + datetime.timedelta(days=400):%d.%m.%Y}" if left else "",
            "status": "left" if left else "stayed",
        }


def step(name: str, command: list[str], folder: Path, status: int = 0) -> str:
    """Run a command, print a line with its times, and return what it wrote.

    Raises:
        RuntimeError: its exit status is another one.
    """
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != status:
        raise RuntimeError(f"{name}: exit status {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    sys.stdout.write(f"| `{name}` | {wall:.1f} s | {processor:.1f} s |\n")
    sys.stdout.flush()
    return done.stdout


def environment(folder: Path, extra: str) -> Path:
    """A new environment with the package of the clone in ``folder``; returns where its commands are."""
    place = folder / f"environment{extra.strip('[]')}"
    step(f"python -m venv {place.name}", [sys.executable, "-m", "venv", str(place)], folder)
    pip = [str(place / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install"]
    step(f"pip install '.{extra}'", [*pip, "--constraint", "constraints.txt", f".{extra}"], folder / "thinned")
    return place / "bin"


def report_path(folder: Path) -> None:
    """From a clone to a report on a table, and predictions."""
    command = str(environment(folder, "[study]") / "thinned")
    with (folder / "customers.csv").open("w", encoding="utf-8", newline="") as file:
        table = list(customers(1600))
        writer = csv.DictWriter(file, list(table[0]), delimiter=";")
        writer.writeheader()
        writer.writerows(table)
    line = "thinned study customers.csv --target status --out runs/all"
    found = step(line, [command, *line.split()[1:]], folder)
    assert "cancelled_on" in found, "the column that gives the target away was not named"
    line = "thinned study customers.csv --target status --column cancelled_on=drop --out runs/left"
    found = step(line, [command, *line.split()[1:]], folder)
    sys.stdout.write("\n".join(f"  {text}" for text in found.strip().splitlines()[-10:]) + "\n")
    line = "thinned predict runs/left customers.csv"
    step(line, [command, *line.split()[1:]], folder)


def audit_path(folder: Path) -> None:
    """From an empty environment to the first mistake of a model, and to none."""
    command = str(environment(folder, "[audit]") / "thinned")
    line = "thinned audit shop:Network --input 8,3,32,32 --fail-on warning"
    for name, source, status in (("wrong", WRONG, 1), ("fixed", RIGHT, 0)):
        (folder / "shop.py").write_text(source, "utf-8")
        found = step(line, [command, *line.split()[1:]], folder, status)
        sys.stdout.write(f"  {name}: {found.strip().splitlines()[-1]}\n")


def main() -> None:
    """Take both paths."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, help="a folder that is not there yet; by default a temporary one")
    keep: Path | None = parser.parse_args().keep
    with nullcontext(str(keep)) if keep else tempfile.TemporaryDirectory() as name:
        folder = Path(name).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        sys.stdout.write("| step | wall | processor |\n|---|---|---|\n")
        step("git clone", ["git", "clone", "--quiet", str(ROOT), "thinned"], folder)
        report_path(folder)
        audit_path(folder)


if __name__ == "__main__":
    main()
