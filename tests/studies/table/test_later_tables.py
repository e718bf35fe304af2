"""What a later table may lack or write otherwise, and what it is told."""

import warnings

import numpy as np
import pandas as pd
import pytest

from thinned.errors import InputError
from thinned.studies.table.encoding import Encoder
from thinned.studies.table.readings import DateReading, LevelReading
from thinned.studies.table.settle import settle

CODES = [f"{1 + i % 12:02}" for i in range(120)]


def encoder(cells: list[str]) -> Encoder:
    """An encoder of one column x."""
    return Encoder().fit(pd.DataFrame({"x": cells}))


def told(fitted: Encoder, cells: object) -> list[tuple[str, str]]:
    """The codes and messages of the notices on a later column x."""
    return [(notice.code, notice.message) for notice in fitted.unlike(pd.DataFrame({"x": cells}))]


@pytest.mark.parametrize("dtype", [int, float])
def test_numbers_of_a_frame_are_the_codes_of_a_file(dtype: type) -> None:
    fitted = encoder(CODES)
    assert isinstance(fitted.readings["x"], LevelReading)
    numbers = pd.DataFrame({"x": np.array(CODES).astype(int).astype(dtype)})
    assert fitted.transform(numbers).tobytes() == fitted.transform(pd.DataFrame({"x": CODES})).tobytes()
    assert not fitted.unlike(numbers)
    message = "Column 'x' has a level that the training rows did not have ('13', in 1 row)."
    assert told(fitted, [1, 13]) == [("unseen_level", message)]


def test_a_number_of_two_levels_is_a_new_level() -> None:
    fitted = encoder(["01", "001", "02", "a"] * 30)
    assert [code for code, _ in told(fitted, [1, 2])] == ["unseen_level"]
    assert not told(fitted, [2, 2])
    assert [code for code, _ in told(fitted, ["2", "02"])] == ["unseen_level"]  # text is what it says


ISO = [f"2024-03-{1 + i % 28:02}" for i in range(60)]


@pytest.mark.parametrize("cells", [ISO, pd.to_datetime(ISO), [f"{1 + i % 28} March 2024" for i in range(60)]])
def test_without_an_order_in_the_study_dates_of_figures_are_not_read(cells: object) -> None:
    settled = settle(pd.DataFrame({"x": cells}))
    reading = settled.readings["x"]
    assert isinstance(reading, DateReading)
    assert (reading.order, reading.sentence) == (None, "dates")
    fitted = Encoder().fit(pd.DataFrame({"x": cells}))
    message = "Column 'x' has 2 cells that are not dates ('03.04.2024', '03/04/2024'); they were read as missing."
    assert told(fitted, ["2024-03-04", "03.04.2024", "03/04/2024"])[0] == ("unreadable", message)
    assert not told(fitted, ["2024-03-04", "5 March 2024"])


def test_one_date_that_needs_an_order_gives_one() -> None:
    reading = settle(pd.DataFrame({"x": [*ISO, "13.03.2024"]})).readings["x"]
    assert isinstance(reading, DateReading)
    assert reading.sentence == "dates, day first where both are figures"


def test_columns_that_are_left_out_may_be_absent() -> None:
    frame = pd.DataFrame({"x": CODES, "z": range(120)})
    fitted = Encoder(readings=settle(frame, {"z": "drop"}).readings).fit(frame)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert fitted.transform(frame[["x"]]).tobytes() == fitted.transform(frame).tobytes()
    assert not fitted.unlike(frame[["x"]])
    with pytest.raises(InputError, match=r"the rows need the column of training; 'x' is missing"):
        fitted.transform(frame[["z"]])
