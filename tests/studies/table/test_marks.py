"""One decimal mark holds for a table: its features, its target and the columns that the user has named."""

from pathlib import Path

import pytest

from thinned.studies.table.load import load
from thinned.studies.table.readings import NumberReading


def table(path: Path, a: str) -> Path:
    """A file whose columns b and price fit two readings; column a may settle them."""
    rows = [f"{a}{i};7.{600 + i};7.{600 + i}" for i in range(10, 70)]
    path.write_text("\n".join(["a;b;price", *rows]) + "\n")
    return path


@pytest.mark.parametrize(("a", "first"), [("0,", 7610.0), ("0.", 7.61)])
@pytest.mark.parametrize("columns", [{}, {"b": "number"}, {"b": "number", "price": "number"}])
def test_the_mark_of_one_column_settles_feature_and_target(
    tmp_path: Path, a: str, first: float, columns: dict[str, str]
) -> None:
    found = load(table(tmp_path / "t.csv", a), "price", "regression", columns=columns)
    assert (found.features["b"][0], found.target[0]) == (first, first)
    reading = found.readings["b"]
    assert isinstance(reading, NumberReading)
    assert reading.decimal == a[1]
    named = [notice.column for notice in found.notices if notice.code == "ambiguous_number"]
    assert named == (["b", "price"] if a == "0," else [])
