"""The encoder: exact on what it promises, deaf to held-out rows, and loadable without trust."""

import io
import json
import re
import warnings
import zipfile

import numpy as np
import pandas as pd
import pytest
import skops.io
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.linear_model import LinearRegression

from thinned import datasets
from thinned.errors import InputError
from thinned.studies.table import column_encodings, encoding
from thinned.studies.table.encoding import LIMIT, Encoder
from thinned.studies.table.load import load
from thinned.studies.table.read_files import read_frame


@pytest.fixture(scope="module")
def churn():
    return datasets.churn().drop(columns="churn")


@pytest.fixture
def mixed():
    """A column of each reading, all but one with missing cells."""
    rng = np.random.default_rng(1)
    rows = 400
    frame = pd.DataFrame(
        {
            "amount": rng.lognormal(size=rows),
            "count": rng.poisson(1.0, rows),
            "flag": rng.integers(0, 2, rows).astype(bool),
            "stored as text": [f"{value:.3f}" for value in rng.standard_normal(rows)],
            "day": pd.date_range("2021-01-01", periods=rows, freq="36h").strftime("%d/%m/%Y"),
            "time": pd.date_range("2021-01-01", periods=rows, freq="7h", tz="Europe/Zurich"),
            "colour": rng.choice(["red", "green", "blue"], rows),
            "note": [f"customer {i} of street {i % 90}" for i in range(rows)],
            "grade": pd.Categorical(rng.choice([1, 2, 3], rows)),
        }
    )
    for name in ("amount", "stored as text", "day", "time", "colour", "note", "grade"):
        frame.loc[rng.choice(rows, 30, replace=False), name] = None
    return frame


def assert_matrix(matrix, rows, encoder):
    assert matrix.dtype == np.float32
    assert matrix.shape == (rows, len(encoder.names))
    assert matrix.flags.c_contiguous
    assert np.isfinite(matrix).all()
    assert np.abs(matrix).max(initial=0.0) <= LIMIT


@pytest.mark.parametrize("most", [0, 10**6])
def test_fit_transform_is_fit_and_transform(mixed, monkeypatch, most):
    monkeypatch.setattr(encoding, "_CELLS_TWICE", most)
    mixed["constant"] = 1.0
    for embedding in (None, "piecewise"):
        once, twice = Encoder(embedding), Encoder(embedding).fit(mixed)
        matrix = once.fit_transform(mixed)
        assert_matrix(matrix, len(mixed), once)
        assert matrix.tobytes() == twice.transform(mixed).tobytes()
        assert once.names == twice.names
        assert once.transform(mixed).tobytes() == matrix.tobytes()


def test_numbers_may_be_encoded_in_parts(mixed, monkeypatch):
    encoder = Encoder("piecewise").fit(mixed)
    whole = encoder.transform(mixed)
    monkeypatch.setattr(encoding, "_ROWS_AT_ONCE", 37)
    assert encoder.transform(mixed).tobytes() == whole.tobytes()
    assert encoder.transform(mixed.head(0)).shape == (0, whole.shape[1])


def test_each_kind_of_column_is_recognised(mixed):
    encoder = Encoder().fit(mixed)
    matrix = encoder.transform(mixed)
    assert_matrix(matrix, 400, encoder)
    for name in (
        *("amount", "amount is missing", "count", "flag", "stored as text", "stored as text is missing"),
        *("day year", "day days since 1970", "day is missing", "time hour", "colour = blue", "colour is missing"),
        *("note is missing", "note component 1", "grade = 1", "grade is missing"),
    ):
        assert name in encoder.names
    for absent in ("count is missing", "day hour", "grade"):  # no missing cell; no time of day; a category is no number
        assert absent not in encoder.names


def test_columns_are_on_unit_scale(mixed):
    encoder = Encoder().fit(mixed)
    matrix = encoder.transform(mixed).astype(np.float64)
    for name, column in zip(encoder.names, matrix.T, strict=True):
        if "component" in name:  # they share a scale
            assert abs(column.mean()) < 1e-6
        elif "=" in name or name in {"colour is missing", "grade is missing"}:
            assert set(column) == {0.0, 1.0}
        elif np.abs(column).max() < LIMIT:  # the one day in 2022 would be at -19
            assert abs(column.mean()) < 1e-6
            assert abs(column.std() - 1.0) < 1e-6


