"""Malformed tables, results and models: each is one sentence and exit code 2, never a traceback, and nothing is lost.

Of tables there are more in test_table.py, of options and folders in test_study.py.
"""

import gzip
import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import zipfile
from collections.abc import Callable
from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import safetensors.torch
import torch
from pyarrow import parquet
from skops import io as skops
from typer.testing import CliRunner

import thinned
from thinned.errors import InputError
from thinned.studies import api
from thinned.studies.model import model
from thinned.studies.model.model import Model
from thinned.studies.results.file import SCHEMA
from thinned.studies.table import read_files
from thinned.studies.table.encoding import Encoder
from thinned.studies.training import store
from thinned_cli.app import app

OPTIONS = ["--arms", "dropout", "--rates", "0.5", "--folds", "2", "--seeds", "1", "--hidden", "4", "--epochs", "2"]
ROWS = [f"{i},{i % 7},{'yes' if i % 3 else 'no'}" for i in range(60)]
GOOD = "\n".join(["a,b,y", *ROWS, ""])
POSIX = pytest.mark.skipif(os.name == "nt", reason="Windows has no such files")


def refused(pattern: str, *command: object) -> str:
    """The command ends with exit code 2 and one sentence that holds the words."""
    result = CliRunner().invoke(app, [str(part) for part in command])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    text = " ".join(result.output.split())
    assert result.exit_code == 2, text
    assert text.count("thinned: ") == 1
    assert pattern in text
    return text


def content(folder: Path) -> dict[str, bytes]:
    """What a folder's files hold, but for the lock and SQLite's own two."""
    passing = {".lock", "study.sqlite-wal", "study.sqlite-shm"}
    found = sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in passing)
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def columns(**more: Any) -> pa.Table:
    return pa.table({"a": list(range(60)), "y": [0, 1] * 30} | more)


def packed(table: pa.Table) -> bytes:
    target = BytesIO()
    parquet.write_table(table, target)
    return target.getvalue()


def with_row(row: str) -> str:
    return GOOD + row + "\n"


# --- tables ------------------------------------------------------------------------------------------------------

