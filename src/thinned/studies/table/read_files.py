"""Files and data frames to tables of cells; what can't be a table is refused in one sentence."""

import codecs
import gzip
import io
import os
import re
import stat
import zlib
from functools import cached_property
from pathlib import Path
from typing import Protocol, runtime_checkable

import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from thinned.errors import InputError, sentence
from thinned.studies.table.names import check_names, quote
from thinned.studies.table.read_csv import TABLE, read_csv, row_lines

__all__ = ["RawTable", "read_frame", "read_table"]

TEXT = (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz", ".txt.gz")
PARQUET = (".parquet", ".pq")
READ = "CSV (.csv, .tsv, .txt, also with .gz) and Parquet (.parquet, .pq) files are read"

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


class RawTable:
    """A table's cells, before it is decided what they mean.

    Attributes:
        frame: the cells, ``(rows, columns)``, rows numbered from 0, names as text; cells of a text file are text.
        name: the file's name; of a data frame, ``attrs["name"]`` or "data frame".
        separator: what stands between the cells of a text file; a comma for other sources.
    """

    def __init__(self, frame: pd.DataFrame, name: str, separator: str = ",", data: bytes | None = None) -> None:
        self.frame = frame
        self.name = name
        self.separator = separator
        self._data = data

    @cached_property
    def _lines(self) -> list[int] | None:
        return None if self._data is None else row_lines(self._data, self.separator)

    def location(self, row: int) -> str:
        """Name a row, counted from 0, as ``line 3`` of a text file or ``row 2`` of another table."""
        return f"row {row + 1}" if self._lines is None else f"line {self._lines[row]}"


@runtime_checkable
class _ForeignFrame(Protocol):
    """A data frame of polars or a table of pyarrow."""

    def to_pandas(self) -> pd.DataFrame:
        """Give the frame that pandas has of it."""


def read_frame(source: object) -> pd.DataFrame:
    """Read a table's cells; see :func:`read_table`."""
    return read_table(source).frame


def read_table(source: object) -> RawTable:
    """Read a table's cells.

    Args:
        source: path of a CSV file (UTF-8, gzip too; comma, semicolon, tab or bar, found by looking) or of a Parquet
            file; or a data frame of pandas, polars or pyarrow, which isn't changed.

    Raises:
        InputError: the file is missing, unreadable, empty, or no table; or names are missing or repeated.
    """
    if isinstance(source, str | os.PathLike):
        raw = _read_file(Path(os.fspath(source)).expanduser())
    elif isinstance(source, pd.DataFrame):
        raw = RawTable(source, str(source.attrs.get("name", "data frame")))
    elif isinstance(source, _ForeignFrame):
        names = getattr(source, "column_names", None) or getattr(source, "columns", [])
        check_names([str(name) for name in names])  # pandas would number repeated ones
        raw = RawTable(source.to_pandas(), "data frame")
    else:
        remedy = "call .collect() first" if hasattr(source, "collect") else "wrap it in pandas.DataFrame"
        requirement = "data must be a path or a data frame of pandas or polars"
        raise InputError(sentence(requirement, f"got {type(source).__name__}", remedy))
    if not len(raw.frame.columns):
        raise InputError(sentence("a table needs columns", "this one has none", "check how it was written"))
    names = [str(name) for name in raw.frame.columns]
    check_names(names)
    raw.frame = raw.frame.set_axis(names, axis=1).reset_index(drop=True)
    return raw


def _read_file(path: Path) -> RawTable:
    name = str(path)
    name = quote(name if len(name) <= 58 else "…" + name[-57:])  # of a long path, the end tells more
    try:
        status = path.stat()
    except (OSError, ValueError):  # ValueError: a NUL in the path
        remedy = "download it first" if ":/" in str(path) else "check the path"  # Path makes one slash of two
        raise InputError(sentence("data must be an existing file", f"there is no {name}", remedy)) from None
    if stat.S_ISDIR(status.st_mode):
        raise InputError(sentence("data must be a file", f"{name} is a folder", f"name one file; {READ}"))
    if not stat.S_ISREG(status.st_mode):
        raise InputError(sentence("data must be a file", f"{name} is a pipe or a device", "save it as a file first"))
    suffix = path.name.lower()
    if not suffix.endswith(TEXT + PARQUET):
        raise InputError(sentence(READ, f"got {name}", "save the table in one of these formats"))
    _check_memory(status.st_size, name)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(
            sentence("data must be readable", f"opening {name} failed ({error.strerror})", "check its permissions")
        ) from None
    if not data:
        raise InputError(sentence(TABLE, f"{name} is empty", "check how it was written"))
    if suffix.endswith(PARQUET):
        return RawTable(_parquet(data, name), path.name)
    data = _text(data, name)
    table = read_csv(data, name)
    return RawTable(table.frame, path.name, table.separator, data)


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
    try:
        file = parquet.ParquetFile(io.BytesIO(data))
        check_names(list(file.schema_arrow.names))
        metadata = file.metadata
        groups = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        _check_memory(8 * max(metadata.num_rows, sum(groups)) * metadata.num_columns, name)
        table = file.read()
        table.validate(full=True)  # text that isn't UTF-8 would fail later, in pandas
        # pandas' own notes in the file would only restore an index, which is no feature, and may be damaged too
        frame: pd.DataFrame = table.replace_schema_metadata(None).to_pandas()
    except InputError:
        raise
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:  # ValueError: a date beyond all calendars
        value = f"{name} can't be read ({_line(error)})"
        raise InputError(sentence("a .parquet file must be intact", value, "write it again")) from None
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
