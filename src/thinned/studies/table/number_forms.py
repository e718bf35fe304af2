"""Numbers as people write them: which form a column has, and the value of each of its cells.

A form is a decimal mark and a mark between thousands. Signs, brackets for negative numbers, currencies and the percent
sign are read in all forms; a percentage keeps its value, 45 % is 45.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
from pyarrow import compute

from thinned.studies.table.columns import Text

__all__ = [
    "FORMS",
    "DecimalMark",
    "FormChoice",
    "NumberForm",
    "Numeral",
    "ThousandsMark",
    "choose_form",
    "numeral",
    "parse_numbers",
    "plain_choice",
]

_PLAIN = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
_SPACES = str.maketrans({"\u00a0": " ", "\u202f": " ", "\u2009": " ", "’": "'", "−": "-"})
_CURRENCY = r"US\$|R\$|A\$|C\$|[$€£¥₹₽₩₺₪฿]|EUR|USD|GBP|CHF|JPY|CNY|INR|SEK|NOK|DKK|PLN|CZK|CAD|AUD|BRL|zł|kr\.?|Fr\."
_NUMERAL = re.compile(
    rf"(?P<open>\()?(?P<sign>[+-])?\s*(?P<before>{_CURRENCY})?\s*(?P<second>[+-])?"
    r"(?P<digits>[.,]?\d(?:[\d.,']|[ ](?=\d))*(?:[eE][+-]?\d+)?)"
    rf"\s*(?P<after>%|{_CURRENCY})?(?P<last>-)?(?P<close>\))?"
)
_INFINITE = re.compile(r"[+-]?inf(inity)?", re.IGNORECASE)
_DIGIT = re.compile(r"\d")


DecimalMark = Literal[".", ","]
ThousandsMark = Literal["", ",", ".", " ", "'"]


class NumberForm(NamedTuple):
    """How numbers are written.

    Attributes:
        decimal: the decimal mark, "." or ",".
        thousands: the mark between groups of three digits: "", ",", ".", " " or "'".
    """

    decimal: DecimalMark = "."
    thousands: ThousandsMark = ""


FORMS = tuple(NumberForm(d, t) for t in get_args(ThousandsMark) for d in get_args(DecimalMark) if d != t)


class Numeral(NamedTuple):
    """A cell that may be a number.

    Attributes:
        digits: its digits and marks, without sign and unit.
        negative: it has a minus sign or stands in brackets.
        unit: a currency, "%" or "".
    """

    digits: str
    negative: bool
    unit: str


class FormChoice(NamedTuple):
    """The form that fits most rows of a column.

    Attributes:
        form: the form.
        unit: the one unit of the numbers, or "".
        rows: the number of rows that it fits.
        ambiguous: another form fits as many rows, and reads other values.
        marked: some number has the form's decimal mark.
    """

    form: NumberForm
    unit: str
    rows: int
    ambiguous: bool
    marked: bool = False


def numeral(text: str) -> Numeral | None:
    """Split a cell into sign, digits and unit; None if it can be no number."""
    match = _NUMERAL.fullmatch(text.translate(_SPACES))
    if match is None or bool(match["open"]) != bool(match["close"]):
        return None
    signs = [sign for sign in (match["sign"], match["second"], match["last"], match["open"]) if sign]
    if len(signs) > 1 or (match["before"] and match["after"]):
        return None
    return Numeral(match["digits"], bool(signs) and signs[0] != "+", match["before"] or match["after"] or "")


@lru_cache(maxsize=4096)
def _fits(shape: str, form: NumberForm) -> bool:
    """Tell if digits, each written as 0, have a form."""
    mark, group = re.escape(form.decimal), re.escape(form.thousands)
    whole = r"\d+"
    if form.thousands:
        whole = rf"(?:\d{{1,3}}(?:{group}\d{{3}})+|\d+)"
    if form.thousands == ",":  # lakhs and crores
        whole = r"(?:\d{1,3}(?:,\d{3})+|\d{1,2}(?:,\d{2})+,\d{3}|\d+)"
    return re.fullmatch(rf"(?:{whole}(?:{mark}\d*)?|{mark}\d+)(?:[eE][+-]?\d+)?", shape) is not None


def _value(number: Numeral, form: NumberForm) -> float | None:
    if not _fits(_DIGIT.sub("0", number.digits), form):
        return None
    digits = number.digits.replace(form.thousands, "") if form.thousands else number.digits
    value = float(digits.replace(form.decimal, "."))
    return -value if number.negative else value


def _only_value(number: Numeral) -> float:
    """Read a number that has another form than its column: its value, if all forms that it can have agree, or NaN."""
    values = {value for form in FORMS if (value := _value(number, form)) is not None}
    return values.pop() if len(values) == 1 else np.nan


def _plain_mask(texts: Text) -> npt.NDArray[np.bool_]:
    """``(rows,)``: the cells that every programming language reads as a number."""
    return texts.matches(_PLAIN)


def plain_choice(texts: Text) -> FormChoice | None:
    """Give the form of a column in which all cells are plain numbers, without a look at each; None for others."""
    rows = len(texts.texts) - texts.texts.null_count
    if not bool((_plain_mask(texts) | np.asarray(texts.texts.is_null())).all()):
        return None
    marked = bool(compute.any(compute.match_substring(texts.texts, ".")).as_py())
    groups = compute.match_substring_regex(texts.texts, r"^[+-]?([1-9]\d{0,2}(\.\d{3})+|\d{1,3})$")
    return FormChoice(FORMS[0], "", rows, marked and bool(compute.all(groups).as_py()), marked)


def parse_numbers(texts: Text, form: NumberForm, unit: str) -> npt.NDArray[np.float64]:
    """Read cells, each by itself.

    A cell of another form counts if it can be read in one way only: 38,5 is no other number, 1,234 may be two.

    Args:
        texts: the cells.
        form: how they are written.
        unit: the unit that they may have; other units make no numbers.

    Returns:
        ``(rows,)`` float64; NaN where a cell is missing or no number of this form, infinite beyond all floats.
    """
    if form.decimal == ".":
        plain = _plain_mask(texts)
        if bool((plain | np.asarray(texts.texts.is_null())).all()):
            return np.asarray(compute.cast(texts.texts, "float64").fill_null(np.nan), dtype=np.float64)
    values = np.full(len(texts.labels), np.nan)
    for position, label in enumerate(texts.labels):
        number = numeral(label)
        if number is not None and number.unit in {"", unit}:
            value = _value(number, form)
            values[position] = _only_value(number) if value is None else value
        elif _INFINITE.fullmatch(label):
            values[position] = float(label)
    return texts.take(values)


def choose_form(labels: Sequence[str], counts: Sequence[int], marks: Mapping[str, int]) -> FormChoice:
    """Find the form of a column's numbers.

    Where two forms fit as many rows, the decimal mark of the other columns decides; without them a comma before three
    digits stands between thousands, unless a zero is before it, and a point is the decimal mark.

    Args:
        labels: the distinct cells that are not missing.
        counts: the number of rows of each.
        marks: the number of other columns with each decimal mark.
    """
    shapes: Counter[str] = Counter()
    units: Counter[str] = Counter()
    rows = zero_first = 0
    for label, count in zip(labels, counts, strict=True):
        number = numeral(label)
        if number is None:
            rows += count if _INFINITE.fullmatch(label) else 0
            continue
        units[number.unit] += count
        shapes[_DIGIT.sub("0", number.digits)] += count
        zero_first += bool(re.match(r"0[.,]\d", number.digits))
    units.pop("", None)
    unit = units.most_common(1)[0][0] if units else ""
    if len(units) > 1:  # a unit that differs says something
        return FormChoice(FORMS[0], "", 0, False)
    fitting = [sum(count for shape, count in shapes.items() if _fits(shape, form)) for form in FORMS]
    most = max(fitting)
    best = [form for form, own in zip(FORMS, fitting, strict=True) if own == most]
    readings = {tuple(_reads(shape, form) for shape in shapes) for form in best}
    ambiguous = len(readings) > 1
    form = best[0]
    if ambiguous and not zero_first:
        mark = "," if marks.get(",", 0) > marks.get(".", 0) else "."
        form = next((form for form in best if form.decimal == mark), form)
    marked = any(form.decimal in shape for shape in shapes)
    return FormChoice(form, unit, most + rows, ambiguous and not zero_first, marked)


def _reads(shape: str, form: NumberForm) -> str:
    """What is left of a shape when its marks are read: equal for forms that read the same value."""
    return shape.replace(form.thousands, "").replace(form.decimal, ".") if _fits(shape, form) else ""
