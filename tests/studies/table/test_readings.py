"""A table is read once: numbers, dates, levels and words for missing as people write them, and rows of later files."""

import csv
import gzip
import io
import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from thinned.errors import InputError
from thinned.studies.table import load
from thinned.studies.table.encoding import Encoder
from thinned.studies.table.read_files import read_frame
from thinned.studies.table.readings import DateReading, DropReading, LevelReading, NumberReading, TextReading
from thinned.studies.table.settle import settle

ROWS = 60


def read(cells, **columns):
    """How a column of text is read, as its settled series and its reading."""
    settled = settle(pd.DataFrame({"x": cells}), columns or None)
    return settled.features["x"], settled.readings["x"]


def table(**columns):
    return pd.DataFrame({"noise": np.linspace(0, 1, ROWS) ** 2, "y": ["no", "yes"] * (ROWS // 2)} | columns)


def repeated(cells):
    return list(itertools.islice(itertools.cycle(cells), ROWS))


# --- numbers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cells", "values"),
    [
        (["1.234,56", "12,5", "-3"], [1234.56, 12.5, -3]),
        (["$1,234.50", "$7", "-$0.5"], [1234.5, 7, -0.5]),
        (["1 234,5", "2 000 000", "3"], [1234.5, 2e6, 3]),
        (["1\u202f234,5", "1\u00a0000,25"], [1234.5, 1000.25]),
        (["1'234.5", "1’000"], [1234.5, 1000]),
        (["45 %", "7%", "12.5 %"], [45, 7, 12.5]),
        (["(12.50)", "3.25"], [-12.5, 3.25]),
        (["12.50-", "3.25"], [-12.5, 3.25]),
        (["−5", "+7"], [-5, 7]),  # a minus sign, as word processors write it
        (["€ 1.000.000", "€ 2,5"], [1e6, 2.5]),
        (["1.234,50 EUR", "10 EUR"], [1234.5, 10]),
        (["CHF 1'500.25", "CHF 3"], [1500.25, 3]),
        (["12,34,567.5", "1,000"], [1234567.5, 1000]),  # lakhs
        (["0,123", "1,456"], [0.123, 1.456]),  # no group begins with a zero
        (["1e3", "2.5E-2", ".5"], [1000, 0.025, 0.5]),
        (["1,5e3", "2,25"], [1500, 2.25]),
        (["TRUE", "false"], [1, 0]),
        (["7", "n.a.", "NA", "", "8"], [7, np.nan, np.nan, np.nan, 8]),
    ],
)
def test_numbers_in_local_form(cells, values):
    found, reading = read(cells)
    assert isinstance(reading, NumberReading)
    np.testing.assert_array_equal(found.to_numpy(dtype=float), values)


@pytest.mark.parametrize(
    "cells",
    [
        ["01", "02", "10"],
        ["00501", "94110", "10001"],
        ["1.10", "1.9", "2.0", "beta"],
        ["TRUE", "FALSE", "UNKNOWN"],
        ["10.0.0.1", "10.0.0.2", "192.168.1.1"],
        ["$5", "€5", "£5"],
        ["1_000", "2_000", "3"],
        ["12:30", "7:15", "23:59"],
        ["5-7", "8-10", "3-4"],
        ["0x1F", "0x2A", "0x3"],
    ],
)
def test_what_looks_like_numbers_but_is_none(cells):
    found, reading = read(cells)
    assert isinstance(reading, LevelReading)
    assert found.tolist() == cells
    assert reading.levels == tuple(sorted(cells))


def test_an_ambiguous_comma_is_said_and_read_as_the_other_columns_are():
    prices = repeated(["1,234", "2,500", "9,999", "7,001"])
    for other, values in ((["1.5", "2.5"], [1234.0, 2500.0]), (["1,5", "22,5"], [1.234, 2.5])):
        loaded = load(table(price=prices, other=repeated(other)), "y")
        assert loaded.features["price"].tolist()[:2] == values
        assert loaded.read_as["price"] == "number"
        (notice,) = [notice for notice in loaded.notices if notice.column == "price"]
        assert notice.code == "ambiguous_number"
        assert "'1,234'" in notice.message
    assert "“,” between thousands" in load(table(price=prices), "y").read_in_words["price"]


def test_points_are_thousands_where_every_other_column_has_decimal_commas():
    german = table(price=repeated(["1.234", "2.500"]), other=repeated(["1,5", "22,5"]))
    assert load(german, "y").features["price"].tolist()[:2] == [1234.0, 2500.0]
    assert load(table(price=repeated(["1.234", "2.500"])), "y").features["price"].tolist()[:2] == [1.234, 2.5]


@pytest.mark.parametrize("cells", [["1.234,56", "7,1", "1.000"], ["$1,234.50", "$3.25", "-$2"], ["12,5 %", "7,25 %"]])
def test_a_regression_target_in_local_form(cells):
    values = [f"{i}{cell[1:]}" if cell[0].isdigit() else cell for i, cell in enumerate(repeated(cells))]
    if cells[0][0] == "$":
        values = [f"${i},234.50" for i in range(1, ROWS + 1)]
    assert load(table(price=values), "price").task == "regression"


# --- mistakes ----------------------------------------------------------------------------------------------------


def numbers_with(change):
    lines = ["age,income,y", *(f"{20 + i % 50},{1000 + i}.5,{'no' if i % 2 else 'yes'}" for i in range(ROWS))]
    change(lines)
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda lines: lines.insert(31, lines[0]), r"line 32 \('age'\).*'income'; line 32 repeats the header"),
        (lambda lines: lines.insert(1, "years,EUR,"), r"line 2 \('years'\).*line 2 holds the units"),
        (lambda lines: lines.__setitem__(5, "twelve,1.5,no"), r"line 6 \('twelve'\) of 60 rows; correct them, or say"),
        (lambda lines: lines.__setitem__(9, "unknown,1.5,no"), r"line 10 \('unknown'\).*--column age=number"),
        (lambda lines: lines.append("end of report,,no"), r"line 62 \('end of report'\).*a sum or a remark"),
        (lambda lines: lines.insert(0, "Customers of March"), r"remove the lines above the header, if that is line 2"),
    ],
)
def test_a_few_cells_that_are_no_numbers_are_named(tmp_path, change, words):
    path = tmp_path / "t.csv"
    path.write_text(numbers_with(change))
    with pytest.raises(InputError, match=words):
        load(path, "y")


