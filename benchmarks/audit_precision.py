"""How many of the audit's findings in real models are true: the table of judged findings, and its intervals.

    python benchmarks/audit.py --out runs/audit.jsonl        # audits the models of other libraries
    python benchmarks/audit_precision.py runs/audit.jsonl    # adds its findings to docs/evidence/audit-findings.csv
    python benchmarks/audit_precision.py                     # prints what was judged, with 95 % intervals

One row of the table is one line of source that a rule names, with the first model that showed it and the number of
models that did. ``judgement`` is written by hand from the library's source: "true" or "false", with a reason; empty
where nobody has judged. A second run keeps the judgements of rows that it finds again.
"""

import csv
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from scipy.stats import beta

TABLE = Path(__file__).resolve().parents[1] / "docs" / "evidence" / "audit-findings.csv"
COLUMNS = ("code", "severity", "source", "class", "library", "model", "module", "models", "evidence")
JUDGED = ("judgement", "reason")
KEY = ("code", "severity", "source", "class")
SEVERITIES = ("error", "warning", "info")

Row = dict[str, str]


def source_of(finding: dict[str, Any]) -> str:
    """File within its package, and line."""
    file = finding["file"] or ""
    for folder in ("site-packages/", "libs/"):
        file = file.rpartition(folder)[2] or file
    return f"{file}:{finding['line']}" if file else ""


def rows_of(audited: Iterable[dict[str, Any]]) -> list[Row]:
    """One row for each line that a rule names."""
    rows: dict[tuple[str, ...], Row] = {}
    models: dict[tuple[str, ...], set[str]] = {}
    for result in audited:
        for finding in result.get("findings", ()):
            row = dict(zip(COLUMNS, ("",) * len(COLUMNS), strict=True))
            row |= {"code": finding["code"], "severity": finding["severity"], "source": source_of(finding)}
            row |= {"class": finding["class_name"], "library": result["library"], "model": result["model"]}
            row |= {"module": finding["module"], "evidence": finding["evidence"]}
            key = tuple(row[name] for name in KEY)
            rows.setdefault(key, row)
            models.setdefault(key, set()).add(result["model"])
    return [row | {"models": str(len(models[key]))} for key, row in sorted(rows.items())]


def with_judgements(rows: list[Row], judged: list[Row]) -> list[Row]:
    """The rows, with the judgements of the same lines."""
    known = {tuple(row[name] for name in KEY): row for row in judged}
    empty = dict.fromkeys(JUDGED, "")
    return [row | {name: known.get(tuple(row[k] for k in KEY), empty)[name] for name in JUDGED} for row in rows]


def interval(n_true: int, n: int) -> tuple[float, float]:
    """Clopper-Pearson interval of a proportion, 95 %."""
    low = 0.0 if n_true == 0 else float(beta.ppf(0.025, n_true, n - n_true + 1))
    high = 1.0 if n_true == n else float(beta.ppf(0.975, n_true + 1, n - n_true))
    return low, high


def summary(rows: list[Row]) -> str:
    """Judged and true findings of each rule and severity."""
    lines = []
    for code in sorted({row["code"] for row in rows}):
        for severity in SEVERITIES:
            found = [row for row in rows if (row["code"], row["severity"]) == (code, severity)]
            judged = [row for row in found if row["judgement"]]
            n_true = sum(row["judgement"] == "true" for row in judged)
            if found:
                low, high = interval(n_true, len(judged)) if judged else (0.0, 1.0)
                counts = f"{len(found)} lines, {len(judged)} judged, {n_true} true"
                lines.append(f"{code} {severity}: {counts}, 95 % interval {low:.2f} to {high:.2f}")
    return "\n".join(lines)


def read_table() -> list[Row]:
    if not TABLE.exists():
        return []
    with TABLE.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def main() -> None:
    rows = read_table()
    if len(sys.argv) > 1:
        audited = [json.loads(line) for name in sys.argv[1:] for line in Path(name).read_text("utf-8").splitlines()]
        done = [result for result in audited if "skipped" not in result]
        raised = sum("raised" in result for result in done)
        left = sum(result.get("restored") is False for result in done)
        sys.stdout.write(f"{len(done)} models, {raised} audits raised, {left} models not restored\n")
        rows = with_judgements(rows_of(done), rows)
        TABLE.parent.mkdir(parents=True, exist_ok=True)
        with TABLE.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, (*COLUMNS, *JUDGED), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    sys.stdout.write(summary(rows) + "\n")


if __name__ == "__main__":
    main()
