"""Audit source code that cannot be run; the findings are marked as unconfirmed."""

from collections.abc import Iterator
from pathlib import Path

from thinned.audits.findings import Finding
from thinned.audits.observation.source_code import SourceCall, SourceClass, SourceFile, parse
from thinned.audits.rules import RULES
from thinned.errors import InputError, sentence

__all__ = ["audit_source", "audit_text"]


def audit_source(path: Path) -> list[Finding]:
    """The findings in a Python file, or in all Python files of a folder.

    Hidden folders and installed packages are left out.

    Raises:
        InputError: there is no such path, no file in it is Python, or the one file is not valid Python.
    """
    files = sorted(file for file in path.rglob("*.py") if _is_own(file.relative_to(path))) if path.is_dir() else [path]
    if not path.exists() or not files:
        raise InputError(sentence("--source must be a Python file, or a folder with Python files", f"got {path}"))
    findings = []
    for file in files:
        try:
            findings += audit_text(file.read_text("utf-8"), str(file))
        except (SyntaxError, ValueError) as error:
            if not path.is_dir():
                raise InputError(sentence(f"{file} must be Python", str(error))) from None
    return findings


def _is_own(file: Path) -> bool:
    return not any(part.startswith(".") or part == "site-packages" for part in file.parts)


def audit_text(text: str, file: str = "<text>") -> list[Finding]:
    """The findings in source code, by line.

    Raises:
        SyntaxError: ``text`` is not Python.
    """
    findings = [finding for part in parse(text, file) for finding in _check(part)]
    return sorted(findings, key=lambda finding: (finding.line or 0, finding.code))


def _check(part: SourceCall | SourceClass | SourceFile) -> Iterator[Finding]:
    for rule in RULES.values():
        if isinstance(part, SourceCall):
            yield from rule().check_call(part)
        elif isinstance(part, SourceClass):
            yield from rule().check_class(part)
        else:
            yield from rule().check_file(part)