def test_a_sum_at_the_end_is_named(tmp_path):
    path = tmp_path / "t.csv"
    rows = [f"{'north' if i % 2 else 'south'},{i + 0.5},{'no' if i % 3 else 'yes'}" for i in range(ROWS)]
    path.write_text("\n".join(["region,sales,y", *rows, f"Total,{sum(i + 0.5 for i in range(ROWS))},no"]) + "\n")
    with pytest.raises(InputError, match=r"the sum of the others; column 'region' has line 62 \('Total'\), the last"):
        load(path, "y")


def test_an_override_settles_mistakes():
    frame = table(age=["twelve", *map(str, range(1, ROWS))])
    with pytest.raises(InputError, match=r"something else in row 1 \('twelve'\)"):
        load(frame, "y")
    as_number = load(frame, "y", columns={"age": "number"})
    assert np.isnan(as_number.features["age"][0])
    assert [n.code for n in as_number.notices if n.column == "age"] == ["unreadable"]
    assert load(frame, "y", columns={"age": "level"}).features["age"][0] == "twelve"
    assert isinstance(load(frame, "y", columns={"age": "drop"}).readings["age"], DropReading)
    assert isinstance(load(frame, "y", columns={"age": "text"}).readings["age"], TextReading)
    assert len({load(frame, "y", columns={"age": kind}).sha256 for kind in ("number", "level", "text", "drop")}) == 4


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"agee": "number"}, "there is no column 'agee'"),
        ({"age": "integer"}, "got 'integer' for column 'age'"),
        ({"y": "date"}, "must hold some; 'y' has 'no'"),
        ({"word": "number"}, "must hold some; 'word' has 'a'"),
        ({"noise": "date:day-first"}, "must hold some"),
    ],
)
def test_overrides_that_can_not_be(columns, words):
    with pytest.raises(InputError, match=words):
        load(table(age=range(ROWS), word=repeated(["a", "b"])), "y", columns=columns)