def test_normal_scores_keep_ties_at_their_middle_rank():
    from scipy.special import ndtri

    values = np.repeat([0.0, 1.0, 2.0, 9.0], [500, 300, 150, 50])
    encoded = Encoder().fit(pd.DataFrame({"x": values})).transform(pd.DataFrame({"x": [0.0, 1.0, 2.0, 9.0]}))[:, 1]
    middle = ndtri([0.25, 0.65, 0.875, 0.975])
    scores = np.repeat(middle, [500, 300, 150, 50])
    # landmarks are 1/999 apart: a rank is off by less than that, and its score by that times the slope
    slope = 1.0 / np.exp(-(middle**2) / 2) * np.sqrt(2 * np.pi) / 999 / scores.std()
    assert np.all(np.abs(encoded - (middle - scores.mean()) / scores.std()) < 3 * slope)


@given(hnp.arrays(np.float64, st.integers(2, 40), elements=st.floats(allow_nan=True, allow_infinity=False)))
def test_numbers_of_any_size_keep_their_order(values):
    frame = pd.DataFrame({"x": values, "other": np.arange(len(values))})
    encoder = Encoder().fit(frame)
    matrix = encoder.transform(frame)
    assert_matrix(matrix, len(values), encoder)
    if "x" in encoder.names:
        present = ~np.isnan(values)
        column = matrix[present, encoder.names.index("x")]
        order = np.argsort(values[present], kind="stable")
        assert np.all(np.diff(column[order]) >= 0)


def test_fitting_twice_gives_the_same_bits(mixed, churn):
    for frame in (mixed, churn):
        first, second = Encoder().fit(frame), Encoder().fit(frame.copy())
        assert first.names == second.names
        assert first.transform(frame).tobytes() == second.transform(frame).tobytes()


def test_rows_are_encoded_alone(mixed):
    encoder = Encoder().fit(mixed)
    whole = encoder.transform(mixed)
    parts = [encoder.transform(mixed.iloc[i : i + 37]) for i in range(0, 400, 37)]
    assert np.concatenate(parts).tobytes() == whole.tobytes()
    assert encoder.transform(mixed.iloc[:0]).shape == (0, len(encoder.names))


def test_held_out_rows_do_not_reach_the_fit(churn):
    """The same training rows give the same bits whatever the other rows of the table hold."""
    frame = churn.assign(churn=np.arange(5000) % 2)
    other = frame.copy()
    held_out = np.arange(5000) >= 4000
    other.loc[held_out, "total_day_minutes"] = 1e6
    other.loc[held_out, "state"] = "ZZ"
    outputs = []
    for table in (load(frame, "churn"), load(other, "churn")):
        training = table.features.iloc[:4000]
        encoder = Encoder().fit(training)
        outputs.append((encoder.names, encoder.transform(training).tobytes()))
    assert outputs[0] == outputs[1]


def test_each_fold_reads_a_column_as_the_whole_table_does():
    """Words, or one unambiguous date, among the held-out rows settle the column for the training rows too."""
    rows = 200
    frame = pd.DataFrame({"code": [str(i % 7) for i in range(rows)], "y": np.arange(rows) % 2})
    frame["when"] = pd.Series(pd.to_datetime("2021-01-01") + pd.to_timedelta(np.arange(rows) % 12, unit="D"))
    frame["when"] = frame["when"].dt.strftime("%d/%m/%Y")
    frame.loc[160:, "code"] = "unknown"
    frame.loc[199, "when"] = "31/12/2021"
    table = load(frame, "y")
    features = table.features
    encoder = Encoder(readings=table.readings).fit(features.iloc[:150])
    assert_matrix(encoder.transform(features), rows, encoder)
    assert "code = 3" in encoder.names
    # days 1 to 12 of January, not the first of twelve months; new rows are read in the same format
    assert "when month" not in encoder.names
    new = encoder.transform(pd.DataFrame({"code": ["3"], "when": ["05/01/2021"]}))
    assert new.tobytes() == encoder.transform(features.iloc[[4]].assign(code="3")).tobytes()


def test_unseen_levels_and_new_missing_cells_are_fine(churn):
    encoder = Encoder().fit(churn)
    row = churn.iloc[[0]].copy()
    row["state"] = "unseen"
    row["area_code"] = None
    row["total_day_minutes"] = np.nan
    matrix = encoder.transform(row)
    assert_matrix(matrix, 1, encoder)
    levels = [i for i, name in enumerate(encoder.names) if name.startswith(("state", "area_code"))]
    assert not matrix[0, levels].any()


def test_rare_and_unseen_levels_share_a_column():
    frame = pd.DataFrame({"x": ["a"] * 50 + ["b"] * 50 + ["c", "d"]})
    encoder = Encoder().fit(frame)
    assert encoder.names == ["x = a", "x = b", "x is rare"]
    assert encoder.transform(pd.DataFrame({"x": ["c", "new", "a", None]})).tolist() == [
        [0, 0, 1],
        [0, 0, 1],
        [1, 0, 0],
        [0, 0, 0],
    ]


