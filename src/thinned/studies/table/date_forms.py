"""Dates as people write them, read cell by cell.

A cell is read by itself, given only the order of day and month: so a row alone is read as in its table. Understood are
ISO 8601 with times and zones, ISO weeks, days, months and years in figures, and names of months in six languages.
"""

import datetime
import re
import unicodedata
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from thinned.studies.table.columns import Text

__all__ = ["ORDERS", "DateChoice", "DateOrder", "choose_order", "parse_dates"]

DateOrder = Literal["day-first", "month-first", "year-first"]
ORDERS: tuple[DateOrder, ...] = ("day-first", "month-first", "year-first")

_NAMES = (
    "jan january januar janvier enero gennaio januari ene gen jänner",
    "feb february februar fevrier febrero febbraio februari fev",
    "mar march marz mars marzo maart mrt maerz",
    "apr april avril abril aprile avr abr",
    "may mai mayo maggio mei mag",
    "jun june juni juin junio giugno giu",
    "jul july juli juillet julio luglio lug",
    "aug august aout agosto augustus ago",
    "sep september sept septembre septiembre settembre set",
    "oct october oktober octobre octubre ottobre okt ott",
    "nov november novembre noviembre",
    "dec december dezember decembre diciembre dicembre dez dic",
)
_MONTHS = {name: month for month, names in enumerate(_NAMES, 1) for name in names.split()}
_TIME = (
    r"(?:(?:[T ]|,? | at )(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,](?P<part>\d{1,9}))?)?"
    r"\s?(?P<half>[AaPp]\.?[Mm]\.?)?(?:\s?(?P<zone>Z|UTC|GMT|[+-]\d{2}(?::?\d{2})?))?)?"
)
_WEEKDAY = r"(?:[^\W\d_]{2,10}\.?,? )?"
_FORMS = tuple(
    re.compile(form + _TIME)
    for form in (
        r"(?P<year>\d{4})-(?P<week>W\d{2})(?:-(?P<weekday>[1-7]))?",
        r"(?P<year>\d{4})W(?P<week>\d{2})(?P<weekday>[1-7])?",
        r"(?P<year>\d{4})(?P<mark>[-/.])(?P<month>\d{1,2})(?P=mark)(?P<day>\d{1,2})",
        r"(?P<year>\d{4})-(?P<month>\d{2})",
        _WEEKDAY + r"(?P<first>\d{1,2})(?P<mark>[-/.]|\. | )(?P<middle>\d{1,2})(?P=mark)(?P<year>\d{4})",
        r"(?P<first>\d{1,2})/(?P<middle>\d{1,2})/(?P<year>\d{2})",
        r"(?P<first>\d{2})(?P<mark>[-.])(?P<middle>\d{2})(?P=mark)(?P<year>\d{2})",
        _WEEKDAY + r"(?P<day>\d{1,2})(?:st|nd|rd|th|\.)?[- ](?:de |of )?(?P<name>[^\W\d_]{3,10})\.?,?[- ](?:de )?"
        r"(?P<year>\d{4}|\d{2})",
        _WEEKDAY + r"(?P<name>[^\W\d_]{3,10})\.? (?P<day>\d{1,2})(?:st|nd|rd|th)?,? (?P<year>\d{4})",
        r"(?P<year>\d{4})[- ](?P<name>[^\W\d_]{3,10})[- ](?P<day>\d{1,2})",
        r"(?P<name>[^\W\d_]{3,10})\.?[- ](?P<year>\d{4})",
    )
)
_EPOCH = datetime.date(1970, 1, 1).toordinal()
_DAY = 86_400_000_000  # microseconds
_FIRST, _LAST = ((date.toordinal() - _EPOCH) * _DAY for date in (datetime.date.min, datetime.date.max))
_LONGEST = 60  # characters of a date
_SAMPLE = 200  # labels that are looked at first
_PIVOT = 69  # two-digit years from here on are of the 20th century, as strptime has it


class DateChoice(NamedTuple):
    """The order of day and month that fits most rows.

    Attributes:
        order: the order; None where no cell needs one.
        rows: the number of rows that it fits.
        ambiguous: the other order fits as many rows, and reads other dates.
        zoned: some cells name a time zone.
    """

    order: DateOrder | None
    rows: int
    ambiguous: bool
    zoned: bool


def _month(name: str) -> int | None:
    letters = unicodedata.normalize("NFKD", name.casefold())
    return _MONTHS.get("".join(c for c in letters if not unicodedata.combining(c)))


def _year(digits: str) -> int:
    year = int(digits)
    return year if len(digits) == 4 else year + (1900 if year >= _PIVOT else 2000)


