"""The result of an audit as JSON."""

import json

from thinned.audits.findings import Audit

__all__ = ["to_json"]


def to_json(result: Audit) -> str:
    """The whole result."""
    return json.dumps(result.to_dict(), indent=2, ensure_ascii=False) + "\n"