def test_numbers_may_arrive_as_text_and_text_as_numbers():
    frame = pd.DataFrame({"n": np.arange(100.0), "level": (["1", "2", "x", "y"] * 25)})
    encoder = Encoder().fit(frame)
    asked = encoder.transform(frame.iloc[[0, 1]])
    as_text = encoder.transform(pd.DataFrame({"n": ["0.0", " 1"], "level": ["1", "2"]}))
    with_gap = encoder.transform(pd.DataFrame({"n": [0, 1, None], "level": [1.0, 2.0, np.nan]}))  # as CSV readers do
    assert as_text.tobytes() == asked.tobytes()
    assert with_gap[:2].tobytes() == asked.tobytes()


def test_columns_are_found_by_name(churn):
    encoder = Encoder().fit(churn)
    shuffled = churn.iloc[:, ::-1].assign(churn="no", extra=[[]] * 5000)
    assert encoder.transform(shuffled).tobytes() == encoder.transform(churn).tobytes()


def test_missing_columns_are_named(churn):
    encoder = Encoder().fit(churn)
    with pytest.raises(InputError, match=r"need the 19 columns of training; 'area_code' is missing; add"):
        encoder.transform(churn.drop(columns="area_code"))
    with pytest.raises(InputError, match=r"'state', 'total_intl_charge' are missing"):
        encoder.transform(churn.drop(columns=["state", "total_intl_charge"]))


def test_text_in_a_column_of_numbers_counts_as_missing_and_is_named():
    encoder = Encoder().fit(pd.DataFrame({"age": [1.0, 2.0, 3.0, None]}))
    missing = encoder.transform(pd.DataFrame({"age": [None]}))
    for cells, value in ((["twelve"], "'twelve'"), (pd.to_datetime(["2021-01-01"]), "'2021-01-01")):
        frame = pd.DataFrame({"age": cells})
        assert encoder.transform(frame).tobytes() == missing.tobytes()
        (notice,) = encoder.unlike(frame)
        assert (notice.code, notice.column, notice.cells) == ("unreadable", "age", 1)
        assert notice.message.startswith(f"Column 'age' has a cell that is not a number ({value}")


@pytest.mark.parametrize("cells", [["yesterday"], [20210101]])
def test_no_date_in_a_column_of_dates_counts_as_missing_and_is_named(cells):
    encoder = Encoder().fit(pd.DataFrame({"when": ["13/01/2021", "14/02/2022", None]}))
    frame = pd.DataFrame({"when": cells})
    assert encoder.transform(frame).tobytes() == encoder.transform(pd.DataFrame({"when": [None]})).tobytes()
    (notice,) = encoder.unlike(frame)
    assert notice.message == f"Column 'when' has a cell that is not a date ('{cells[0]}'); it was read as missing."


def test_dates_may_arrive_in_iso_8601_or_as_dates():
    frame = pd.DataFrame({"when": ["13/01/2021", "14/02/2022", "15/03/2023"]})
    encoder = Encoder().fit(frame)
    dates = pd.to_datetime(frame["when"], format="%d/%m/%Y")
    for when in (dates, dates.dt.date, dates.dt.strftime("%Y-%m-%d"), dates.dt.strftime("%Y-%m-%dT%H:%M:%S")):
        assert encoder.transform(pd.DataFrame({"when": when})).tobytes() == encoder.transform(frame).tobytes()


@pytest.mark.parametrize("value", [np.inf, -np.inf, "inf"])
def test_infinite_values_are_refused(value):
    frame = pd.DataFrame({"x": [1.0, 2.0, 3.0]})
    infinite = pd.DataFrame({"x": [1, value, value]}, dtype=object)
    for action in (lambda: Encoder().fit(infinite), lambda: Encoder().fit(frame).transform(infinite)):
        with pytest.raises(
            InputError, match=r"numbers must be finite; column 'x' has infinite values in 2 rows; correct"
        ):
            action()


def test_extreme_numbers_stay_finite():
    frame = pd.DataFrame({"x": [-1e308, 0.0, 1e-308, 1e308], "y": [1.0, 2.0, 3.0, 4.0]})
    encoder = Encoder().fit(frame)
    assert_matrix(encoder.transform(frame), 4, encoder)
    assert_matrix(encoder.transform(pd.DataFrame({"x": [1e308], "y": [-1e308]})), 1, encoder)


