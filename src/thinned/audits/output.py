"""The result of an audit as JSON, SARIF and HTML."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

from thinned.audits.findings import Audit, Finding
from thinned.audits.rules import Rule

__all__ = ["to_html", "to_json", "to_sarif"]

_LEVELS = {"error": "error", "warning": "warning", "info": "note"}


def to_json(result: Audit) -> str:
    """All of the result."""
    return json.dumps(result.to_dict(), indent=2, ensure_ascii=False) + "\n"


def to_sarif(result: Audit, rules: dict[str, type[Rule]], version: str) -> str:
    """The result in SARIF 2.1.0, which code hosts show beside the lines of a change."""
    codes = list(rules)
    driver = {
        "name": "thinned",
        "version": version,
        "rules": [
            {
                "id": code,
                "name": rule.__name__,
                "shortDescription": {"text": rule.title()},
                "fullDescription": {"text": f"{rule.why}. Source: {rule.source}."},
                "defaultConfiguration": {"level": _LEVELS[rule.severities[0]]},
                "help": {"text": f"Instead of\n\n{rule.wrong}\n\nwrite\n\n{rule.right}"},
            }
            for code, rule in rules.items()
        ],
    }
    results = [_sarif_result(finding, codes) for finding in result]
    log = {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "results": results, "columnKind": "unicodeCodePoints"}],
    }
    return json.dumps(log, indent=2, ensure_ascii=False) + "\n"


def _sarif_result(finding: Finding, codes: list[str]) -> dict[str, Any]:
    location: dict[str, Any] = {
        "logicalLocations": [{"fullyQualifiedName": finding.module or finding.cls, "kind": "object"}]
    }
    if finding.file is not None:
        region = {"region": {"startLine": finding.line}} if finding.line else {}
        location["physicalLocation"] = {"artifactLocation": {"uri": _uri(finding.file)}, **region}
    return {
        "ruleId": finding.code,
        "ruleIndex": codes.index(finding.code),
        "level": _LEVELS[finding.severity],
        "message": {"text": f"{finding.message}. Fix: {finding.fix}"},
        "locations": [location],
        "properties": {"confirmed": finding.confirmed, "class": finding.cls, "data": finding.data},
    }


def _uri(file: str) -> str:
    """Relative to the working directory where possible, as code hosts want it."""
    path = Path(file)
    if path.is_absolute() and path.is_relative_to(Path.cwd()):
        path = path.relative_to(Path.cwd())
    return path.as_uri() if path.is_absolute() else quote(path.as_posix())


def to_html(result: Audit, rules: dict[str, type[Rule]]) -> str:
    """The result as one page without script; all text is escaped."""
    from thinned import pages  # noqa: PLC0415 - of the study extra

    return pages.environment("thinned.audits").get_template("audit.html.jinja").render(result=result, rules=rules)