# --- words for missing -------------------------------------------------------------------------------------------


def test_none_and_na_are_words_among_words():
    for word in ("None", "NA", "null", "N/A"):
        found, reading = read([word, "EU", "APAC", "", None] * 3)
        assert word in reading.levels
        assert found.isna().sum() == 6
        assert found[0] == word


def test_none_is_a_class_where_it_is_frequent_and_refused_where_it_is_not():
    for word in ("None", "NA", "null"):
        loaded = load(table(z=repeated([word, "a", "b"])), "z")
        assert set(loaded.classes) == {word, "a", "b"}
        assert [n.code for n in loaded.notices if n.column == "z"] == ["class_word"]
        few = table(z=[word] * 3 + repeated(["a", "b"])[3:])
        with pytest.raises(InputError, match=rf"'z' has rows 1, 2, 3 \('{word}'\), 3 of 60 rows.*--column z=level"):
            load(few, "z", folds=3)
        assert load(few, "z", folds=3, columns={"z": "level"}).classes[0] in {word, "a"}


def test_files_and_frames_have_the_same_words_for_missing(tmp_path):
    cells = ["1.5", "NA", "", "2.5", "null", "n/a", "NaN", "?", "#N/A"]
    frame = table(x=repeated(cells), r=repeated(["NA", "EU", "None"]))
    frame.to_csv(tmp_path / "t.csv", index=False)
    from_frame, from_file = load(frame, "y"), load(tmp_path / "t.csv", "y")
    pd.testing.assert_frame_equal(from_frame.features, from_file.features)
    assert from_file.features["x"].isna().sum() == ROWS - repeated(cells).count("1.5") - repeated(cells).count("2.5")


# --- dates -------------------------------------------------------------------------------------------------------

DAYS = pd.date_range("2019-12-20", periods=40, freq="9D")


@pytest.mark.parametrize(
    "form",
    [
        *("%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%d.%m.%y", "%d-%m-%Y", "%Y/%m/%d", "%Y-%m-%d", "%d %b %Y", "%d-%b-%Y"),
        *("%b %d, %Y", "%B %d, %Y", "%d %B %Y", "%A, %d %B %Y", "%G-W%V-%u", "%d/%m/%Y %H:%M", "%m/%d/%y %I:%M %p"),
        *("%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d %H:%M:%S+00:00", "%d.%m.%Y %H:%M:%S"),
    ],
)
def test_dates_in_many_forms(form):
    found, reading = read(DAYS.strftime(form))
    assert isinstance(reading, DateReading)
    assert found.tolist() == DAYS.tz_localize("UTC").tolist()


def test_months_in_other_languages_zones_and_weeks():
    for cell, day in (
        ("3. März 2020", "2020-03-03"),
        ("3 août 2020", "2020-08-03"),
        ("3 de mayo de 2020", "2020-05-03"),
        ("2020-W10", "2020-03-02"),
        ("March 2020", "2020-03-01"),
        ("3rd March 2020", "2020-03-03"),
        ("2020-03-03T01:00:00+02:00", "2020-03-02T23:00"),
    ):
        found, reading = read([cell, "2020-12-31"])
        assert isinstance(reading, DateReading)
        assert found[0] == pd.Timestamp(day, tz="UTC")


@pytest.mark.parametrize("form", ["%d/%m/%Y", "%d-%m-%Y", "%d.%m.%Y", "%m/%d/%y"])
def test_dates_that_fit_both_orders_are_said(form):
    days = [day for day in pd.date_range("2020-01-01", periods=400) if day.day <= 12][:ROWS]
    frame = table(when=[day.strftime(form) for day in days])
    loaded = load(frame, "y")
    (notice,) = [notice for notice in loaded.notices if notice.column == "when"]
    assert notice.code == "ambiguous_date"
    with pytest.raises(InputError, match=r"fits both orders of day and month; say --column when=date:day-first or"):
        load(frame, "y", time="when")
    order = "month-first" if form.startswith("%m") else "day-first"
    ranks = load(frame, "y", time="when", columns={"when": f"date:{order}"}).times
    assert ranks.tolist() == list(range(ROWS))
    assert not [n for n in load(frame, "y", columns={"when": f"date:{order}"}).notices if n.column == "when"]