def test_a_number_enters_as_its_value_and_as_its_rank():
    frame = pd.DataFrame({"x": [1.0, 2.0, 100.0, None], "two": [0, 1, 0, 1]})
    encoder = Encoder().fit(frame)
    assert encoder.names == ["x", "x rank", "x is missing", "two"]
    value = np.array([1.0, 2.0, 100.0, 2.0])
    np.testing.assert_allclose(encoder.transform(frame)[:, 0], (value - value.mean()) / value.std(), rtol=1e-6)


def test_columns_without_information_are_dropped():
    frame = pd.DataFrame({"x": [1.0, 2.0], "one": [5, 5], "none": [None, None], "word": ["a", "a"]})
    encoder = Encoder().fit(frame)
    assert encoder.names == ["x"]
    assert encoder.transform(frame.assign(one=7, none="z", word="b")).shape == (2, 1)
    with pytest.raises(InputError, match=r"a feature must vary; each of the 3 columns has one value"):
        Encoder().fit(frame.drop(columns="x"))
    with pytest.raises(InputError, match=r"needs rows and columns to fit; got shape \(0, 4\)"):
        Encoder().fit(frame.iloc[:0])


def test_names_that_are_no_text_become_text():
    encoder = Encoder().fit(pd.DataFrame({0: [1.0, 2.0], 1: [3.0, 1.0]}))
    assert encoder.names == ["0", "1"]
    assert encoder.transform(pd.DataFrame({"1": [3.0], "0": [1.0]})).shape == (1, 2)
    with pytest.raises(InputError, match=r"column names must differ; '0' is there 2 times"):
        Encoder().fit(pd.DataFrame([[1, 2]], columns=[0, "0"]))


def test_the_frame_given_is_not_changed(mixed):
    before = mixed.copy(deep=True)
    Encoder().fit(mixed).transform(mixed)
    pd.testing.assert_frame_equal(mixed, before)
    assert not mixed.attrs


def test_no_warning_reaches_the_user(mixed):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Encoder().fit(mixed).transform(mixed)


scalars = st.one_of(
    *(st.none(), st.booleans(), st.integers(), st.floats(allow_infinity=False), st.text(max_size=5), st.dates()),
    *(st.datetimes(), st.sampled_from(["1", "2.5", "2021-01-01", "NA", "x"]), st.decimals(allow_nan=False)),
)


@given(st.lists(scalars, min_size=2, max_size=12), st.lists(scalars, min_size=1, max_size=4))
@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
def test_any_scalars_are_encoded_or_refused_in_a_sentence(training, new):
    frame = pd.DataFrame({"x": pd.Series(training, dtype=object), "n": np.arange(len(training))})
    try:
        encoder = Encoder().fit(frame)
        assert_matrix(encoder.transform(frame), len(training), encoder)
        assert_matrix(encoder.transform(pd.DataFrame({"x": pd.Series(new, dtype=object), "n": 0})), len(new), encoder)
    except InputError as error:
        assert re.search("finite|must hold (numbers|dates) only|must vary", str(error))  # noqa: PT017


# Saving.


def test_a_loaded_encoder_gives_the_same_bits(mixed, churn):
    for frame, size in ((mixed, 400_000), (churn, 100_000)):  # the terms of a text take more than levels
        encoder = Encoder().fit(frame)
        data = encoder.dumps()
        loaded = Encoder.loads(data)
        assert loaded.names == encoder.names
        assert loaded.transform(frame).tobytes() == encoder.transform(frame).tobytes()
        assert len(data) < size
        assert skops.io.get_untrusted_types(data=data) == []


