"""Results of two studies that must agree to the last bit."""

import json
from typing import Any

from thinned.studies.results.file import Results, serialise

PARTS = ("settings", "arms", "comparisons", "verdict", "claims")


def assert_same(results: Results, expected: Results) -> None:
    one, other = (json.loads(serialise(content)) for content in (results, expected))
    for part in PARTS:
        assert without_seconds(one[part]) == without_seconds(other[part])


def without_seconds(value: Any) -> Any:
    """A part of the results but for the time that training took."""
    if isinstance(value, dict):
        return {name: without_seconds(entry) for name, entry in value.items() if name != "seconds"}
    return [without_seconds(entry) for entry in value] if isinstance(value, list) else value