@pytest.mark.parametrize(
    "cells", [["03/04/2020", "4.5"], ["31.02.2020", "30.02.2020"], ["1.2.20", "1.10.21"], ["may", "June"]]
)
def test_what_looks_like_dates_but_is_none(cells):
    assert isinstance(read(cells)[1], LevelReading)


# --- identifiers -------------------------------------------------------------------------------------------------


def test_keys_are_left_out_and_row_numbers_are_said():
    frame = table(
        key=[f"C{i:05}" for i in range(ROWS)],
        mail=[f"user{i}@example.org" for i in range(ROWS)],
        id=np.random.default_rng(0).permutation(10 * ROWS)[:ROWS],
        number=range(1, ROWS + 1),
        review=[f"row {i} was fine" for i in range(ROWS)],
        code=[f"{i:04}" for i in range(ROWS)],
    )
    loaded = load(frame, "y")
    said = {notice.column for notice in loaded.notices if notice.code == "identifier"}
    assert said == {"key", "mail", "id", "number", "code"}
    assert {name for name, kind in loaded.read_as.items() if kind == "left out"} == {"key", "mail", "code"}
    assert loaded.read_as["review"] != "left out"
    encoder = Encoder(readings=loaded.readings).fit(loaded.features)
    assert not [name for name in encoder.names if name.startswith(("key", "mail", "code"))]
    kept = load(frame, "y", columns={"key": "text", "id": "number"})
    assert kept.read_as["key"] == "text"
    assert not [notice for notice in kept.notices if notice.column in {"key", "id"}]


# --- a row alone, and a table in many forms ----------------------------------------------------------------------


def plain_table():
    rng = np.random.default_rng(4)
    return pd.DataFrame(
        {
            "price": np.round(np.exp(rng.normal(7, 1.5, ROWS)), 2),
            "count": rng.integers(0, 5000, ROWS).astype(float),
            "day": pd.date_range("2019-01-13", periods=ROWS, freq="11D"),
            "zone": rng.choice(["01", "02", "2A", "NA"], ROWS),
            "flag": rng.choice(["TRUE", "FALSE", "UNKNOWN"], ROWS),
            "note": [f"said “{i % 7}, {i % 5}”" for i in range(ROWS)],
            "y": rng.choice(["no", "yes"], ROWS),
        }
    ).assign(price=lambda frame: frame["price"].where(frame.index % 9 != 4))


def written(frame, separator, form, quoting, day, missing, encoding):
    """The table as a file in one of many forms."""
    decimal, thousands = form

    def number(value, digits):
        text = missing if np.isnan(value) else f"{value:,.{digits}f}"
        return text if text == missing else text.translate(str.maketrans({",": thousands, ".": decimal}))

    cells = frame.assign(
        price=[number(value, 2) for value in frame["price"]],
        count=[number(value, 0) for value in frame["count"]],
        day=frame["day"].dt.strftime(day),
    )
    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter=separator, quoting=quoting)
    writer.writerows([cells.columns, *cells.itertuples(index=False)])
    data = buffer.getvalue().encode("utf-8-sig" if encoding == "utf-8-sig" else "utf-8")
    return gzip.compress(data) if encoding == "gzip" else data