def rewritten(data, change):
    """The archive with its schema changed."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "schema.json":
                content = json.dumps(change(json.loads(content))).encode()
            new.writestr(name, content)
    return buffer.getvalue()


class Foreign:
    """A type that a study never saves."""

    def __init__(self):
        self.format = 1


def test_objects_of_other_types_are_refused():
    with pytest.raises(
        InputError, match=r"a saved encoder must be as the study wrote it; it holds objects of other types"
    ):
        Encoder.loads(skops.io.dumps({"format": 2, "columns": [Foreign()]}))
    with pytest.raises(InputError, match="it is something else; run the study again"):
        Encoder.loads(skops.io.dumps(LinearRegression()))
    with pytest.raises(InputError, match="it is something else"):
        Encoder.loads(skops.io.dumps({"format": 4}))
    with pytest.raises(InputError, match="its content is wrong"):
        Encoder.loads(skops.io.dumps({"format": 2, "columns": ["x"]}))


def test_an_encoder_of_an_earlier_version_is_refused():
    with pytest.raises(InputError, match="must keep how each column is read; an earlier version of thinned wrote"):
        Encoder.loads(skops.io.dumps({"format": 1, "columns": ["x"], "readings": []}))


def test_a_schema_that_calls_code_is_refused(churn):
    def call_system(schema):
        evil = {"__class__": "system", "__module__": "os", "__loader__": "FunctionNode", "__id__": 1, "content": {}}
        schema["content"]["columns"] = evil
        return schema

    with pytest.raises(InputError, match="a saved encoder must be as the study wrote it"):
        Encoder.loads(rewritten(Encoder().fit(churn).dumps(), call_system))


def test_fields_of_another_type_are_refused():
    readings = '{"x": {"kind": "number"}}'
    state = {"format": 3, "columns": ["x"], "readings": readings}
    state |= {"used": np.ones(1, bool), "mean": np.zeros(1), "deviation": np.ones(1)}
    number = {
        "kind": "number",
        "name": "x",
        "median": 0.0,
        "missing": False,
        "rows": 2,
        "quantiles": np.array([0.0, 1.0]),
        "piecewise": False,
    }
    assert Encoder.loads(skops.io.dumps({**state, "encodings": [number]})).names == ["x"]
    changes = (
        *({"kind": "code"}, {"kind": "text"}, {"name": 1}, {"name": "y"}, {"median": "0"}, {"median": np.nan}),
        *({"rows": 0}, {"rows": 1.5}, {"missing": 1}, {"extra": 1}, {"piecewise": None}),
        *({"quantiles": np.zeros((2, 2))}, {"quantiles": np.array([1.0, np.nan])}, {"quantiles": np.zeros(0)}),
        *({"quantiles": [0.0, 1.0]}, {"quantiles": np.array(["a", "b"])}),
    )
    states = [{**state, "encodings": [number | change]} for change in changes]
    states += [
        {**state, "encodings": [number], **change}
        for change in (
            *({"mean": np.zeros(2)}, {"deviation": np.zeros(1)}, {"mean": np.array([np.nan])}, {"columns": "x"}),
            *({"readings": "{}"}, {"readings": readings.replace("number", "level")}, {"readings": None}),
            {"readings": '{"x": {"kind": "number", "decimal": ";"}}'},
            {"readings": '{"x": {"kind": "number", "decimal": ",", "thousands": ","}}'},
            {"readings": '{"x": {"kind": "number", "call": "os.system"}}'},
        )
    ]
    for changed in states:
        with pytest.raises(InputError, match="a saved encoder must be as the study wrote it"):
            Encoder.loads(skops.io.dumps(changed))


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused(data):
    with pytest.raises(InputError, match="a saved encoder must be as the study wrote it"):
        Encoder.loads(data)


FRAME = pd.DataFrame({"x": np.arange(30.0), "y": ["a", "b"] * 15})


@pytest.fixture(scope="module")
def saved():
    return Encoder().fit(FRAME).dumps()


@given(at=st.floats(0, 1, exclude_max=True), change=st.integers(1, 255), cut=st.booleans())
@settings(max_examples=200)
def test_damaged_bytes_are_refused_or_harmless(saved, at, change, cut):
    """A changed byte is caught by the archive's checksums, or sits where nothing depends on it."""
    damaged = bytearray(saved)
    position = int(at * len(saved))
    damaged[position] ^= change
    try:
        loaded = Encoder.loads(bytes(damaged[: position + 1] if cut else damaged))
    except InputError:
        return
    assert loaded.transform(FRAME).tobytes() == Encoder().fit(FRAME).transform(FRAME).tobytes()


def test_a_table_read_from_csv_predicts_as_its_frame(tmp_path, mixed):
    """What a study fits on is what `thinned predict` reads."""
    path = tmp_path / "mixed.csv"
    mixed.to_csv(path, index=False)
    frame = read_frame(path)
    encoder = Encoder().fit(frame)
    assert_matrix(encoder.transform(frame), 400, encoder)
    assert encoder.transform(frame).tobytes() == encoder.transform(read_frame(path)).tobytes()


@pytest.mark.parametrize("rows", [1, 2, 3, 999, 1000, 1001, 4007])
def test_quantiles_are_numpys_in_the_same_bits(rows: int) -> None:
    rng, count = np.random.default_rng(rows), min(1000, rows)
    for values in (rng.normal(size=rows), rng.poisson(3, size=rows).astype(np.float64), rng.normal(size=rows) * 1e150):
        expected = np.quantile(values, np.linspace(0, 1, count))
        np.testing.assert_array_equal(column_encodings._quantiles(values, count), expected)
