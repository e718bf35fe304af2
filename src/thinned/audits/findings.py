"""What an audit returns: findings, and what a finding says."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, overload

__all__ = ["SEVERITIES", "Audit", "Finding", "Severity"]

Severity = Literal["error", "warning", "info"]
#: gravest first: results are wrong; probably not what was wanted; worth knowing
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")


@dataclass(frozen=True)
class Finding:
    """One mistake, or something worth knowing.

    Attributes:
        code: of the rule, such as ``TD101``.
        severity: "error" (results are wrong), "warning" (probably not what was wanted) or "info" (worth knowing).
        title: of the rule.
        module: qualified name of the module, "" for the model itself.
        cls: its class.
        file: source file of the call, where known.
        line: in that file, from 1.
        seen: what was seen, in words with numbers.
        data: the numbers.
        why: why it matters.
        source: who says so.
        fix: what to write instead.
        confirmed: False where the code was read and not run.
    """

    code: str
    severity: Severity
    title: str
    module: str
    cls: str
    file: str | None
    line: int | None
    seen: str
    why: str
    source: str
    fix: str
    data: dict[str, Any] = field(default_factory=dict)
    confirmed: bool = True

    @property
    def message(self) -> str:
        """What was seen and why it matters."""
        doubt = "" if self.confirmed else " (read in the source, not run)"
        return f"{self.seen}{doubt}. {self.why}"

    @property
    def place(self) -> str:
        """File and line, or the module."""
        where = f"{self.file}:{self.line}" if self.file else ""
        return " ".join(part for part in (self.module or ("" if where else "(the model)"), where) if part)

    def __str__(self) -> str:
        return f"{self.code} {self.severity} {self.place} [{self.cls}]: {self.message}\n    fix: {self.fix}"


@dataclass(frozen=True)
class Audit(Sequence[Finding]):
    """The findings of an audit, gravest first.

    Attributes:
        model: class of the audited model, or the path that was read.
        findings: what was found.
        fixed: what ``fix=True`` did, a sentence each.
        suppressed: number of findings that were not wanted.
        sites: number of places that drop, or could; None where nothing ran.
    """

    model: str
    findings: tuple[Finding, ...]
    fixed: tuple[str, ...] = ()
    suppressed: int = 0
    sites: int | None = None

    def __len__(self) -> int:
        return len(self.findings)

    @overload
    def __getitem__(self, index: int) -> Finding: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Finding, ...]: ...
    def __getitem__(self, index: int | slice) -> Finding | tuple[Finding, ...]:
        return self.findings[index]

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def of(self, *severities: Severity) -> tuple[Finding, ...]:
        """The findings of these severities."""
        return tuple(finding for finding in self.findings if finding.severity in severities)

    def codes(self) -> set[str]:
        """The codes found."""
        return {finding.code for finding in self.findings}

    def groups(self) -> list[list[Finding]]:
        """Findings that say the same of several modules: one class, one line, one rule."""
        groups: dict[tuple[object, ...], list[Finding]] = {}
        for finding in self.findings:
            last = finding.module.rpartition(".")[2]
            key = (
                finding.code,
                finding.severity,
                finding.cls,
                finding.file,
                finding.line,
                "" if finding.file else last,
            )
            groups.setdefault(key, []).append(finding)
        return list(groups.values())

    @property
    def counts(self) -> dict[str, int]:
        """Number of findings of each severity."""
        return {severity: len(self.of(severity)) for severity in SEVERITIES}

    @property
    def summary(self) -> str:
        """How many places and findings there are, in one line."""
        parts = [] if self.sites is None else [f"{self.sites} dropout sites"]
        parts += [f"{number} {name}" for name, number in self.counts.items() if number] or ["nothing found"]
        return ", ".join(parts + ([f"{self.suppressed} suppressed"] if self.suppressed else []))

    def to_dict(self) -> dict[str, Any]:
        """All of it, as what JSON can hold."""
        return {
            "model": self.model,
            "sites": self.sites,
            "counts": self.counts,
            "suppressed": self.suppressed,
            "fixed": list(self.fixed),
            "findings": [asdict(finding) for finding in self.findings],
        }

    def __str__(self) -> str:
        fixed = [f"  fixed: {what}" for what in self.fixed]
        found = [
            f"  {group[0]}" + (f"\n    and {len(group) - 1} more like it" if group[1:] else "")
            for group in self.groups()
        ]
        return "\n".join([f"{self.model}: {self.summary}", *fixed, *found])

    __repr__ = __str__
