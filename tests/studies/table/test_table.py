"""Every table that can't be studied is refused in one sentence that says what, where and how to mend it."""

import datetime
import decimal
import gzip
import hashlib
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from thinned import datasets
from thinned.errors import InputError
from thinned.studies.table.load import load
from thinned.studies.table.read_files import read_frame
from thinned.studies.table.settle import settle

ROWS = "".join(f"{i},{i % 5},{'yes' if i % 3 else 'no'}\n" for i in range(60))
GOOD = f"a,b,y\n{ROWS}"


@pytest.fixture
def write(tmp_path):
    """Write a file; at the end of the test it must hold the same bytes, and the folder nothing else."""
    written = {}

    def write(data, name="table.csv"):
        path = tmp_path / name
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        written[path] = path.read_bytes()
        return path

    yield write
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == written


def refused(source, pattern, target="y", **options):
    """Loading raises an InputError of one line that matches."""
    with pytest.raises(InputError, match=pattern) as caught:
        load(source, target, **options)
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is None


# Files that are read.


def test_a_csv_file_is_read(write):
    table = load(write(GOOD), "y")
    assert table.features.shape == (60, 2)
    assert list(table.features) == ["a", "b"]
    assert table.task == "binary"
    assert table.classes == ("no", "yes")
    assert table.target.dtype == np.int64
    assert table.target.tolist() == [int(i % 3 > 0) for i in range(60)]
    assert (table.target_name, table.name) == ("y", "table.csv")


@pytest.mark.parametrize(
    "data",
    [
        GOOD.replace(",", ";"),
        GOOD.replace(",", "\t"),
        GOOD.replace(",", "|"),
        GOOD.replace(",", ", "),
        GOOD.replace("\n", "\r\n"),
        GOOD.replace("\n", "\r"),
        GOOD.replace("\n", "\n\n"),
        GOOD.rstrip("\n"),
        re.sub(r"\w+", r'"\g<0>"', GOOD),
        "\ufeff" + GOOD,
        gzip.compress(GOOD.encode(), mtime=0),
    ],
    ids=["semicolon", "tab", "bar", "space", "CRLF", "CR", "blank lines", "no last newline", "quotes", "BOM", "gzip"],
)
def test_csv_dialects_read_alike(write, data):
    table = load(write(data), "y")
    assert table.sha256 == load(write(GOOD, "plain.csv"), "y").sha256
    pd.testing.assert_frame_equal(table.features, load(write(GOOD, "plain.csv"), "y").features)


def test_decimal_commas_are_read_where_semicolons_separate(write):
    frame = settle(read_frame(write("a;b\n1,5;2\n-0,25;3\n"))).features
    assert frame["a"].tolist() == [1.5, -0.25]
    frame = settle(read_frame(write("a;b\n1,5;2.5\n", "mixed.csv"))).features  # each column has its own mark
    assert (frame["a"].tolist(), frame["b"].tolist()) == ([1.5], [2.5])


def test_quoted_cells_may_hold_separators_quotes_and_lines(write):
    frame = read_frame(write('a,b\n"x, ""y""\nz",1\n'))
    assert frame["a"].tolist() == ['x, "y"\nz']


def test_a_cell_may_be_longer_than_the_csv_modules_limit(write):
    assert len(read_frame(write(f"a,b\n{'x' * 200_000},1\n"))["a"][0]) == 200_000


def test_the_same_table_in_parquet_pandas_and_polars(tmp_path):
    pl = pytest.importorskip("polars")
    frame = datasets.churn()
    expected = load(frame, "churn")
    frame.set_index(frame.index[::-1]).to_parquet(tmp_path / "churn.parquet")
    frame.to_csv(tmp_path / "churn.csv", index=False)
    for source in (tmp_path / "churn.parquet", str(tmp_path / "churn.csv"), pl.DataFrame(frame.to_dict("list"))):
        table = load(source, "churn")
        assert table.sha256 == expected.sha256
        assert table.target.tobytes() == expected.target.tobytes()
        pd.testing.assert_frame_equal(table.features, expected.features)


def test_the_digest_sees_every_cell_name_and_the_target():
    frame = pd.DataFrame({"a": np.arange(60), "b": ["u", "v", "w"] * 20, "y": [0, 1] * 30})
    base = load(frame, "y").sha256
    assert re.fullmatch("[0-9a-f]{64}", base)
    assert base == load(frame.copy(), "y").sha256
    changes = [
        frame.assign(a=frame["a"].replace(59, 60)),
        frame.assign(a=frame["a"].astype(float)),
        frame.assign(b=frame["b"].where(frame.index != 3, "x")),
        frame.assign(b=frame["b"].where(frame.index != 3, None)),
        frame.assign(y=frame["y"].where(frame.index != 3, 0)),
        frame.rename(columns={"a": "c"}),
        frame[["b", "a", "y"]],
        frame.iloc[::-1],
    ]
    digests = {base, load(frame, "b").sha256, *(load(changed, "y").sha256 for changed in changes)}
    assert len(digests) == 2 + len(changes)


