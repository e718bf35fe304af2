"""Files and data frames to a pandas frame; whatever can't be a table is refused in one sentence."""

import codecs
import contextlib
import csv
import gzip
import io
import itertools
import os
import re
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from thinned.errors import InputError, sentence
from thinned.studies.table.columns import MISSING, check_names, plain, quote

__all__ = ["read_cells", "read_frame"]

SEPARATORS = ",;\t|"
TEXT = (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz", ".txt.gz")
PARQUET = (".parquet", ".pq")
READ = "CSV (.csv, .tsv, .txt, also with .gz) and Parquet (.parquet, .pq) files are read"
TABLE = "a file must hold a table of text cells with a header line"

# First bytes of files that are often named .csv by mistake. Archives and workbooks are zip files.
SIGNATURES = {
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF8": "a GIF image",
    b"%PDF": "a PDF document",
    b"PK\x03\x04": "a zip archive or an Excel workbook",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"PAR1": "a Parquet file (name it .parquet)",
    b"SQLite format 3": "an SQLite database",
    b"ARROW1": "an Arrow file",
    b"\x89HDF": "an HDF5 file",
    b"BZh": "a bzip2 archive",
    b"\xfd7zXZ": "an xz archive",
    b"\x28\xb5\x2f\xfd": "a zstd archive",
    b"\x7fELF": "a program",
}
WIDE = (b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")  # byte order marks of UTF-16 and UTF-32


def read_frame(source: Any) -> pd.DataFrame:
    """Read a table.

    Args:
        source: path of a CSV file (UTF-8, gzip too; comma, semicolon, tab or bar, found by looking; decimal commas
            where the separator is a semicolon) or of a Parquet file; or a data frame of pandas, polars or pyarrow.

    Returns:
        (rows, columns), rows numbered from 0, names as text. A column is bool, integer, float, datetime (UTC), category
        or object. A data frame that was given isn't changed.

    Raises:
        InputError: the file is missing, unreadable, empty, or no table; names are missing or repeated; a column holds
            lists or other things than scalars.
    """
    if isinstance(source, (str, os.PathLike)):
        frame = _read_file(Path(os.fspath(source)).expanduser())
    elif isinstance(source, pd.DataFrame):
        frame = source
    elif hasattr(source, "to_pandas") and hasattr(source, "columns"):  # polars and pyarrow
        check_names([str(name) for name in getattr(source, "column_names", source.columns)])
        frame = source.to_pandas()
    else:
        remedy = "call .collect() first" if hasattr(source, "collect") else "wrap it in pandas.DataFrame"
        raise InputError(
            sentence("data must be a path or a data frame of pandas or polars", f"got {type(source).__name__}", remedy)
        )
    if not len(frame.columns):
        raise InputError(sentence("a table needs columns", "this one has none", "check how it was written"))
    return plain(frame)


def read_cells(path: Path) -> tuple[pd.DataFrame, str, str]:
    """A file's cells as they stand in it, to be written again.

    Returns:
        The frame (text, where the file is text), the separator, and the decimal mark.

    Raises:
        InputError: as :func:`read_frame`.
    """
    frame = read_frame(path)
    if not path.name.lower().endswith(TEXT):
        return frame, ",", "."
    data = _text(path.read_bytes(), str(path))
    with _long_fields(len(data)):
        separator = _separator(data)
        header, _, decimal = _check_rows(data, separator, str(path))
    cells = pd.read_csv(io.BytesIO(data), sep=separator, dtype=str, na_filter=False, index_col=False)
    return cells.set_axis(header, axis=1), separator, decimal


def _read_file(path: Path) -> pd.DataFrame:
    name = str(path)
    name = quote(name if len(name) <= 58 else "…" + name[-57:])  # of a long path, the end tells more
    try:
        found = path.stat()
    except (OSError, ValueError):  # ValueError: a NUL in the path
        remedy = "download it first" if ":/" in str(path) else "check the path"  # Path makes one slash of two
        raise InputError(sentence("data must be an existing file", f"there is no {name}", remedy)) from None
    if stat.S_ISDIR(found.st_mode):
        raise InputError(sentence("data must be a file", f"{name} is a folder", f"name one file; {READ}"))
    if not stat.S_ISREG(found.st_mode):
        raise InputError(sentence("data must be a file", f"{name} is a pipe or a device", "save it as a file first"))
    suffix = path.name.lower()
    if not suffix.endswith(TEXT + PARQUET):
        raise InputError(sentence(READ, f"got {name}", "save the table in one of these formats"))
    _check_memory(found.st_size, name)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(
            sentence("data must be readable", f"opening {name} failed ({error.strerror})", "check its permissions")
        ) from None
    if not data:
        raise InputError(sentence(TABLE, f"{name} is empty", "check how it was written"))
    return _parquet(data, name) if suffix.endswith(PARQUET) else _csv(_text(data, name), name)


def _check_memory(size: int, name: str) -> None:
    """Refuse what would fill this machine, before it is read: a few bytes may say that they unpack to many."""
    if size > _memory() // 3:  # it is held as bytes, as text or cells, and as numbers
        seen = f"{name} holds at least {size / 1e9:,.1f} GB and this machine has {_memory() / 1e9:,.1f} GB"
        raise InputError(sentence("a table must fit into memory three times", seen, "take a sample of its rows"))


def _memory() -> int:
    """Bytes of this machine, or 16 GiB where the system doesn't tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 16 << 30


def _parquet(data: bytes, name: str) -> pd.DataFrame:
    import pyarrow as pa  # noqa: PLC0415 - slow to import, and needed for Parquet only
    from pyarrow import parquet  # noqa: PLC0415

    try:
        file = parquet.ParquetFile(io.BytesIO(data))
        check_names(list(file.schema_arrow.names))
        about, groups = file.metadata, range(file.metadata.num_row_groups)
        rows = max(about.num_rows, sum(about.row_group(group).num_rows for group in groups))
        _check_memory(8 * rows * about.num_columns, name)
        table = file.read()
        table.validate(full=True)  # text that isn't UTF-8 would fail later, in pandas
        # pandas' own notes in the file would only restore an index, which is no feature, and may be damaged too
        frame: pd.DataFrame = table.replace_schema_metadata(None).to_pandas()
    except InputError:
        raise
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:  # ValueError: a date beyond all calendars
        raise InputError(
            sentence("a .parquet file must be intact", f"{name} can't be read ({_line(error)})", "write it again")
        ) from None
    return frame.loc[:, ~frame.columns.str.fullmatch(r"__index_level_\d+__")]


def _line(error: Exception) -> str:
    """The first line of a library's message, shortened."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:100]


def _text(data: bytes, name: str) -> bytes:
    """A CSV file's text, unpacked and sure to be UTF-8. It stays bytes: as a string it would take up to four times."""
    if data.startswith(b"\x1f\x8b"):
        try:
            with gzip.open(io.BytesIO(data)) as file:
                data = file.read(_memory() // 3 + 1)
            _check_memory(len(data), name)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise InputError(
                sentence("a gzip file must be intact", f"{name} is damaged ({_line(error)})", "compress it again")
            ) from None
    _check_bytes(data, name)
    try:
        data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(
            sentence(
                "a CSV file must be UTF-8 text",
                f"{name} has the byte 0x{data[error.start]:02x} at offset {error.start}, line {line}",
                "save it as UTF-8",
            )
        ) from None
    return data.removeprefix(codecs.BOM_UTF8)


def _check_bytes(data: bytes, name: str) -> None:
    """Refuse what is plainly no CSV text."""
    seen = next((what for signature, what in SIGNATURES.items() if data.startswith(signature)), None)
    if seen:
        raise InputError(sentence(TABLE, f"{name} is {seen}", "export the table as CSV"))
    if data.startswith(WIDE):
        raise InputError(sentence("a CSV file must be UTF-8 text", f"{name} is UTF-16 or UTF-32", "save it as UTF-8"))
    start = data[:4096].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<svg")):
        raise InputError(sentence(TABLE, f"{name} is a web page or XML", "export the table as CSV"))
    if re.match(rb'\{\s*["}]|\[\s*[\[{\]]', start):
        raise InputError(sentence(TABLE, f"{name} is JSON", "export the table as CSV"))
    nul = data.find(b"\0")
    if nul >= 0:
        line = data.count(b"\n", 0, nul) + 1
        raise InputError(
            sentence(TABLE, f"{name} has a NUL byte at offset {nul}, line {line}", "export the table as UTF-8 CSV")
        )


@contextlib.contextmanager
def _long_fields(limit: int) -> Iterator[None]:
    """Let the csv module read cells as long as the file; its limit is global and only 128 KiB."""
    before = csv.field_size_limit(max(limit, csv.field_size_limit()))
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _csv(data: bytes, name: str) -> pd.DataFrame:
    with _long_fields(len(data)):
        separator = _separator(data)
        header, rows, decimal = _check_rows(data, separator, name)
    try:
        frame = pd.read_csv(
            io.BytesIO(data),
            sep=separator,
            decimal=decimal,
            skipinitialspace=True,
            index_col=False,
            keep_default_na=False,
            na_values=sorted(MISSING),
            low_memory=False,  # one dtype per column, whatever the rows of a chunk look like
        )
    except (pd.errors.ParserError, pd.errors.EmptyDataError, ValueError, OverflowError) as error:
        raise InputError(sentence(TABLE, f"{name} can't be read ({_line(error)})", "export the table again")) from None
    if frame.shape != (rows, len(header)):  # the csv module and pandas differ on odd quotes
        seen = f"{name} reads as {rows} rows of {len(header)} cells or as {len(frame)} of {frame.shape[1]}"
        raise InputError(sentence(TABLE, seen, "put quotes around whole cells only"))
    return frame.set_axis(header, axis=1)


def _records(data: bytes, separator: str) -> Iterator[tuple[int, list[str]]]:
    """The records that aren't blank, each with the line it starts at."""
    lines = io.TextIOWrapper(io.BytesIO(data), encoding="utf-8", newline="")
    reader = csv.reader(lines, delimiter=separator, skipinitialspace=True, strict=True)
    line = 1
    for record in reader:
        if len(record) > 1 or "".join(record).strip():
            yield line, record
        line = reader.line_num + 1


def _separator(data: bytes) -> str:
    """The separator by which most of the first 100 records are as wide as the header, and then the widest."""

    def agreement(separator: str) -> tuple[float, int]:
        widths = []
        with contextlib.suppress(csv.Error):  # reported by `_check_rows`, if this is the separator
            widths = [len(record) for _, record in itertools.islice(_records(data, separator), 100)]
        if not widths or widths[0] == 1:
            return 0.0, 0
        return widths.count(widths[0]) / len(widths), widths[0]

    return max(SEPARATORS, key=agreement)


def _check_rows(data: bytes, separator: str, name: str) -> tuple[list[str], int, str]:
    """Check that every record has as many cells as the header; return the header, the rows and the decimal mark."""
    header: list[str] = []
    rows = commas = points = 0
    try:
        for line, record in _records(data, separator):
            if not header:
                header = [cell.strip() for cell in record]
                check_names(header)
                continue
            rows += 1
            if len(record) != len(header):
                seen = f"line {line} of {name} has {len(record)} where the header has {len(header)}"
                raise InputError(sentence("every row must have as many cells as the header", seen, "correct that line"))
            if separator == ";" and rows <= 100:
                commas += sum(bool(re.fullmatch(r"\s*-?\d+,\d+\s*", cell)) for cell in record)
                points += sum(bool(re.fullmatch(r"\s*-?\d+\.\d+\s*", cell)) for cell in record)
    except csv.Error as error:
        seen = f"{name} breaks off or has a stray quote ({_line(error)})"
        raise InputError(sentence(TABLE, seen, "put quotes around whole cells only")) from None
    if not header:
        raise InputError(sentence(TABLE, f"{name} has blank lines only"))
    if not rows:
        raise InputError(sentence(TABLE, f"{name} has a header line and no rows"))
    return header, rows, "," if commas and not points else "."
