"""What the columns of a frame may hold, and how a column is read as numbers, dates or text.

Whatever a frame came from (CSV, Parquet, polars, pandas), its columns leave `plain` in one of six forms: bool, integer,
float, datetime (UTC), category, or object cells of text and scalars. `settle` looks into the last and makes numbers,
datetimes or a category of them, so that the rows of a fold can't be read otherwise than the whole table.
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

from thinned.errors import InputError, sentence

__all__ = [
    "FORMATS",
    "MISSING",
    "as_dates",
    "as_numbers",
    "as_text",
    "check_finite",
    "check_names",
    "is_number",
    "listed",
    "plain",
    "quote",
    "settle",
]

FORMATS = "thinned date formats"  # key in a settled frame's attrs: {column: format of the text it was}

# What spreadsheets and exports write for "no value". pandas knows most of them when it reads a CSV; a frame that was
# built otherwise still holds them as text.
MISSING = frozenset(
    (
        "",
        "#N/A",
        "#N/A N/A",
        "#NA",
        "-1.#IND",
        "-1.#QNAN",
        "-NaN",
        "-nan",
        "1.#IND",
        "1.#QNAN",
        "...",
        "<NA>",
        "?",
        "N/A",
        *("NA", "NULL", "NaN", "None", "n/a", "nan", "null"),
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
    result = pd.concat(columns, axis=1) if columns else pd.DataFrame(index=range(len(frame)))
    result.attrs[FORMATS] = frame.attrs.get(FORMATS, {})
    return result


def _plain_column(column: "pd.Series[Any]", name: str) -> "pd.Series[Any]":
    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        labels = column.cat.categories
        _check_scalars(labels.to_numpy(dtype=object), name)
        values: Any = pd.Categorical(as_text(column))
    elif types.is_bool_dtype(dtype):
        values = _objects(column) if column.isna().any() else column.to_numpy(dtype=bool)
    elif types.is_complex_dtype(dtype):
        raise _unreadable(name, "complex numbers")
    elif types.is_numeric_dtype(dtype):
        values = _numeric_array(column)
    elif types.is_datetime64_any_dtype(dtype):
        values = _numpy_backed(pd.to_datetime(column, utc=True)).array
    elif types.is_timedelta64_dtype(dtype):
        values = column.dt.total_seconds().to_numpy(dtype=np.float64)
    elif types.is_object_dtype(dtype) or types.is_string_dtype(dtype):
        values = _objects(column)
        _check_scalars(values, name)
    else:
        raise _unreadable(name, f"values of type {dtype}")
    # an object array keeps its dtype: pandas would make text of one and times without zone of another
    return pd.Series(
        values, name=name, index=range(len(column)), dtype=values.dtype if isinstance(values, np.ndarray) else None
    )


def _objects(column: "pd.Series[Any]") -> np.ndarray[Any, Any]:
    """The cells as objects, ``None`` where missing."""
    cells = column.astype(object)
    return cells.where(cells.notna(), None).to_numpy(dtype=object)


def _numpy_backed(times: "pd.Series[Any]") -> "pd.Series[Any]":
    """Arrow's times as pandas' own."""
    if isinstance(times.dtype, pd.ArrowDtype):
        return times.astype("datetime64[us, UTC]")
    return times


def _numeric_array(column: "pd.Series[Any]") -> np.ndarray[Any, Any]:
    """Integers stay integers; nullable, sparse and Arrow numbers become float64 with NaN for missing."""
    if isinstance(column.dtype, np.dtype):
        return column.to_numpy()
    if types.is_integer_dtype(column.dtype) and not column.isna().any():
        return column.to_numpy(dtype=np.int64)
    return column.to_numpy(dtype=np.float64, na_value=np.nan)


def _check_scalars(cells: np.ndarray[Any, Any], name: str) -> None:
    """Refuse cells that are lists, mappings, arrays, bytes and the like."""
    for kind in sorted(set(map(type, cells)), key=str):
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
        The values, float64 with NaN where missing, and ``None``; or NaNs and the first cell that is not a number.
    """
    if is_number(column):
        return column.to_numpy(dtype=np.float64), None
    if types.is_datetime64_any_dtype(column.dtype):
        present = column.dropna()
        return np.full(len(column), np.nan), None if present.empty else str(present.iloc[0])
    codes, labels = pd.factorize(column.astype(object))
    values = np.full(len(labels) + 1, np.nan)  # the last, code -1, is for missing cells
    for i, label in enumerate(labels):
        number = _number(label)
        if number is None:
            return np.full(len(column), np.nan), str(label)
        values[i] = number
    return values[codes], None


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


def as_dates(column: "pd.Series[Any]", form: str) -> tuple["pd.Series[Any]", str | None]:
    """Read a column as times in UTC.

    Args:
        column: datetimes, dates or text.
        form: the text's format as ``strptime`` has it; text in ISO 8601 is read too.

    Returns:
        The times, NaT where missing, and the first cell that is no date (``None`` if all are).
    """
    if types.is_datetime64_any_dtype(column.dtype):
        return pd.to_datetime(column, utc=True), None
    texts = as_text(column)
    times = pd.to_datetime(texts, format=form or "ISO8601", utc=True, errors="coerce")
    if form and bool((times.isna() & texts.notna()).any()):
        iso = pd.to_datetime(texts.where(times.isna()), format="ISO8601", utc=True, errors="coerce")
        times = times.astype(iso.dtype).fillna(iso)
    strangers = texts[times.isna() & texts.notna()]
    return times, None if strangers.empty else str(strangers.iloc[0])


def _date_format(column: "pd.Series[Any]") -> str | None:
    """The date format of a column's cells, "" if they are dates already, ``None`` if they are no dates."""
    from skrub import ToDatetime  # noqa: PLC0415 - a study's dependency, and slow to import
    from skrub.core import RejectColumn  # noqa: PLC0415

    cells = column.astype(object)[as_text(column).notna().to_numpy()]
    if types.infer_dtype(cells, skipna=True) in {"date", "datetime"}:
        return ""
    if not all(isinstance(cell, str) for cell in cells):
        return None
    converter = ToDatetime()
    try:
        converter.fit_transform(cells.str.strip())
    except RejectColumn:
        return None
    form: str = converter.format_
    return form


def settle(frame: pd.DataFrame) -> pd.DataFrame:
    """Make numbers, datetimes or a category of each object column, by all its cells.

    Cells that are all numbers make a float64 column; dates in one format make a datetime column, whose format is noted
    in ``frame.attrs[FORMATS]`` for rows to come; anything else makes a category. Settled frames stay as they are.
    """
    formats = dict(frame.attrs.get(FORMATS, {}))
    columns = {}
    for name in frame.columns:
        column = frame[name]
        if not types.is_object_dtype(column.dtype) and not types.is_string_dtype(column.dtype):
            continue
        values, stranger = as_numbers(column)
        if stranger is None:
            columns[name] = pd.Series(values, index=frame.index, name=name)
            continue
        form = _date_format(column)
        times, stranger = (None, "") if form is None else as_dates(column, form)
        if times is None or stranger is not None:
            columns[name] = pd.Series(pd.Categorical(as_text(column)), index=frame.index, name=name)
        else:
            columns[name], formats[name] = times, form
    settled = frame.assign(**columns) if columns else frame.copy(deep=False)
    settled.attrs[FORMATS] = formats
    return settled
