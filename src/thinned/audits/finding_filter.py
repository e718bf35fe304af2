"""Select and ignore findings by code, by module, and by comments in the source."""

import linecache
import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import NamedTuple

from thinned.audits.findings import Finding
from thinned.audits.rules import RULES
from thinned.errors import InputError, sentence

__all__ = ["FindingFilter"]

_COMMENT = re.compile(r"#.*\bthinned:\s*ignore(?:\[([\w\s,]*)\])?")


class _Entry(NamedTuple):
    """A pattern of module names, and the beginning of codes."""

    module_pattern: str
    code_prefix: str

    def matches(self, finding: Finding) -> bool:
        return finding.code.startswith(self.code_prefix) and fnmatchcase(finding.module, self.module_pattern)


class FindingFilter:
    """Decide which findings are reported.

    Args:
        select: codes, or beginnings of codes; None selects all.
        ignore: codes, or beginnings of codes, each maybe with a pattern of module names: ``"encoder.*:TD101"``.

    Raises:
        InputError: a code does not exist.
    """

    def __init__(self, select: Iterable[str] | None = None, ignore: Iterable[str] = ()) -> None:
        self._select = None if select is None else _entries(select)
        self._ignore = _entries(ignore)

    def accepts(self, finding: Finding) -> bool:
        """False for a finding that is not selected, or that is ignored by an option or a comment."""
        if self._select is not None and not any(entry.matches(finding) for entry in self._select):
            return False
        return not any(entry.matches(finding) for entry in self._ignore) and not _ignored_by_comment(finding)


def _entries(texts: Iterable[str]) -> list[_Entry]:
    entries = []
    for text in [texts] if isinstance(texts, str) else texts:
        pattern, _, code = text.strip().rpartition(":")
        if not code or not any(known.startswith(code.upper()) for known in RULES):
            requirement = "a code must be that of a rule, or the beginning of one"
            raise InputError(sentence(requirement, f"got {text!r}", f"the codes are {', '.join(RULES)}"))
        entries.append(_Entry(pattern or "*", code.upper()))
    return entries


def _ignored_by_comment(finding: Finding) -> bool:
    return any(_silences(linecache.getline(file, line), finding.code) for file, line in finding.lines)


def _silences(source_line: str, code: str) -> bool:
    comment = _COMMENT.search(source_line)
    if comment is None:
        return False
    return comment[1] is None or code in {text.strip().upper() for text in comment[1].split(",")}