def test_frames_of_many_dtypes_become_plain():
    pl = pytest.importorskip("polars")
    frame = pl.DataFrame(
        {
            "integer": [1, None],
            "truth": [True, None],
            "date": [datetime.date(2020, 1, 1), None],
            "time": [datetime.datetime(2020, 1, 1), None],
            "duration": [datetime.timedelta(days=1), None],
            "decimal": [decimal.Decimal("1.5"), None],
            "nothing": [None, None],
        }
    ).with_columns(pl.Series("category", ["x", None], dtype=pl.Categorical))
    settled = settle(read_frame(frame))
    dtypes = {name: str(dtype) for name, dtype in settled.features.dtypes.items()}
    assert dtypes["integer"] == dtypes["duration"] == dtypes["truth"] == dtypes["decimal"] == "float64"
    assert dtypes["date"].endswith("UTC]")
    assert dtypes["time"].endswith("UTC]")
    assert dtypes["category"] == dtypes["nothing"] == "category"
    kinds = {name: reading.kind for name, reading in settled.readings.items()}
    assert kinds == dict.fromkeys(("integer", "truth", "duration", "decimal"), "number") | {
        "date": "date",
        "time": "date",
        "nothing": "drop",
        "category": "level",
    }
    nullable = pd.DataFrame({"n": pd.array([1, None], dtype="Int64"), "s": pd.array(["a", None], dtype="string")})
    assert settle(nullable).features.dtypes.astype(str).tolist() == ["float64", "category"]


def test_a_given_frame_is_not_changed():
    frame = datasets.churn()
    frame.index = frame.index[::-1]
    before = frame.copy(deep=True)
    features = load(frame, "churn").features
    with pytest.raises(ValueError, match="read-only"):  # the cells are the frame's own
        features.iloc[0, features.columns.get_loc("total_day_minutes")] = 0.0
    pd.testing.assert_frame_equal(frame, before)


# Files that can't be read.


