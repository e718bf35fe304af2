"""The result of an audit in SARIF 2.1.0, which code hosts show beside the lines of a change."""

import json
from pathlib import Path
from urllib.parse import quote

from thinned.audits.findings import JSON, Audit, Finding
from thinned.audits.rules import RULES, Rule

__all__ = ["to_sarif"]

_LEVELS = {"error": "error", "warning": "warning", "info": "note"}


def to_sarif(result: Audit, version: str) -> str:
    """The result as a SARIF log.

    Args:
        result: the result of an audit.
        version: version of thinned.
    """
    rules: list[JSON] = [_descriptor(rule) for rule in RULES.values()]
    results: list[JSON] = [_result(finding) for finding in result]
    run: dict[str, JSON] = {
        "tool": {"driver": {"name": "thinned", "version": version, "rules": rules}},
        "results": results,
        "columnKind": "unicodeCodePoints",
    }
    log = {"$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0", "runs": [run]}
    return json.dumps(log, indent=2, ensure_ascii=False) + "\n"


def _descriptor(rule: type[Rule]) -> dict[str, JSON]:
    return {
        "id": rule.code,
        "name": rule.__name__,
        "shortDescription": {"text": rule.title()},
        "fullDescription": {"text": f"{rule.why}. Source: {rule.source}."},
        "defaultConfiguration": {"level": _LEVELS[rule.severities[0]]},
        "help": {"text": f"Instead of\n\n{rule.wrong}\n\nwrite\n\n{rule.right}"},
    }


def _result(finding: Finding) -> dict[str, JSON]:
    module: JSON = {"fullyQualifiedName": finding.module or finding.class_name, "kind": "object"}
    location: dict[str, JSON] = {"logicalLocations": [module]}
    if finding.file is not None:
        physical: dict[str, JSON] = {"artifactLocation": {"uri": _uri(finding.file)}}
        if finding.line:
            physical["region"] = {"startLine": finding.line}
        location["physicalLocation"] = physical
    return {
        "ruleId": finding.code,
        "ruleIndex": list(RULES).index(finding.code),
        "level": _LEVELS[finding.severity],
        "message": {"text": f"{finding.message}. Fix: {finding.fix}"},
        "locations": [location],
        "properties": {"confirmed": finding.confirmed, "class": finding.class_name, "data": finding.data},
    }


def _uri(file: str) -> str:
    """The file relative to the working directory where possible, as code hosts want it."""
    path = Path(file)
    if path.is_absolute() and path.is_relative_to(Path.cwd()):
        path = path.relative_to(Path.cwd())
    return path.as_uri() if path.is_absolute() else quote(path.as_posix())