TABLES: dict[str, tuple[str | bytes, str]] = {
    "one row": ("a,b,y\n1,2,yes\n", "a study of 2 folds needs at least 50 rows; got 1"),
    "one column": ("y\n" + "0\n1\n" * 30, "'y' is the only column; check the separator"),
    "byte order mark alone": (b"\xef\xbb\xbf", "has blank lines only"),
    "unclosed quote in the header": ('"' + GOOD, "breaks off or has a stray quote"),
    "unclosed quote in the last row": (
        with_row('61,1,"no'),
        "breaks off or has a stray quote (unexpected end of data)",
    ),
    "ragged: a cell too many": (with_row("61,1,no,9"), "line 62 of"),
    "ragged: a cell too few": (with_row("61,1"), "has 2 where the header has 3"),
    "names that differ by blanks": (GOOD.replace("a,b", "a, a"), "column names must differ; 'a' is there 2 times"),
    "a name of blanks": (GOOD.replace("a,b", "a,  "), "every column needs a name; column 2 of 3 has none"),
    "NUL in the header": (GOOD.replace("a,b", "a\0,b"), "has a NUL byte at offset 1, line 1"),
    "NUL in a late row": (with_row("61,\0,no"), "has a NUL byte at offset"),
    "a whole number of 401 digits": (with_row(f"{10**400},1,no"), "column 'a' has infinite values in 1 row"),
    "a float beyond all floats": (with_row("1e999,1,no"), "column 'a' has infinite values in 1 row"),
    "infinity": (with_row("-inf,1,no"), "column 'a' has infinite values in 1 row"),
    "a target of 401 digits": (
        "a,y\n" + "".join(f"{i},{10**400 + i}\n" for i in range(60)),
        "column 'y' has infinite values in 60 rows",
    ),
    "all constant": ("a,b,y\n" + "".join(f"1,x,{i % 2}\n" for i in range(60)), "a feature must vary; each of the 2"),
    "all empty": ("a,b,y\n" + "".join(f",,{i % 2}\n" for i in range(60)), "a feature must vary"),
    "mixed target": (
        "a,y\n" + "".join(f"{i},{[i, 'x', '2020-01-01'][i % 3]}\n" for i in range(60)),
        "class '57' of 'y' has 1 (and 19 other classes have too few)",
    ),
    "one class": ("a,y\n" + "".join(f"{i},no\n" for i in range(60)), "'y' is 'no' in every row"),
    "a class rarer than the folds": (
        "a,y\n" + "".join(f"{i},{'rare' if i == 7 else i % 2}\n" for i in range(60)),
        "column 'y' must hold numbers only; got something else in line 9 ('rare') of 60 rows",
    ),
    "a target known in part": (with_row("61,1,"), "the target must be known in every row; 'y' is missing in 1 of 61"),
    "Latin-1 name": ("é,b,y\n".encode("latin-1") + GOOD.encode(), "has the byte 0xe9 at offset 0, line 1"),
    "UTF-16 without a mark": (GOOD.encode("utf-16-le"), "has a NUL byte at offset 1, line 1"),
    "UTF-32": (GOOD.encode("utf-32"), "is UTF-16 or UTF-32; save it as UTF-8"),
    "surrogates": (b"a,b,y\n\xed\xa0\x80,1,no\n", "has the byte 0xed at offset 6, line 2"),
    "overlong": (b"a,b,y\n\xc0\xaf,1,no\n", "has the byte 0xc0 at offset 6, line 2"),
    "EBCDIC": (GOOD.encode("cp500"), "must be UTF-8 text"),
    "an archive of tar": (b"a.csv" + b"\0" * 600, "has a NUL byte at offset 5"),
    "an outline of YAML": ("a: 1\nb: 2\ny: 3\n", "there is no column 'y'; it has 'a: 1'"),
    "ARFF": ("@relation x\n@attribute y\n@data\n1,2\n", "line 4 of"),
}
ZIPPED: dict[str, tuple[bytes, str]] = {
    "gzip in gzip": (gzip.compress(gzip.compress(GOOD.encode())), "has a NUL byte at offset"),
    "gzip cut short": (gzip.compress(GOOD.encode())[:-9], "a gzip file must be intact"),
    "gzip with a wrong sum": (gzip.compress(GOOD.encode())[:-8] + bytes(8), "a gzip file must be intact"),
}
PARQUET: dict[str, tuple[bytes, str]] = {
    "no rows": (packed(columns().slice(0, 0)), "needs at least 50 rows; got 0"),
    "no columns": (packed(pa.table({})), "a table needs columns; this one has none"),
    "repeated names": (
        packed(pa.Table.from_arrays([pa.array([0, 1] * 30)] * 3, names=["a", "a", "y"])),
        "column names must differ; 'a' is there 2 times",
    ),
    "an empty name": (
        packed(pa.Table.from_arrays([pa.array([0, 1] * 30)] * 2, names=["", "y"])),
        "every column needs a name; column 1 of 2 has none",
    ),
    "lists": (packed(columns(x=[[1, 2]] * 60)), "column 'x' holds ndarray values"),
    "lists of lists": (packed(columns(x=[[[1], []]] * 60)), "column 'x' holds ndarray values"),
    "structures": (packed(columns(x=[{"k": {"l": 1}}] * 60)), "column 'x' holds dict values"),
    "maps": (packed(columns(x=pa.array([[("k", 1)]] * 60, pa.map_(pa.string(), pa.int64())))), "holds list values"),
    "bytes": (packed(columns(x=[b"\xff\0"] * 60)), "column 'x' holds bytes values"),
    "dates beyond all calendars": (
        packed(columns(x=pa.array([-(2**30)] * 60, pa.int32()).cast(pa.date32()))),
        "a .parquet file must be intact",
    ),
    "half of it": (packed(columns())[: len(packed(columns())) // 2], "a .parquet file must be intact"),
    "its end alone": (packed(columns())[-200:], "a .parquet file must be intact"),
    "marks alone": (b"PAR1" * 4, "a .parquet file must be intact"),
    "CSV by content": (GOOD.encode(), "a .parquet file must be intact"),
    "nothing": (b"", "is empty; check how it was written"),
}


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        pytest.param(f"table{suffix}", data, words, id=label)
        for suffix, cases in ((".csv", TABLES), (".csv.gz", ZIPPED), (".parquet", PARQUET))
        for label, (data, words) in cases.items()
    ],
)
def test_tables(name: str, data: str | bytes, words: str, tmp_path: Path) -> None:
    file = tmp_path / name
    raw = data if isinstance(data, bytes) else data.encode()
    file.write_bytes(raw)
    refused(words, "study", file, "--target", "y", "--out", tmp_path / "out", *OPTIONS)
    assert file.read_bytes() == raw