@pytest.mark.parametrize(
    ("data", "pattern"),
    [
        (b"", r"must hold a table of text cells with a header line; '.*table.csv' is empty; check how it was written"),
        (b" \n\n \n", r"table.csv' has blank lines only"),
        (b"a,b,y\n", r"table.csv' has a header line and no rows"),
        (b"\x89PNG\r\n\x1a\n\0\0", r"table.csv' is a PNG image; export the table as CSV"),
        (b"\xff\xd8\xff\xe0", r"is a JPEG image"),
        (b"%PDF-1.7\n", r"is a PDF document"),
        (b"PK\x03\x04\x14\0", r"is a zip archive or an Excel workbook; export the table as CSV"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", r"is an old Excel workbook"),
        (b"PAR1\x15\x04", r"is a Parquet file \(name it .parquet\)"),
        (b"<!DOCTYPE html>\n<html>", r"is a web page or XML"),
        (b"\n <?xml version='1.0'?>", r"is a web page or XML"),
        (b'{"a": [1, 2]}', r"is JSON; export the table as CSV"),
        (b'[{"a": 1}, {"a": 2}]', r"is JSON"),
        (
            "a,b,y\n1,2,é\n".encode("latin-1"),
            r"UTF-8 text; '.*' has the byte 0xe9 at offset 10, line 2; save it as UTF-8",
        ),
        (GOOD.encode("utf-16"), r"UTF-8 text; '.*' is UTF-16 or UTF-32; save it as UTF-8"),
        (GOOD.encode("utf-32"), r"is UTF-16 or UTF-32; save it as UTF-8"),
        (b"a,b,y\n1,\x002,3\n", r"has a NUL byte at offset 8, line 2"),
        (
            b"a,b,y\n1,2,3\n4,5\n",
            r"as many cells as the header; line 3 of '.*' has 2 where the header has 3; correct that",
        ),
        (b"a,b,y\n1,2,3\n\n4,5,6,7\n", r"line 4 of '.*' has 4 where the header has 3"),
        (b'a,b,y\n"1\n2",2,3\n4,5\n', r"line 4 of '.*' has 2 where the header has 3"),
        (b"a,b,y\n1,2,3,\n4,5,6,\n", r"line 2 of '.*' has 4 where the header has 3"),
        (
            b'a,b,y\n1,"2,3\n4,5,6\n',
            r"breaks off or has a stray quote \(unexpected end of data\); put quotes around whole",
        ),
        (b'a,b,y\n1,"2"2,3\n', r"breaks off or has a stray quote"),
        (b"a,b,a,y\n1,2,3,4\n", r"column names must differ; 'a' is there 2 times; rename one"),
        (b",b,y\n1,2,3\n", r"every column needs a name; column 1 of 3 has none; name it or leave it out.*index=False"),
        (b"a,b,y,\n1,2,3,\n", r"every column needs a name; column 4 of 4 has none"),
        (b"\x1f\x8b\x08\0broken", r"a gzip file must be intact; '.*' is damaged \(.*\); compress it again"),
        (gzip.compress(GOOD.encode(), mtime=0)[:-9], r"a gzip file must be intact"),
        (gzip.compress(b"", mtime=0), r"has blank lines only"),
    ],
)
def test_a_file_that_is_no_csv_table(write, data, pattern):
    refused(write(data), pattern)


def test_a_file_that_is_not_there(tmp_path):
    refused(tmp_path / "none.csv", r"data must be an existing file; there is no '.*none.csv'; check the path")
    refused("https://example.org/x.csv", r"there is no 'https:/example.org/x.csv'; download it first")
    refused("nul\0.csv", r"there is no 'nul\\x00.csv'")
    refused("x" * 5000 + ".csv", r"there is no '…x+.csv'")
    refused(tmp_path, r"data must be a file; '.*' is a folder; name one file")


def test_a_file_of_another_kind(write):
    for name in ("table.xlsx", "table.json", "table", "table.csv.zip"):
        refused(
            write(GOOD, name), rf"CSV \(.csv, .tsv, .txt, also with .gz\) and Parquet .* are read; got '.*{name}'; save"
        )


def test_a_file_that_may_not_be_read(write, monkeypatch):
    path = write(GOOD)
    written = path.read_bytes

    def deny(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(path), "read_bytes", deny)
    refused(path, r"data must be readable; opening '.*table.csv' failed \(Permission denied\); check its permissions")
    monkeypatch.undo()
    assert written()


def test_a_damaged_parquet_file(tmp_path, write):
    frame = pd.DataFrame({"a": np.arange(60), "y": [0, 1] * 30})
    frame.to_parquet(tmp_path.parent / "good.parquet")
    data = (tmp_path.parent / "good.parquet").read_bytes()
    for broken in (b"hello", b"PAR1PAR1PAR1", data[:-20], data[: len(data) // 2]):
        refused(
            write(broken, "t.parquet"),
            r"a .parquet file must be intact; '.*t.parquet' can't be read .*; write it again",
        )


@given(st.integers(0, 3000), st.integers(1, 255))
@example(148, 128)  # text that isn't UTF-8
@example(1205, 1)  # damaged notes of pandas
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_parquet_with_a_changed_byte_raises_nothing_else(tmp_path, at, change):
    path = tmp_path / "t.parquet"
    pd.DataFrame({"a": np.arange(6), "s": list("abcdef")}).to_parquet(path)
    data = bytearray(path.read_bytes())
    data[at % len(data)] ^= change
    path.write_bytes(data)
    try:
        read_frame(path)
    except InputError as error:
        assert "\n" not in str(error)  # noqa: PT017


cells = st.sampled_from(
    ["a", "b,", '"', "'", ";", ",", "\n", "\r", "\t", "|", " ", "1", "1e999", "-", "é", "\x1a", "\0", "#", "\\"]
)


@given(st.one_of(st.binary(max_size=80), st.lists(cells, max_size=25).map("".join).map(str.encode)))
@example(b"a,b\n1,2\n")
@settings(max_examples=600, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_arbitrary_bytes_give_a_frame_or_a_sentence(tmp_path, data):
    path = tmp_path / "any.csv"
    path.write_bytes(data)
    try:
        frame = read_frame(path)
    except InputError as error:
        assert re.fullmatch("[^\n]+; [^\n]+", str(error))  # noqa: PT017
    else:
        assert frame.shape[0] >= 1
        assert frame.shape[1] >= 1
        assert all(isinstance(name, str) for name in frame.columns)
    assert path.read_bytes() == data


@pytest.mark.parametrize(
    ("column", "seen"),
    [
        ([[1], [2, 3]] * 30, "(list|ndarray)"),
        ([{"k": 1}] * 60, "dict"),
        ([b"bytes"] * 60, "bytes"),
        ([1j] * 60, "complex numbers"),
        (pd.period_range("2020", periods=60, freq="M"), r"values of type period\[M\]"),
    ],
)
def test_a_column_of_other_things_than_scalars(tmp_path, column, seen):
    frame = pd.DataFrame({"x": column, "y": [0, 1] * 30})
    pattern = rf"must hold numbers, text, dates or truth values; column 'x' holds {seen}.*; leave it out, or spread"
    refused(frame, pattern)
    if seen in {"(list|ndarray)", "dict"}:
        frame.to_parquet(tmp_path / "nested.parquet")
        refused(tmp_path / "nested.parquet", pattern)


@pytest.mark.parametrize(
    ("source", "remedy"),
    [
        ({"a": [1]}, "wrap it in pandas.DataFrame"),
        (np.zeros((3, 2)), "wrap"),
    ],
)
def test_a_source_that_is_neither_path_nor_frame(source, remedy):
    refused(source, rf"data must be a path or a data frame of pandas or polars; got \w+; {remedy}")


def test_a_lazy_frame_of_polars():
    lazy = pytest.importorskip("polars").LazyFrame({"a": [1]})
    refused(lazy, r"data must be a path or a data frame of pandas or polars; got \w+; call .collect")


# Tables that can't be studied.


def numbered(**columns):
    return pd.DataFrame({"x": np.arange(60.0), "y": [0, 1] * 30} | columns)


def test_a_target_that_is_absent(write):
    frame = datasets.churn()
    refused(
        frame, r"the target must be a column of the table; there is no column 'Churned'; perhaps 'churn'; it", "Churned"
    )
    refused(frame, r"perhaps 'churn'; it has 'state'", " CHURN ")
    refused(frame, r"there is no column 'zzz'; it has 'state', 'account_length'.*'churn'$", "zzz")
    refused(numbered(), r"it has 'x', 'y'$", "q" * 200)
    long = numbered().rename(columns={"x": "n" * 200})
    with pytest.raises(InputError) as caught:
        load(long, "q" * 200)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("value", [1, 0.5, "yes", True])
def test_a_constant_target(value):
    refused(numbered(y=value), r"the target must take at least two values; 'y' is '.*' in every row; choose another")


@pytest.mark.parametrize(
    "values", [[0, None, 1], ["a", None, "b"], ["a", "", "b"], [1.5, np.nan, 2], [True, None, False]]
)
def test_a_target_with_missing_values(values):
    pattern = r"the target must be known in every row; 'y' is missing in 20 of 60 rows; leave these rows out, or fill"
    refused(numbered(y=values * 20), pattern)


def test_a_class_with_fewer_rows_than_folds():
    frame = numbered(y=["a"] * 28 + ["b"] * 28 + ["rare"] * 4)
    refused(
        frame, r"each class needs at least 5 rows, one for each fold; class 'rare' of 'y' has 4; merge rare classes"
    )
    assert load(frame, "y", folds=4).classes == ("a", "b", "rare")
    refused(numbered(y=["a"] * 57 + ["b"] * 3), r"class 'b' of 'y' has 3; collect more data")
    refused(numbered(y=[0] * 30 + [1] * 28 + [2] * 2), r"class '2' of 'y' has 2; .*choose task='regression' if")
    refused(numbered(y=[f"name {i}" for i in range(60)]), r"class 'name \d+' of 'y' has 1 \(and 59 other classes")


def test_too_few_rows():
    refused(numbered().iloc[:49], r"a study of 5 folds needs at least 50 rows; got 49; collect more data")
    refused(numbered(), r"a study of 10 folds needs at least 100 rows; got 60", folds=10)
    assert len(load(numbered().iloc[:50], "y").target) == 50


def test_infinite_values():
    frame = numbered(x=[np.inf, -np.inf] + [0.0] * 58)
    refused(frame, r"numbers must be finite; column 'x' has infinite values in 2 rows; correct them, or leave")
    refused(numbered(x=["inf"] + ["1"] * 59), r"column 'x' has infinite values in 1 row;")
    refused(numbered(y=[np.inf] + [0.5, 1.5] * 29 + [2]), r"column 'y' has infinite values in 1 row;")
    refused(numbered(y=[np.inf] * 30 + [1.0] * 30), r"column 'y' has infinite values in 30 rows;")


def test_no_features(write):
    refused(write("y\n" + "0\n1\n" * 30), r"a study needs feature columns; 'y' is the only column; check the separator")


def test_a_target_of_dates():
    refused(numbered(y=pd.date_range("2020", periods=60)), r"the target must hold classes or numbers; 'y' holds dates;")


def test_a_regression_target_too_large_for_squares():
    refused(numbered(y=np.linspace(0, 1e308, 60)), r"must lie within ±1e\+30; 'y' has 1e\+308; change its unit")


def test_names_and_values_are_shortened():
    frame = numbered(y=["v" * 500] * 4 + ["w"] * 56).rename(columns={"y": "n" * 500})
    with pytest.raises(InputError) as caught:
        load(frame, "n" * 500)
    assert len(str(caught.value)) < 260
    assert "'" + "v" * 57 + "…'" in str(caught.value)


def test_names_with_control_characters_are_escaped():
    refused(numbered(**{"\x1b[31m\n": [np.inf] * 60}), r"column '\\x1b\[31m\\n' has infinite")


# The task.


@pytest.mark.parametrize(
    ("values", "task", "classes"),
    [
        (["yes", "no"], "binary", ("no", "yes")),
        (["No", "Yes"], "binary", ("No", "Yes")),
        (["Yes", "no"], "binary", ("no", "Yes")),
        (["y", "N"], "binary", ("N", "y")),
        (["T", "f"], "binary", ("f", "T")),
        ([True, False], "binary", ("False", "True")),
        (["TRUE", "false"], "binary", ("false", "TRUE")),
        ([1, 0], "binary", ("0", "1")),
        ([1.0, 0.0], "binary", ("0", "1")),
        ([-1, 1], "binary", ("-1", "1")),
        ([2.5, 1.5], "binary", ("1.5", "2.5")),
        (["stay", "leave"], "binary", ("leave", "stay")),
        ([" a", "a ", "b"], "binary", ("a", "b")),
        (["b", "a", "C"], "multiclass", ("C", "a", "b")),
        ([9, 10, 11], "multiclass", ("9", "10", "11")),
        ([3.0, 1.0, 2.0], "multiclass", ("1", "2", "3")),
        (["3", "1", "20"], "multiclass", ("1", "3", "20")),
        (pd.Categorical([1.5, 2.5, 3.5]), "multiclass", ("1.5", "2.5", "3.5")),
        ([1.5, 2.5, 3.5], "regression", ()),
        (range(60), "regression", ()),
        ([float(i) for i in range(60)], "regression", ()),
        ([str(i / 2) for i in range(60)], "regression", ()),
        ([i % 7 for i in range(60)], "regression", ()),
        ([i % 6 for i in range(60)], "multiclass", tuple("012345")),
    ],
)
def test_the_task_is_inferred(values, task, classes):
    values = list(values) if not isinstance(values, pd.Categorical) else values.tolist()
    column = pd.Series((values * 60)[:60])
    if classes == ("1.5", "2.5", "3.5"):
        column = column.astype("category")
    table = load(numbered(y=column), "y")
    assert (table.task, table.classes) == (task, classes)
    if task == "regression":
        assert table.target.dtype == np.float64
        assert table.target.tolist() == [float(value) for value in column]
    else:
        assert table.target.dtype == np.int64
        assert set(table.target) == set(range(len(classes)))
        assert table.target[0] == classes.index(str(table_label(column.iloc[0])))


def table_label(value):
    return int(value) if isinstance(value, float) and value.is_integer() else str(value).strip()


def test_twenty_whole_numbers_are_classes_and_more_are_not():
    for distinct, task in ((20, "multiclass"), (21, "regression")):
        frame = pd.DataFrame({"x": np.arange(400.0), "y": np.arange(400) % distinct})
        assert load(frame, "y").task == task


def test_the_task_may_be_given():
    assert load(numbered(), "y", task="regression").target.dtype == np.float64
    assert load(numbered(y=[1.5, 2.5, 3.5] * 20), "y", task="multiclass").classes == ("1.5", "2.5", "3.5")
    assert (
        load(numbered(y=pd.Categorical([1, 2, 3] * 20)), "y", task="regression").target.tolist() == [1.0, 2.0, 3.0] * 20
    )


def test_a_task_that_contradicts_the_target():
    words = numbered(y=["a", "b", "c", "d", "e"] * 12)
    refused(
        words, r"binary target must have exactly two classes; 'y' has 5: 'a', 'b', 'c', 'd', 'e'; choose", task="binary"
    )
    refused(words, r"regression target must hold numbers; 'y' has 'a'; choose task='multiclass'", task="regression")
    refused(numbered(), r"multiclass target must have at least three classes; 'y' has 2: '0', '1'", task="multiclass")
    refused(words, r"task must be one of binary, multiclass, regression; got 'classify'", task="classify")


def test_a_file_is_only_read(write):
    path = write(GOOD)
    before = hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns
    load(path, "y")
    refused(path, "there is no column", "absent")
    assert before == (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