@given(
    separator=st.sampled_from([",", ";", "\t", "|"]),
    form=st.sampled_from(
        [(".", ""), (",", ""), (".", ","), (",", "."), (".", " "), (",", " "), (".", "'"), (",", "\u202f")]
    ),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    day=st.sampled_from(["%Y-%m-%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%d %b %Y", "%B %d, %Y", "%G-W%V-%u"]),
    missing=st.sampled_from(["", "NA", "null", "n/a", "NaN"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "gzip"]),
    rows=st.lists(st.integers(0, ROWS - 1), min_size=1, max_size=4),
)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_table_in_any_form_is_the_same_table_and_each_row_alone_is_its_row(
    tmp_path, separator, form, quoting, day, missing, encoding, rows
):
    frame = plain_table()
    path = tmp_path / ("t.csv.gz" if encoding == "gzip" else "t.csv")
    style = separator, form, quoting, day, missing, encoding
    path.write_bytes(written(frame, *style))
    loaded = load(path, "y")
    np.testing.assert_array_equal(loaded.features["price"], frame["price"])
    np.testing.assert_array_equal(loaded.features["count"].astype(float), frame["count"])
    assert loaded.features["day"].dt.tz_localize(None).tolist() == frame["day"].tolist()
    for name in ("zone", "flag", "note"):
        assert loaded.features[name].tolist() == frame[name].tolist()
    encoder = Encoder(readings=loaded.readings).fit(loaded.features)
    whole = encoder.transform(loaded.features)
    reloaded = Encoder.loads(encoder.dumps())
    path.write_bytes(written(frame.iloc[rows], *style))
    assert reloaded.transform(read_frame(path)).tobytes() == whole[rows].tobytes()
    for row in rows:
        assert encoder.transform(loaded.features.iloc[[row]]).tobytes() == whole[[row]].tobytes()


# --- rows of later files -----------------------------------------------------------------------------------------


def test_what_is_unlike_the_study_is_said_by_column():
    frame = table(
        age=np.arange(ROWS) % 50 + 20.0,
        colour=repeated(["red", "green", "blue"]),
        day=pd.date_range("2020-01-01", periods=ROWS).strftime("%d/%m/%Y"),
        gap=np.where(np.arange(ROWS) % 5 == 0, np.nan, np.arange(ROWS)),
    )
    loaded = load(frame, "y")
    encoder = Encoder(readings=loaded.readings).fit(loaded.features)
    assert encoder.unlike(frame.drop(columns="y")) == []
    new = (
        frame.drop(columns="y")
        .head(6)
        .assign(
            age=["30", "old", "1000000", "25", "", "40"],
            colour=["red", "0", "1", "green", "blue", "0"],
            day=["31/01/2020", "2020-02-01", "yesterday", "01/02/2020", "31/12/2099", "05/02/2020"],
            gap=[np.nan] * 6,
        )
    )
    said = {(notice.column, notice.code): notice for notice in encoder.unlike(new)}
    assert {key: notice.cells for key, notice in said.items()} == {
        ("age", "unreadable"): 1,
        ("age", "out_of_range"): 1,
        ("age", "newly_missing"): 1,
        ("colour", "unseen_level"): 3,
        ("day", "unreadable"): 1,
        ("day", "out_of_range"): 1,
        ("gap", "empty"): 6,
    }
    assert "1e+06" in said["age", "out_of_range"].message
    assert "'0', '1'" in said["colour", "unseen_level"].message


@pytest.mark.parametrize(
    ("training", "new", "value"),
    [
        (["1.5", "2.25", "3"], "2,25", 2.25),  # no other number
        (["1,5", "2,25", "3"], "2.25", 2.25),
        (["1,5", "2,25", "3"], "1.250,5", 1250.5),
        (["1.5", "2.25", "3"], "1,250", np.nan),  # 1.25 or 1250
        (["1.234,5", "2,25", "3"], "1.250", 1250.0),  # as in its table
        (["$1.5", "$2.25", "$3"], "€2", np.nan),
    ],
)
def test_a_new_cell_in_another_form_counts_if_it_can_mean_one_thing_only(training, new, value):
    encoder = Encoder().fit(pd.DataFrame({"x": repeated([*training, ""])}))
    reference = encoder.transform(pd.DataFrame({"x": [value]}))
    assert encoder.transform(pd.DataFrame({"x": [new]})).tobytes() == reference.tobytes()
    codes = {notice.code for notice in encoder.unlike(pd.DataFrame({"x": [new]}))}
    assert ("unreadable" in codes) == np.isnan(value)
