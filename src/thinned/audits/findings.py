"""The result of an audit: findings, and the parts of one finding."""

import shutil
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias, overload

from thinned.html_table import html_table

__all__ = ["JSON", "SEVERITIES", "Audit", "Finding", "Severity", "at_least", "paragraph", "similar_findings"]

Severity = Literal["error", "warning", "info"]
#: most severe first: results are wrong; probably not intended; worth knowing
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")
#: a value that JSON can hold
JSON: TypeAlias = "bool | int | float | str | Sequence[JSON] | Mapping[str, JSON] | None"


def at_least(severity: Severity) -> tuple[Severity, ...]:
    """This severity and the more severe ones."""
    return SEVERITIES[: SEVERITIES.index(severity) + 1]


@dataclass(frozen=True)
class Finding:
    """One mistake, or one fact worth knowing.

    Attributes:
        code: code of the rule, such as ``TD101``.
        severity: "error" (results are wrong), "warning" (probably not intended) or "info" (worth knowing).
        title: title of the rule.
        module: qualified name of the module; "" for the model itself.
        class_name: class of that module.
        file: source file of the call; None where unknown.
        line: line in that file, counted from 1; None where unknown.
        definition_file: source file that defines the module; None where unknown.
        definition_line: line in that file that builds the module, or the first line of its class.
        evidence: the facts of this finding, with numbers.
        why: reason why they matter.
        source: paper, documentation or issue that says so.
        fix: code to write instead.
        data: the numbers in ``evidence``, by name.
        confirmed: False where the code was read and not run.
    """

    code: str
    severity: Severity
    title: str
    module: str
    class_name: str
    file: str | None
    line: int | None
    evidence: str
    why: str
    source: str
    fix: str
    data: dict[str, JSON] = field(default_factory=dict)
    confirmed: bool = True
    definition_file: str | None = None
    definition_line: int | None = None

    @property
    def message(self) -> str:
        """The evidence and the reason why it matters."""
        doubt = "" if self.confirmed else " (read in the source, not run)"
        return f"{self.evidence}{doubt}. {self.why}"

    @property
    def lines(self) -> tuple[tuple[str, int], ...]:
        """Files and lines on which a comment silences this finding: of the call, and of the module's definition."""
        places = ((self.file, self.line), (self.definition_file, self.definition_line))
        return tuple((file, line) for file, line in places if file is not None and line is not None)

    @property
    def location(self) -> str:
        """The module's name, and the file and line where known; its path from the working directory if it is below."""
        line = f"{_short_path(self.file)}:{self.line}" if self.file else ""
        module = self.module or ("" if line else "(the model)")
        return " ".join(part for part in (module, line) if part)

    @property
    def heading(self) -> str:
        """Code, severity, module, file and line, and class, in one line."""
        return f"{self.code} {self.severity}  {self.location}  [{self.class_name}]"

    def __str__(self) -> str:
        return "\n".join([self.heading, paragraph(f"{self.message}.", _line_width()), f"  fix: {self.fix}"])


@dataclass(frozen=True)
class Audit(Sequence[Finding]):
    """The findings of an audit, most severe first.

    Attributes:
        model: class of the audited model, or the path of the source that was read.
        findings: the findings that were selected.
        fixed: one sentence for each repair that ``fix=True`` made.
        suppressed: number of findings that were deselected or ignored.
        sites: number of dropout sites that the training pass reached; None where nothing ran.
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

    def with_severity(self, *severities: Severity) -> tuple[Finding, ...]:
        """The findings of these severities."""
        return tuple(finding for finding in self.findings if finding.severity in severities)

    def codes(self) -> set[str]:
        """The codes of all findings."""
        return {finding.code for finding in self.findings}

    def groups(self) -> list[list[Finding]]:
        """Findings grouped by rule, class and line, so that twelve equal blocks are one group."""
        groups: dict[tuple[object, ...], list[Finding]] = {}
        for finding in self.findings:
            attribute = "" if finding.file else finding.module.rpartition(".")[2]
            key = (finding.code, finding.severity, finding.class_name, finding.file, finding.line, attribute)
            groups.setdefault(key, []).append(finding)
        return list(groups.values())

    @property
    def counts(self) -> dict[str, int]:
        """Number of findings of each severity."""
        return {severity: len(self.with_severity(severity)) for severity in SEVERITIES}

    @property
    def summary(self) -> str:
        """Number of dropout sites and of findings, in one line."""
        parts = [] if self.sites is None else [f"{self.sites} dropout site{'' if self.sites == 1 else 's'}"]
        parts += [f"{number} {_named(name, number)}" for name, number in self.counts.items() if number] or [
            "nothing found"
        ]
        return ", ".join(parts + ([f"{self.suppressed} suppressed"] if self.suppressed else []))

    def to_dict(self) -> dict[str, JSON]:
        """The whole result as values that JSON can hold."""
        return {
            "model": self.model,
            "sites": self.sites,
            "counts": self.counts,
            "suppressed": self.suppressed,
            "fixed": list(self.fixed),
            "findings": [asdict(finding) for finding in self.findings],
        }

    def __str__(self) -> str:
        width = _line_width()
        lines = [f"{self.model}: {self.summary}", *(paragraph(f"fixed: {repair}", width) for repair in self.fixed)]
        for finding, *others in self.groups():
            lines.append(str(finding))
            if others:
                lines.append(paragraph(similar_findings(others), width))
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """The findings, as a notebook shows them: one row for each group of equal ones."""
        rows: list[tuple[str, ...]] = []
        for first, *others in self.groups():
            place = f"{first.location} ×{1 + len(others)}" if others else first.location
            rows.append((first.code, first.severity, place, f"{first.message}.", first.fix))
        rows += [("", "fixed", "", repair, "") for repair in self.fixed]
        return html_table(f"{self.model}: {self.summary}", ("code", "severity", "place", "what is wrong", "fix"), rows)


def _named(severity: str, count: int) -> str:
    """The severity as a counted noun: 1 warning, 3 warnings; info has no plural."""
    return severity if count == 1 or severity == "info" else f"{severity}s"


def paragraph(text: str, width: int) -> str:
    """A paragraph under its heading; words stay whole, as names of files do."""
    return textwrap.fill(
        text, width, initial_indent="  ", subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
    )


def similar_findings(others: Sequence[Finding]) -> str:
    """The further findings of a group, by their number and the names of the first three."""
    names = ", ".join(other.module for other in others[:3]) + (", …" if others[3:] else "")
    return f"and {len(others)} more like it: {names}"


def _line_width() -> int:
    """The width of the terminal, within what reads well; that of a paragraph where the output is redirected."""
    return min(max(shutil.get_terminal_size((100, 24)).columns, 80), 120)


def _short_path(file: str) -> str:
    """The path from the working directory where the file is below it, as a terminal links either."""
    path = Path(file)
    try:
        directory = Path.cwd()
    except FileNotFoundError:  # it was removed
        return file
    return str(path.relative_to(directory) if path.is_relative_to(directory) else path)
