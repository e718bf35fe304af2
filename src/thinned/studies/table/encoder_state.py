"""A fitted encoder as bytes: skops' archive of text, numbers and arrays, read without trusting any code."""

import zipfile
import zlib
from io import BytesIO
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from thinned.errors import InputError, sentence
from thinned.studies.table.column_encodings import ENCODINGS, HUGE, ColumnEncoding, Floats
from thinned.studies.table.readings import ColumnReading, dump_readings, load_readings

__all__ = ["EncoderState", "dumps", "loads"]

FORMAT = 3  # 2 hashed texts; 1 had no readings: the cells of a file were read by what the file held
LEAST = 1e-157  # no deviation is smaller, nor does a quotient by a larger one overflow
UNPACKED = 1 << 30  # bytes: a state of tens of thousands of columns is far smaller


class EncoderState(NamedTuple):
    """What there is to save of an encoder.

    Attributes:
        columns: names of the input columns.
        readings: how they are read.
        encodings: how they are encoded; columns that are left out have none.
        used: ``(outputs,)``: the output columns that vary.
        mean: ``(outputs,)``: their means in the training rows.
        deviation: ``(outputs,)``: their standard deviations.
    """

    columns: list[str]
    readings: dict[str, ColumnReading]
    encodings: list[ColumnEncoding]
    used: npt.NDArray[np.bool_]
    mean: Floats
    deviation: Floats


def dumps(state: EncoderState) -> bytes:
    """Write the archive."""
    from skops import io  # noqa: PLC0415 - a study's dependency

    saved = {
        "format": FORMAT,
        "columns": state.columns,
        "readings": dump_readings(state.readings),
        "encodings": [{"kind": encoding.kind, **encoding.state()} for encoding in state.encodings],
        "used": state.used,
        "mean": state.mean,
        "deviation": state.deviation,
    }
    data: bytes = io.dumps(saved, compression=zipfile.ZIP_DEFLATED)
    return data


def loads(data: bytes) -> EncoderState:
    """Read the archive.

    Raises:
        InputError: the bytes are no saved encoder, are damaged, or hold an object of another type.
    """
    saved = _unpack(data)
    _check_format(saved)
    try:
        return _checked(saved)
    except InputError as error:
        raise _damaged(str(error)) from None
    except (KeyError, ValueError) as error:
        raise _damaged(f"its content is wrong ({error!s:.60})") from None


def _check_format(saved: dict[str, object]) -> None:
    """Refuse other formats; the second is like this one, but for texts."""
    number, entries = saved.get("format"), saved.get("encodings")
    seen = "an earlier version of thinned wrote this one"
    if number == 1 and "readings" in saved:
        remedy = "run the same study again: it takes its networks over and fits the model anew"
        raise InputError(sentence("a saved model must keep how each column is read", seen, remedy))
    if number != 2 and number != FORMAT:  # noqa: PLR1714 - a damaged one may hold what can't be hashed
        raise _damaged("it is something else")
    kinds = [entry.get("kind") for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    if number == 2 and "text" in kinds:
        remedy = "run the study again in a new folder"
        raise InputError(sentence("a saved model must keep the words of its columns of text", seen, remedy))


def _checked(saved: dict[str, object]) -> EncoderState:
    columns, text = _texts(saved["columns"]), saved["readings"]
    readings = load_readings(text if isinstance(text, str) else "")
    if set(readings) != set(columns):
        raise ValueError("each column must have a reading")
    encodings = [_encoding(entry, readings) for entry in _entries(saved["encodings"])]
    size = sum(len(encoding.names) for encoding in encodings)
    used = _array(saved["used"], np.dtype(np.bool_), size)
    mean, deviation = (_array(saved[name], np.dtype(np.float64), size) for name in ("mean", "deviation"))
    if (np.abs(mean) > HUGE).any() or (deviation < LEAST).any():
        raise ValueError("means and deviations must be of finite columns")
    return EncoderState(columns, readings, encodings, used, mean, deviation)


def _encoding(entry: dict[str, object], readings: dict[str, ColumnReading]) -> ColumnEncoding:
    kind, name = entry.pop("kind", None), entry.get("name")
    if not isinstance(kind, str) or kind not in ENCODINGS:
        raise ValueError("an encoding must be of a known kind")
    encoding = ENCODINGS[kind].from_state(entry)
    if not isinstance(name, str) or name not in readings or readings[name].kind != kind:
        raise ValueError("an encoding must be of a column's reading")
    return encoding


def _entries(value: object) -> list[dict[str, object]]:
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise ValueError("encodings must be entries")
    return [dict(entry) for entry in value]


def _texts(value: object) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        raise ValueError("columns must be text")
    return value


def _array(value: object, dtype: np.dtype[Any], size: int) -> npt.NDArray[Any]:
    if not isinstance(value, np.ndarray) or value.dtype != dtype or value.shape != (size,):
        raise ValueError(f"an array must be {size} of {dtype}")
    if not np.isfinite(value).all():
        raise ValueError("an array must be finite")
    return value


def _unpack(data: bytes) -> dict[str, object]:
    """Unpack a skops archive that may hold builtin containers, numbers, text and arrays only."""
    from skops import io  # noqa: PLC0415 - a study's dependency
    from skops.io.exceptions import UntrustedTypesFoundException  # noqa: PLC0415

    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > UNPACKED:
                raise _damaged(f"it unpacks to more than {UNPACKED:,} bytes")
        state = io.loads(data, trusted=[])
    except InputError:
        raise
    except UntrustedTypesFoundException as error:
        raise _damaged(f"it holds objects of other types ({error!s:.100})") from None
    except (
        *(zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, MemoryError),  # the archive
        *(ValueError, KeyError, TypeError, AttributeError, IndexError, ImportError, OverflowError),  # its schema
    ) as error:
        raise _damaged(f"it can't be read ({type(error).__name__})") from None
    if not isinstance(state, dict):
        raise _damaged("it is something else")
    return state


def _damaged(value: str) -> InputError:
    return InputError(sentence("a saved encoder must be as the study wrote it", value, "run the study again"))
