"""Files and data frames to a table of cells; what can't be a table is refused in one sentence.

The cells of a text file stay text: what they mean is decided for each column, once (`thinned.studies.table.decisions`).
"""

import csv
import io
import itertools
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

import pandas as pd
import pyarrow as pa
from pyarrow import csv as arrow_csv

from thinned.errors import InputError, sentence
from thinned.studies.table.names import check_names

__all__ = ["TABLE", "CsvTable", "read_csv", "row_lines"]

SEPARATORS = ",;\t|"
TABLE = "a file must hold a table of text cells with a header line"
_BATCH = 20_000  # records that become columns at once


class CsvTable(NamedTuple):
    """A text file's cells.

    Attributes:
        frame: the cells as text, ``(rows, columns)``.
        separator: what stands between them.
    """

    frame: pd.DataFrame
    separator: str


def read_csv(data: bytes, name: str) -> CsvTable:
    """Read a text file.

    Arrow reads it where no cell is quoted. It takes stray quotes without a word and does not know blanks after
    separators, so that files with quotes are read by Python's csv module.

    Args:
        data: UTF-8 text.
        name: the file's name in messages.

    Raises:
        InputError: the file is no table.
    """
    with _long_fields(len(data)):
        separator = _separator(data)
        header = _header(data, separator, name)
        table = None if b'"' in data or len(header) == 1 else _by_arrow(data, separator, header)
        if table is None:
            table = _by_records(data, separator, header, name)
    if not table.num_rows:
        raise InputError(sentence(TABLE, f"{name} has a header line and no rows"))
    return CsvTable(table.to_pandas(types_mapper=pd.ArrowDtype), separator)


def row_lines(data: bytes, separator: str) -> list[int]:
    """Find the line at which each row of a text file begins."""
    with _long_fields(len(data)):
        return [line for line, _ in _records(data, separator)][1:]


def _by_arrow(data: bytes, separator: str, header: list[str]) -> pa.Table | None:
    """Read a file without quotes; None where a line has other cells than the header."""
    first = next(_records(data, separator))[0]
    try:
        table = arrow_csv.read_csv(
            io.BytesIO(data),
            arrow_csv.ReadOptions(skip_rows=first, column_names=header),
            arrow_csv.ParseOptions(delimiter=separator, quote_char=False),
            arrow_csv.ConvertOptions(column_types=dict.fromkeys(header, pa.string()), strings_can_be_null=False),
        )
    except pa.ArrowInvalid:
        return None
    return table if table.column_names == header else None


def _by_records(data: bytes, separator: str, header: list[str], name: str) -> pa.Table:
    """Read a file record by record, so that messages name lines."""
    schema = pa.schema([(column, pa.string()) for column in header])
    records = _rows(data, separator, header, name)
    batches = []
    while batch := list(itertools.islice(records, _BATCH)):
        batches.append(pa.record_batch([pa.array(cells, pa.string()) for cells in zip(*batch, strict=True)], schema))
    return pa.Table.from_batches(batches, schema)


def _rows(data: bytes, separator: str, header: list[str], name: str) -> Iterator[list[str]]:
    """The records below the header, each with as many cells."""
    try:
        for line, record in itertools.islice(_records(data, separator), 1, None):
            if len(record) != len(header):
                raise _ragged(data, separator, name, line, len(record))
            yield record
    except csv.Error as error:
        raise _broken(name, error) from None


def _ragged(data: bytes, separator: str, name: str, line: int, cells: int) -> InputError:
    records = list(itertools.islice(_records(data, separator), 100))
    widths = Counter(len(record) for _, record in records[1:])
    usual, _ = widths.most_common(1)[0]
    width = len(records[0][1])
    remedy = "correct that line"
    if usual > width and widths[usual] > 1:
        start = next(number for number, record in records if len(record) == usual)
        remedy = f"remove the lines above the header, if that is line {start}"
    value = f"line {line} of {name} has {cells} where the header has {width}"
    return InputError(sentence("every row must have as many cells as the header", value, remedy))


def _broken(name: str, error: csv.Error) -> InputError:
    value = f"{name} breaks off or has a stray quote ({str(error)[:100]})"
    return InputError(sentence(TABLE, value, "put quotes around whole cells only"))


def _header(data: bytes, separator: str, name: str) -> list[str]:
    try:
        record = next(_records(data, separator), None)
    except csv.Error as error:
        raise _broken(name, error) from None
    if record is None:
        raise InputError(sentence(TABLE, f"{name} has blank lines only"))
    header = [cell.strip() for cell in record[1]]
    check_names(header)
    return header


@contextmanager
def _long_fields(limit: int) -> Iterator[None]:
    """Let the csv module read cells as long as the file; its limit is global and only 128 KiB."""
    before = csv.field_size_limit(max(limit, csv.field_size_limit()))
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _records(data: bytes, separator: str) -> Iterator[tuple[int, list[str]]]:
    """The records that aren't blank, each with the line at which it begins."""
    lines = io.TextIOWrapper(io.BytesIO(data), encoding="utf-8", newline="")
    reader = csv.reader(lines, delimiter=separator, skipinitialspace=True, strict=True)
    line = 1
    for record in reader:
        if len(record) > 1 or "".join(record).strip():
            yield line, record
        line = reader.line_num + 1


def _separator(data: bytes) -> str:
    """The separator by which most of the first 100 records are as wide as the header, and then the widest.

    Lines above the header may be narrower: where no separator suits the first record, the most frequent width counts.
    """

    def agreement(separator: str) -> tuple[float, float, int]:
        widths = []
        with suppress(csv.Error):  # reported by `_rows`, if this is the separator
            widths = [len(record) for _, record in itertools.islice(_records(data, separator), 100)]
        usual, count = Counter(widths or [1]).most_common(1)[0]
        if usual == 1 and (not widths or widths[0] == 1):
            return 0.0, 0.0, 0
        fits = widths.count(widths[0]) / len(widths) if widths[0] > 1 else 0.0
        return fits, count / len(widths) if usual > 1 else 0.0, max(widths[0], usual)

    return max(SEPARATORS, key=agreement)
