"""How many planted dropout mistakes the audit finds: recall of each rule in real models of other libraries.

    pip install transformers monai timm torchvision segmentation-models-pytorch
    pip install open-clip-torch torch-geometric vit-pytorch
    python benchmarks/audit_recall.py [--models 30] [--codes TD101,TD208] [--out docs/evidence/audit-recall.csv]
    python benchmarks/audit_recall.py --sources    # the rules that read source, in scripts and model files
    python benchmarks/audit_recall.py --table docs/evidence/audit-recall.csv

A plant (``audit_plants.py``, ``audit_model_plants.py``) puts the mistake of one rule into a copy of a model whose own
audit is known. It is found if the audit of the planted model has a finding of that code that the plain model has not.
A model in which the mistake makes no sense is passed over, with the reason; ``--models`` suitable ones are tried.
A second run with the same ``--out`` goes on where the first one stopped.
"""

import argparse
import copy
import csv
import random
import signal
import sys
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import audit_model_plants  # adds its plants
import torch
from audit_hosts import Host, hosts
from audit_plants import PLANTS, Unsuitable
from audit_precision import interval
from audit_source_plants import SOURCE_PLANTS, source_hosts
from torch import nn

import thinned
from thinned.audits.source import audit_text

__all__ = ["Trial"]

SECONDS = 60  # of processor time: limit for one model
assert audit_model_plants.Whole


class Trial(NamedTuple):
    """One mistake in one model: ``found`` is 0 or 1, and ``note`` a reason why it was passed over."""

    code: str
    read: str
    model: str
    found: str
    note: str


def keys(result: Any, code: str) -> Counter[tuple[Any, ...]]:
    """The findings of one code, without their numbers."""
    return Counter((f.module, f.line, f.file) for f in result if f.code == code)


def audited(model: nn.Module, host: Host, rows: int | None = None) -> Any:
    torch.manual_seed(0)
    return thinned.audit(model, copy.deepcopy(host.args), copy.deepcopy(host.kwargs), rows=rows)


def trial(code: str, host: Host, clean: Any) -> Trial:
    choice = random.Random(f"{code} {host.name}")
    if code in {"TD305", "TD306"} and code in clean.codes():
        return Trial(code, "run", host.name, "", "the model has it by itself")
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        planted = PLANTS[code](copy.deepcopy(host.model), host, choice)
        result = audited(planted, host, 300 if code == "TD307" else None)
    except Unsuitable as reason:
        return Trial(code, "run", host.name, "", str(reason))
    except Exception as error:  # noqa: BLE001 - a plant that does not run in a model says nothing about the rule
        return Trial(code, "run", host.name, "", f"does not run: {type(error).__name__}: {error}"[:120])
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    new = keys(result, code) - keys(clean, code)
    return Trial(code, "run", host.name, str(int(bool(new))), "")


def run_models(codes: list[str], number: int, trials: list[Trial], out: Path | None) -> None:
    """Add trials to those that were made before, and write them after each model."""
    tried = Counter(t.code for t in trials if t.read == "run" and t.found)
    for host in hosts():
        done = {t.code for t in trials if t.model == host.name}
        left = [code for code in codes if tried[code] < number and code not in done]
        if not left:
            continue
        start = time.process_time()
        try:
            clean = audited(host.model, host)
        except Exception as error:  # noqa: BLE001
            sys.stderr.write(f"{host.name}: {error}\n")
            continue
        for code in left:
            trials.append(trial(code, host, clean))
            tried[code] += trials[-1].found != ""
        misses = [t.code for t in trials if t.model == host.name and t.found == "0"]
        sys.stderr.write(f"{host.name}: {time.process_time() - start:.1f} s, missed {misses}\n")
        write(out, trials)


def write(out: Path | None, trials: list[Trial]) -> None:
    if out is not None:
        with out.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(Trial._fields)
            writer.writerows(sorted(trials))


def read(table: Path | None) -> list[Trial]:
    if table is None or not table.exists():
        return []
    with table.open(newline="", encoding="utf-8") as file:
        return [Trial(**row) for row in csv.DictReader(file)]


def run_sources(number: int) -> list[Trial]:
    trials = []
    for code, plant in SOURCE_PLANTS.items():
        n_tried = 0
        for name, text in source_hosts(code):
            if n_tried == number:
                break
            planted = plant(text, random.Random(f"{code} {name}"))
            if planted is None:
                trials.append(Trial(code, "source", name, "", "the source has no place for it"))
                continue
            before, after = (Counter(f.code for f in audit_text(t, name)) for t in (text, planted))
            trials.append(Trial(code, "source", name, str(int(after[code] > before[code])), ""))
            n_tried += 1
    return trials


def summary(trials: list[Trial]) -> str:
    lines = []
    for code, read in sorted({(t.code, t.read) for t in trials}):
        tried = [t for t in trials if (t.code, t.read) == (code, read) and t.found]
        found = sum(t.found == "1" for t in tried)
        passed = sum(not t.found for t in trials if (t.code, t.read) == (code, read))
        low, high = interval(found, len(tried)) if tried else (0.0, 1.0)
        missed = ", ".join(t.model for t in tried if t.found == "0")
        share = f"{found} of {len(tried)} found, 95 % interval {low:.2f} to {high:.2f}"
        lines.append(f"{code} {read}: {share}; {passed} passed over{'; missed: ' + missed if missed else ''}")
    return "\n".join(lines)


def too_slow(*_: object) -> None:
    raise TimeoutError("too slow")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=30, help="suitable models of each rule")
    parser.add_argument("--codes", default=",".join(PLANTS))
    parser.add_argument("--sources", action="store_true")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--table", type=Path)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    if options.table:
        sys.stdout.write(summary(read(options.table)) + "\n")
        return
    signal.signal(signal.SIGPROF, too_slow)
    trials = read(options.out)
    if options.sources:
        trials = [t for t in trials if t.read == "run"] + run_sources(options.models)
        write(options.out, trials)
    else:
        for operator in ("nms", "qnms"):  # as in audit.py
            schema = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            torch.library.define(f"torchvision::{operator}", schema)
        run_models(options.codes.split(","), options.models, trials, options.out)
    sys.stdout.write(summary(trials) + "\n")


if __name__ == "__main__":
    main()
