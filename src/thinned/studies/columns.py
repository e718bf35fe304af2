"""What the columns of a frame may hold, and how a column is read as numbers, text or times.

Whatever a frame came from (CSV, Parquet, polars, pandas), its columns leave `plain` in one of six forms: bool, integer,
float, datetime, category, or object/str cells of text and scalars.
"""

import datetime
import decimal
import math
import numbers
import uuid
from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
from pandas.api import types

from thinned._checks import InputError, sentence

__all__ = ["MISSING", "as_numbers", "as_text", "check_finite", "check_names", "is_number", "listed", "plain", "quote"]

# What spreadsheets and exports write for "no value". pandas knows most of them when it reads a CSV; a frame that was
# built otherwise still holds them as text.
MISSING = frozenset(
    (
        "",
        "null",
        "#N/A",
        "#NA",
        "-NaN",
        "-nan",
        "...",
        "<NA>",
        "?",
        "N/A",
        "NA",
        "NULL",
        "NaN",
        "None",
        "n/a",
        "nan",
        "none",
    )
)
SCALARS = (str, bool, np.bool_, numbers.Real, decimal.Decimal, datetime.date, datetime.time, uuid.UUID)


def quote(value: object, width: int = 60) -> str:
    """The repr of a name or value from data, at most ``width`` characters long."""
    text = repr(value)
    return text if len(text) <= width else text[: width - 2] + "…" + text[0]


def listed(values: list[str], limit: int = 8) -> str:
    """The first few names, quoted, and how many more there are."""
    more = f" and {len(values) - limit} more" if len(values) > limit else ""
    return ", ".join(quote(value) for value in values[:limit]) + more


def check_names(names: list[str]) -> None:
    """Refuse column names that are empty or appear twice.

    Raises:
        InputError: a name is empty or repeated.
    """
    unnamed = [position for position, name in enumerate(names, 1) if not name.strip()]
    if unnamed:
        raise InputError(
            sentence(
                "every column needs a name",
                f"column {unnamed[0]} of {len(names)} has none",
                "name it or leave it out (an index that pandas wrote is left out with index=False)",
            )
        )
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise InputError(
            sentence(
                "column names must differ", f"{quote(twice[0])} is there {names.count(twice[0])} times", "rename one"
            )
        )


def plain(frame: pd.DataFrame) -> pd.DataFrame:
    """A frame with text column names, rows numbered from 0 and columns of the six forms of this module.

    Raises:
        InputError: a name is repeated, or a column holds lists, bytes, complex numbers or other things than scalars.
    """
    names = [str(name) for name in frame.columns]
    check_names(names)
    columns = [_plain_column(frame.iloc[:, i], name) for i, name in enumerate(names)]
    if not columns:
        return pd.DataFrame(index=range(len(frame)))
    return pd.concat(columns, axis=1)


def _plain_column(column: "pd.Series[Any]", name: str) -> "pd.Series[Any]":
    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        labels = column.cat.categories
        _check_scalars(pd.Series(labels, dtype=object), name)
        values: Any = column.cat.rename_categories([_label(label) for label in labels]).array
    elif types.is_bool_dtype(dtype):
        values = column.to_numpy(dtype=object if column.isna().any() else bool)
    elif types.is_complex_dtype(dtype):
        raise _unreadable(name, "complex numbers")
    elif types.is_numeric_dtype(dtype):
        values = _numeric_array(column)
    elif types.is_datetime64_any_dtype(dtype):
        values = pd.to_datetime(column, utc=True).array
    elif types.is_timedelta64_dtype(dtype):
        values = column.dt.total_seconds().to_numpy(dtype=np.float64)
    elif types.is_object_dtype(dtype) or types.is_string_dtype(dtype):
        cells = column.astype(object)
        _check_scalars(cells, name)
        values = cells.where(cells.notna(), None).to_numpy(dtype=object)
    else:
        raise _unreadable(name, f"values of type {dtype}")
    return pd.Series(values, name=name, index=range(len(column)))


def _numeric_array(column: "pd.Series[Any]") -> np.ndarray[Any, Any]:
    """Integers stay integers; nullable, sparse and Arrow numbers become float64 with NaN for missing."""
    if isinstance(column.dtype, np.dtype):
        return column.to_numpy()
    if types.is_integer_dtype(column.dtype) and not column.isna().any():
        return column.to_numpy(dtype=np.int64)
    return column.to_numpy(dtype=np.float64, na_value=np.nan)


def _check_scalars(cells: "pd.Series[Any]", name: str) -> None:
    """Refuse cells that are lists, mappings, arrays, bytes and the like."""
    for kind in set(map(type, cells)):
        if not issubclass(kind, SCALARS) and kind not in {type(None), type(pd.NA), type(pd.NaT)}:
            raise _unreadable(name, f"{kind.__name__} values")


def _unreadable(name: str, seen: str) -> InputError:
    return InputError(
        sentence(
            "a column must hold numbers, text, dates or truth values",
            f"column {quote(name)} holds {seen}",
            "leave it out, or spread it over several columns",
        )
    )


def _label(value: object) -> str:
    """A scalar as text; 2.0 and 2 are the same label, because a missing neighbour turns integers into floats."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def as_text(column: "pd.Series[Any]") -> "pd.Series[Any]":
    """The cells as stripped text, ``None`` where a cell is missing or says so (`MISSING`)."""
    codes, labels = pd.factorize(column)
    texts = [_label(label) for label in labels]
    table = np.array([None if text in MISSING else text for text in texts] + [None], dtype=object)
    return pd.Series(table[codes], name=column.name, index=column.index, dtype=object)  # code -1, missing, is last


def is_number(column: "pd.Series[Any]") -> bool:
    """Whether the dtype is bool, integer or float."""
    return types.is_bool_dtype(column.dtype) or types.is_numeric_dtype(column.dtype)


def as_numbers(column: "pd.Series[Any]") -> tuple[np.ndarray[Any, Any], str | None]:
    """Read a column as numbers.

    Returns:
        The values, float64 with NaN where missing, and the first cell that is not a number (``None`` if all are).
    """
    if is_number(column):
        return column.to_numpy(dtype=np.float64), None
    if types.is_datetime64_any_dtype(column.dtype):
        present = column.dropna()
        return np.full(len(column), np.nan), None if present.empty else str(present.iloc[0])
    codes, labels = pd.factorize(column.astype(object))
    values = np.full(len(labels) + 1, np.nan)
    stranger = None
    for i, label in enumerate(labels):
        number = _number(label)
        if number is None and stranger is None:
            stranger = str(label)
        values[i] = math.nan if number is None else number
    return values[codes], stranger


def _number(value: object) -> float | None:
    """A cell as a float, NaN if it stands for a missing value, ``None`` if it isn't a number."""
    if isinstance(value, str):
        value = value.strip()
        if value in MISSING:
            return math.nan
        if "_" in value:  # float() reads "1_000", which no table means
            return None
    elif not isinstance(value, (bool, np.bool_, numbers.Real, decimal.Decimal)):
        return None
    try:
        return float(value)
    except ValueError:
        return None
    except OverflowError:
        return math.inf


def check_finite(values: np.ndarray[Any, Any], name: str) -> None:
    """Refuse infinite values.

    Raises:
        InputError: with the column and the number of rows.
    """
    rows = int(np.isinf(values).sum())
    if rows:
        raise InputError(
            sentence(
                "numbers must be finite",
                f"column {quote(name)} has infinite values in {rows} row{'s' if rows > 1 else ''}",
                "correct them, or leave the cells empty to mark them as missing",
            )
        )