def _date(parts: dict[str, str | None], order: DateOrder | None) -> datetime.date | None:
    year, first, middle = parts["year"] or "", parts.get("first"), parts.get("middle")
    week, name = parts.get("week"), parts.get("name")
    try:
        if week:
            return datetime.date.fromisocalendar(_year(year), int(week.strip("W")), int(parts.get("weekday") or 1))
        if name:
            number = _month(name)
            return None if number is None else datetime.date(_year(year), number, int(parts.get("day") or 1))
        if first is None or middle is None:
            return datetime.date(_year(year), int(parts["month"] or 1), int(parts.get("day") or 1))
        if order in {"year-first", None}:
            known = order is not None and len(first) == len(year) == 2
            return datetime.date(_year(first), int(middle), int(year)) if known else None
        day, month = (first, middle) if order == "day-first" else (middle, first)
        return datetime.date(_year(year), int(month), int(day))
    except ValueError:  # no such day
        return None


def _clock(parts: dict[str, str | None]) -> int | None:
    """Microseconds since midnight in UTC."""
    hour, minute, second = (int(parts.get(name) or 0) for name in ("hour", "minute", "second"))
    half = parts.get("half")
    if half:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if half[0] in "pP" else 0)
    if hour > 23 or minute > 59 or second > 59:
        return None
    time = ((hour * 60 + minute) * 60 + second) * 1_000_000 + int((parts.get("part") or "").ljust(6, "0")[:6])
    zone = parts.get("zone") or ""
    if zone[:1] in {"+", "-"}:
        digits = zone[1:].replace(":", "").ljust(4, "0")
        offset = (int(digits[:2]) * 60 + int(digits[2:])) * 60_000_000
        time -= offset if zone[0] == "+" else -offset
    return time


def _stamp(text: str, order: DateOrder | None) -> int | None:
    """Microseconds since 1970 in UTC; None if the cell is no date."""
    for form in _FORMS:
        match = form.fullmatch(text)
        if match is not None:
            parts = match.groupdict()
            date, time = _date(parts, order), _clock(parts)
            if date is not None and time is not None:
                stamp = (date.toordinal() - _EPOCH) * _DAY + time
                return stamp if _FIRST <= stamp <= _LAST else None
    return None


def _stamps(labels: list[str], order: DateOrder | None) -> list[int | None]:
    return [_stamp(label, order) if len(label) <= _LONGEST else None for label in labels]


def parse_dates(texts: Text, order: DateOrder | None) -> pd.DatetimeIndex:
    """Read cells as times in UTC, NaT where a cell is missing or no date; times without a zone are in UTC.

    Without an order, dates that need one are none.
    """
    stamps = _stamps(texts.labels, order)
    values = np.array([np.datetime64("NaT", "us") if stamp is None else np.datetime64(stamp, "us") for stamp in stamps])
    table = np.append(values.astype("datetime64[us]"), np.datetime64("NaT", "us"))
    return pd.DatetimeIndex(table[texts.codes]).tz_localize("UTC")


def choose_order(labels: list[str], counts: npt.NDArray[np.int64], *, sampled: bool = True) -> DateChoice:
    """Find the order of day and month in a column.

    Where both fit, dates with points are read with the day first and others with the month first. Where no cell needs
    an order, as in ISO 8601, none is guessed.

    Args:
        labels: the distinct cells that are not missing.
        counts: the number of rows of each.
        sampled: give a column up by a sample that has few dates.
    """
    sample = labels[:: max(1, len(labels) // _SAMPLE)]
    dates = sum(any(_stamp(label[:_LONGEST], order) is not None for order in ORDERS) for label in sample)
    if sampled and dates < len(sample) / 2:
        return DateChoice(None, 0, False, False)
    stamps = {order: _stamps(labels, order) for order in (*ORDERS, None)}
    rows = {order: int(counts[[s is not None for s in own]].sum()) for order, own in stamps.items()}
    most = max(rows.values())
    zoned = any(re.search(r":\d{2}\S*\s?(?:Z|UTC|GMT|[+-]\d{2}:?\d{2})$", label) for label in labels)
    if rows[None] == most:
        return DateChoice(None, most, False, zoned)
    best = [order for order in ORDERS if rows[order] == most]
    points = bool(labels) and "." in labels[0]
    order = best[0] if points or "month-first" not in best else "month-first"
    ambiguous = order != "year-first" and any(stamps[other] != stamps[order] for other in best if other != "year-first")
    return DateChoice(order, most, ambiguous, zoned)