def bomb(path: Path, kind: str) -> None:
    """Few bytes that say to be a table of many."""
    if kind == "parquet":
        rows = 3_000_000
        zeros = pa.array(np.zeros(rows, dtype=np.int8))
        parquet.write_table(pa.table({"a": zeros, "y": zeros}), path)
    else:
        path.write_bytes(gzip.compress(b"1,2\n" * 5_000_000))


@pytest.mark.parametrize(("kind", "name"), [("parquet", "t.parquet"), ("gzip", "t.csv.gz"), ("csv", "t.csv")])
def test_a_table_larger_than_memory(kind: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few kB that unpack to more than there is are refused by what they say of themselves, before they do."""
    path = tmp_path / name
    if kind == "csv":
        path.write_text(GOOD)
        monkeypatch.setattr(read_files, "_memory", lambda: 100)
    else:
        bomb(path, kind)
        assert path.stat().st_size < 100_000
        monkeypatch.setattr(read_files, "_memory", lambda: 30_000_000)
    refused("a table must fit into memory three times", "study", path, "--target", "y", "--out", tmp_path / "o")


@POSIX
@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("folder", "is a folder; name one file"),
        ("pipe", "is a pipe or a device; save it as a file first"),
        ("device", "is a pipe or a device"),
        ("dangling link", "data must be an existing file"),
        ("link to itself", "data must be an existing file"),
        ("link to a folder", "is a folder; name one file"),
        ("below a file", "data must be an existing file"),
    ],
)
def test_what_stands_in_a_files_place(kind: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    match kind:
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "device":
            path.symlink_to("/dev/zero")
        case "dangling link":
            path.symlink_to(tmp_path / "nothing")
        case "link to itself":
            path.symlink_to(path)
        case "link to a folder":
            path.symlink_to(tmp_path)
        case "below a file":
            (tmp_path / "file").write_text(GOOD)
            path = tmp_path / "file" / "t.csv"
    refused(words, "study", path, "--target", "y", "--out", tmp_path / "out", *OPTIONS)


def test_hostile_names_are_quoted(tmp_path: Path) -> None:
    """Control characters from a table don't reach the terminal."""
    file = tmp_path / "t.csv"
    file.write_text(GOOD.replace("a,b,y", "\x1b[31ma\x07,../../b,y").replace("\n0,", "\ninf,"))
    text = refused("column '\\x1b[31ma\\x07' has infinite", "study", file, "--target", "y", "--out", tmp_path / "o")
    assert "\x1b" not in text


# --- a run's folder ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("table") / "t.csv"
    frame = pd.read_csv(BytesIO(GOOD.encode()))
    frame.assign(day=pd.date_range("2020-01-01", periods=60).astype(str), c=frame["a"] / 7).to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def run(csv: Path) -> Path:
    """A finished study; tests change copies of it."""
    folder = csv.parent / "run"
    command = ["study", str(csv), "--target", "y", "--out", str(folder), *OPTIONS]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    return folder


@pytest.fixture
def copied(run: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    return folder


def store_says(sql: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        with closing(sqlite3.connect(folder / "study.sqlite")) as connection, connection:
            connection.execute(sql)

    return change


def rewrite(name: str, data: bytes | Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / name
        path.write_bytes(data(path.read_bytes()) if callable(data) else data)

    return change


def folder_for(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        (path / "mine").mkdir(parents=True)

    return change


def linked_model(folder: Path) -> None:
    (folder.parent / "elsewhere").mkdir()
    (folder.parent / "elsewhere" / "thesis.txt").write_text("years of work")
    shutil.rmtree(folder / "model")
    (folder / "model").symlink_to(folder.parent / "elsewhere")


def model_with_more(folder: Path) -> None:
    (folder / "model" / "thesis.txt").write_text("years of work")


FOLDERS: dict[str, tuple[Callable[[Path], None], str]] = {
    "the store cut in half": (rewrite("study.sqlite", lambda data: data[: len(data) // 2]), "must be a study's store"),
    "the store of zeros": (rewrite("study.sqlite", bytes(8192)), "must be a study's store"),
    "the store another file": (rewrite("study.sqlite", b"%PDF-1.7" * 500), "must be a study's store"),
    "the store a folder": (folder_for("study.sqlite"), "study.sqlite must be writable; SQLite says: unable to open"),
    "the store another program's": (store_says("PRAGMA application_id=7"), "it is another program's database"),
    "a table of other columns": (store_says("ALTER TABLE network RENAME COLUMN fold TO leaf"), "no such column: fold"),
    "a table gone": (store_says("DROP TABLE cohort"), ""),
    "a record that is no JSON": (store_says("UPDATE network SET record='{' WHERE fold=1"), "an entry is damaged"),
    "a record of bytes": (store_says("UPDATE network SET record=x'ff00' WHERE fold=1"), "an entry is damaged"),
    "a record of another kind": (store_says("UPDATE network SET record='[1]' WHERE fold=1"), "an entry is damaged"),
    "a record without entries": (store_says("UPDATE network SET record='{}' WHERE fold=1"), "an entry is damaged"),
    "a probe of another kind": (
        store_says(
            "UPDATE network SET record=json_set(record, '$.probes.coadaptation', json('{\"removal\": [\"a\"]}'))"
        ),
        "an entry is damaged",
    ),
    "a plan that is no JSON": (store_says("UPDATE plan SET json='nul'"), "an entry is damaged"),
    "a plan of another kind": (store_says("UPDATE plan SET json='7'"), "an entry is damaged"),
    "a changed plan": (
        store_says("UPDATE plan SET json=replace(json, '\"seed\": 0', '\"seed\": 9')"),
        "seed was 9 and is 0",
    ),
    "changed data": (store_says("UPDATE plan SET json=json_set(json, '$.data', '0')"), "the table has changed since"),
    "the lock a folder": (folder_for(".lock"), "the output folder must be writable"),
    "the results a folder": (folder_for("results.json"), "the output folder must be writable"),
    "the report a folder": (folder_for("report.html"), "the output folder must be writable"),
    "the model a link": (linked_model, "holds 'model/thesis.txt'"),
    "more in the model's folder": (model_with_more, "holds 'model/thesis.txt'"),
    "more in the folder": (lambda folder: (folder / "notes.txt").write_text("mine"), "holds 'notes.txt'"),  # type: ignore[dict-item,return-value]
    "no store": (lambda folder: (folder / "study.sqlite").unlink(), "must be new, empty or that of the same study"),
}


@pytest.mark.parametrize("case", FOLDERS)
def test_folders(case: str, copied: Path, csv: Path) -> None:
    change, words = FOLDERS[case]
    change(copied)
    before = content(copied.parent)
    if not words:  # nothing is missed
        assert (
            CliRunner().invoke(app, ["study", str(csv), "--target", "y", "--out", str(copied), *OPTIONS]).exit_code == 0
        )
        return
    refused(words, "study", csv, "--target", "y", "--out", copied, *OPTIONS)
    after = content(copied.parent)
    if case in {"the results a folder", "the report a folder"}:  # the other of the two may have been written anew
        before, after = (
            {k: v for k, v in c.items() if "results" not in k and "report" not in k} for c in (before, after)
        )
    assert after == before


def test_a_folder_in_use_and_a_folder_of_zeros(copied: Path, csv: Path) -> None:
    """An empty store is one that kept nothing: the study is done again, to the same numbers."""
    before = json.loads((copied / "results.json").read_text())["settings"]
    (copied / "study.sqlite").write_bytes(b"")
    assert CliRunner().invoke(app, ["study", str(csv), "--target", "y", "--out", str(copied), *OPTIONS]).exit_code == 0
    assert json.loads((copied / "results.json").read_text())["settings"] == before


@POSIX
def test_a_full_disk_is_an_error_and_loses_nothing(run: Path, csv: Path, tmp_path: Path) -> None:
    """Files may not grow beyond a limit, as on a full disk: that of the store first, then that of the report. With room
    the same command ends with the same bits."""
    arguments = ["study", str(csv), "--target", "y", "--out", str(tmp_path / "out"), *OPTIONS]
    for limit in (20_000, 300_000):
        code = (
            f"import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
            "from thinned_cli.main import main; main()"
        )
        full = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
        assert full.returncode == 2, full.stderr
        assert "must be writable" in full.stderr
        assert "Traceback" not in full.stderr
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    found, expected = (json.loads((folder / "results.json").read_text()) for folder in (tmp_path / "out", run))
    assert found["settings"] == expected["settings"]
    assert found["comparisons"] == expected["comparisons"]
    weights = Path("model", "weights.safetensors")
    assert (tmp_path / "out" / weights).read_bytes() == (run / weights).read_bytes()


@pytest.mark.parametrize("place", ["store", "model", "results"])
def test_no_space_left(place: str, csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        if place == "store":
            raise sqlite3.OperationalError("database or disk is full")
        raise OSError(28, "No space left on device")

    out = tmp_path / "out"
    with monkeypatch.context() as patched:
        match place:
            case "store":
                patched.setattr(store.Store, "add", full)
            case "model":
                patched.setattr(model.Model, "save", full)
            case "results":
                patched.setattr(api, "write_text", full)
        words = "database or disk is full" if place == "store" else "No space left on device; make room"
        refused(words, "study", csv, "--target", "y", "--out", out, *OPTIONS)
    assert not (out / "results.json").exists()
    assert CliRunner().invoke(app, ["study", str(csv), "--target", "y", "--out", str(out), *OPTIONS]).exit_code == 0


# --- results.json ------------------------------------------------------------------------------------------------


def json_with(**entries: Any) -> Callable[[bytes], bytes]:
    return lambda data: json.dumps(json.loads(data) | entries).encode()


def json_without(name: str) -> Callable[[bytes], bytes]:
    return lambda data: json.dumps({k: v for k, v in json.loads(data).items() if k != name}).encode()


CURRENT = f'"schema": {SCHEMA}'.encode()
RESULTS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "cut in half": (lambda data: data[: len(data) // 2], "must be the folder of a finished study; reading"),
    "empty": (lambda data: b"", "must be the folder of a finished study; reading"),
    "not UTF-8": (lambda data: b"\xff\xfe" + data, "must be the folder of a finished study; reading"),
    "a list": (lambda data: b"[]", "holds something else"),
    "a number": (lambda data: b"7", "holds something else"),
    "deeper than any stack": (lambda data: b"[" * 100_000, "must be the folder of a finished study; reading"),
    "NaN": (lambda data: data.replace(CURRENT, b'"schema": NaN'), "NaN is not a finite number"),
    "beyond all floats": (lambda data: data.replace(CURRENT, b'"schema": 1e999'), "1e999 is not a finite number"),
    "too many digits": (lambda data: data.replace(CURRENT, b'"schema": ' + b"1" * 5000), "reading"),
    "an older schema": (json_with(schema=1), f"results must be of schema {SCHEMA}"),
    "a schema to come": (json_with(schema=99), "is of schema 99; use the version of thinned that wrote it"),
    "no schema": (json_without("schema"), "holds something else"),
    "no verdict": (json_without("verdict"), "must be as a study writes it; Object missing required field `verdict`"),
    "another verdict": (
        json_with(verdict="yes"),
        "Expected `object`, got `str` - at `$.verdict`",
    ),
    "no settings": (json_without("settings"), "must be as a study writes it; Object missing required field `settings`"),
    "settings of another kind": (
        json_with(settings=[1]),
        "Expected `object`, got `int` - at `$.settings[0]`",
    ),
}


@pytest.mark.parametrize("case", RESULTS)
def test_results(case: str, copied: Path) -> None:
    change, words = RESULTS[case]
    rewrite("results.json", change)(copied)
    with pytest.raises(InputError) as caught:
        thinned.studies.Study.load(copied)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_results_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "results.json").mkdir()
    for folder in (tmp_path, tmp_path / "nothing", Path("nul\0")):
        with pytest.raises(InputError, match="must be the folder of a finished study"):
            thinned.studies.Study.load(folder)


# --- the saved model ---------------------------------------------------------------------------------------------


def tampered(name: str, data: bytes | Callable[[bytes], bytes]) -> Callable[[Path], None]:
    """A file replaced, and the sum in the description with it: as someone would who means harm."""

    def change(folder: Path) -> None:
        rewrite(f"model/{name}", data)(folder)
        rewrite("model/model.json", json_with(files=model_sums(folder)))(folder)

    return change


def model_sums(folder: Path) -> dict[str, str]:
    names = ("weights.safetensors", "encoder.skops")
    return {name: hashlib.sha256((folder / "model" / name).read_bytes()).hexdigest() for name in names}


def card_with(**entries: Any) -> Callable[[Path], None]:
    return rewrite("model/model.json", json_with(**entries))


def weights_with(change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> Callable[[Path], None]:
    return tampered("weights.safetensors", lambda data: safetensors.torch.save(change(safetensors.torch.load(data))))


def header(text: bytes) -> bytes:
    return len(text).to_bytes(8, "little") + text


def encoder_with(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def changed(data: bytes) -> bytes:
        state = skops.loads(data, trusted=[])
        result = change(state)
        return bytes(skops.dumps(state if result is None else result))

    return tampered("encoder.skops", changed)


def zipped(entries: dict[str, bytes]) -> bytes:
    target = BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return target.getvalue()


class Harmful:
    """What pickle would run."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch /tmp/harmed",)


def number_reading(**fields: Any) -> Callable[[dict[str, Any]], None]:
    return lambda state: state["encodings"][0].update(fields)


def nan_weights(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: torch.full_like(value, torch.nan) for name, value in weights.items()}


def level_twice(state: dict[str, Any]) -> None:
    state["encodings"].append({"kind": "level", "name": "b", "levels": ["x", "x"], "rare": False, "missing": False})


CHANGED, OTHERS, DAMAGED = (
    "has changed",
    "must hold what model.json describes",
    "a saved encoder must be as the study wrote",
)
CONTENT = "must describe a saved model; its content is another"
MODELS: dict[str, tuple[Callable[[Path], None], str]] = {
    "weights changed": (rewrite("model/weights.safetensors", lambda data: data[:-1] + b"\x01"), CHANGED),
    "encoder changed": (rewrite("model/encoder.skops", lambda data: data + b"\0"), CHANGED),
    "weights a folder": (folder_for("model/weights.safetensors"), "must hold a saved model; reading it failed"),
    "description a folder": (folder_for("model/model.json"), "must hold a saved model; reading it failed"),
    "model a file": (lambda f: (shutil.rmtree(f / "model"), (f / "model").write_text("x")), "must hold a saved model"),  # type: ignore[dict-item,return-value]
    "description cut short": (rewrite("model/model.json", lambda data: data[:50]), CONTENT),
    "description deeper than any stack": (rewrite("model/model.json", b"[" * 100_000), CONTENT),
    "description a list": (rewrite("model/model.json", b"[]"), CONTENT),
    "description not UTF-8": (rewrite("model/model.json", b"\xff"), CONTENT),
    "an entry more": (card_with(run="os.system"), "contains unknown field"),
    "another file named": (card_with(files={"../../../etc/passwd": "", "encoder.skops": ""}), "at `$.files`"),
    "a file more": (card_with(files={"weights.safetensors": "", "encoder.skops": "", "x": ""}), "at `$.files`"),
    "a sum of another kind": (card_with(files={"weights.safetensors": 7, "encoder.skops": []}), "at `$.files"),
    "huge inputs": (card_with(inputs=10**15), "at `$.inputs`"),
    "other inputs": (card_with(inputs=999_999), OTHERS),
    "huge layers": (card_with(hidden=[1_000_000] * 90), OTHERS),
    "endless layers": (card_with(hidden=[4] * 100_000), "at `$.hidden`"),
    "huge members": (card_with(members=1_000_000), "held-out parts"),
    "a truth for a number": (card_with(members=True), "at `$.members`"),
    "a text for a number": (card_with(center="0"), "at `$.center`"),
    "a task of another kind": (card_with(task=["binary"]), "at `$.task`"),
    "another task": (card_with(task="regression"), "2 classes do not make a regression task"),
    "a class more": (card_with(classes=["a", "b", "c"]), "3 classes do not make a binary task"),
    "a setting of another kind": (card_with(setting=7), "at `$.setting`"),
    "a rate of text": (card_with(setting={"dropout": "0.5"}), "at `$.setting.dropout`"),
    "a rate of 2": (card_with(setting={"dropout": 2.0}), "at `$.setting`"),
    "an entry more in the setting": (card_with(setting={"call": "os.system"}), "its setting has other entries"),
    "weights no file of weights": (tampered("weights.safetensors", b"PK\x03\x04"), "must hold a saved model"),
    "weights with a huge header": (tampered("weights.safetensors", (2**62).to_bytes(8, "little")), "reading it failed"),
    "weights out of bounds": (
        tampered("weights.safetensors", header(b'{"w":{"dtype":"F32","shape":[9],"data_offsets":[0,36]}}')),
        "reading it failed",
    ),
    "weights of huge shape": (
        tampered("weights.safetensors", header(b'{"w":{"dtype":"F32","shape":[%d,9],"data_offsets":[0,0]}}' % 2**62)),
        "reading it failed",
    ),
    "weights none": (weights_with(lambda w: {}), OTHERS),
    "weights by other names": (weights_with(lambda w: {f"x.{k}": v for k, v in w.items()}), OTHERS),
    "weights more": (weights_with(lambda w: w | {"x": torch.zeros(1)}), OTHERS),
    "weights of another shape": (weights_with(lambda w: {k: v[:, :1].contiguous() for k, v in w.items()}), OTHERS),
    "weights of another type": (weights_with(lambda w: {k: v.double() for k, v in w.items()}), OTHERS),
    "weights of no number": (weights_with(nan_weights), OTHERS),
    "encoder no archive": (tampered("encoder.skops", b"hello"), DAMAGED),
    "encoder a pickle": (tampered("encoder.skops", __import__("pickle").dumps(Harmful())), DAMAGED),
    "encoder an archive of nothing": (tampered("encoder.skops", zipped({})), DAMAGED),
    "encoder with a path to the outside": (
        tampered("encoder.skops", zipped({"../../x": b"", "schema.json": b"{}"})),
        DAMAGED,
    ),
    "encoder with a schema of text": (tampered("encoder.skops", zipped({"schema.json": b"\xff{"})), DAMAGED),
    "encoder that unpacks to 2 GB": (
        tampered("encoder.skops", lambda data: claimed(data, 2**31)),
        "unpacks to more than 1,073,741,824 bytes",
    ),
    "encoder of functions": (encoder_with(lambda state: {"columns": os.path.join}), "objects of other types"),
    "encoder a list": (encoder_with(lambda state: [1]), DAMAGED),
    "encoder of another format": (encoder_with(lambda state: state.update(format=4)), DAMAGED),
    "encoder of an earlier version": (encoder_with(lambda state: state.update(format=1)), "an earlier version of"),
    "encoder without means": (encoder_with(lambda state: state.update(mean=None)), DAMAGED),
    "encoder of infinite means": (encoder_with(lambda state: state["mean"].fill(np.inf)), DAMAGED),
    "encoder of vanishing deviations": (encoder_with(lambda state: state["deviation"].fill(1e-320)), DAMAGED),
    "encoder of unknown encodings": (encoder_with(number_reading(kind="eval")), DAMAGED),
    "encoder with an entry more": (encoder_with(number_reading(code="x")), DAMAGED),
    "encoder of huge counts": (encoder_with(number_reading(rows=10**400)), DAMAGED),
    "encoder of no quantiles": (encoder_with(number_reading(quantiles=np.zeros((2, 2)))), DAMAGED),
    "encoder of repeated levels": (encoder_with(level_twice), DAMAGED),
    "encoder of no readings": (encoder_with(lambda state: state.update(readings="{}")), DAMAGED),
    "encoder of readings of code": (encoder_with(lambda state: state.update(readings='{"a": "eval"}')), DAMAGED),
    "encoder of readings deeper than any stack": (
        encoder_with(lambda state: state.update(readings="[" * 100_000)),
        DAMAGED,
    ),
    "encoder of an unknown order of dates": (
        encoder_with(lambda state: state.update(readings=state["readings"].replace('"order":null', '"order":"%!%"'))),
        DAMAGED,
    ),
}  # fmt: skip


def claimed(data: bytes, size: int) -> bytes:
    """The archive, whose directory claims a size for its last file."""
    entry = data.rindex(b"PK\x01\x02")
    return data[: entry + 24] + size.to_bytes(4, "little") + data[entry + 28 :]


@pytest.mark.parametrize("case", MODELS)
def test_models(case: str, copied: Path, csv: Path) -> None:
    change, words = MODELS[case]
    change(copied)
    before = content(copied)
    refused(words, "predict", copied, csv, "--out", copied.parent / "p.csv")
    assert not (copied.parent / "p.csv").exists()
    assert content(copied) == before
    assert not Path("/tmp/harmed").exists()


def test_tampering_is_what_is_refused(copied: Path, csv: Path) -> None:
    """The tools of this file change nothing by themselves: so the refusals are due to the changes."""
    tampered("encoder.skops", lambda data: data)(copied)
    weights_with(lambda weights: weights)(copied)
    encoder_with(lambda state: None)(copied)
    frame = pd.read_csv(csv)
    assert Model.load(copied / "model").predict(frame).shape == (60, 2)
    assert isinstance(Encoder.loads((copied / "model" / "encoder.skops").read_bytes()), Encoder)


def test_there_are_many() -> None:
    assert len(TABLES) + len(ZIPPED) + len(PARQUET) + len(MODELS) >= 40
