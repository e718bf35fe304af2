"""Numbers, outcomes and names in words, as the analysis and the report write them."""

import math
from collections.abc import Iterable
from datetime import datetime

from thinned.studies.results import Reading

__all__ = [
    "READING",
    "capitalise",
    "decimals_for",
    "duration",
    "in_text",
    "interval_decimals",
    "moment",
    "number",
    "number_with_interval",
    "p_value",
    "percent",
    "plural",
]

READING: dict[Reading, str] = {"best": "at the best epoch", "end": "at the last epoch"}
_DIGITS = 4


def capitalise(text: str) -> str:
    """The text with a capital at its start, and no other change."""
    return text[:1].upper() + text[1:]


def in_text(label: str) -> str:
    """A label within a sentence: "log loss", but "RMSE"."""
    return label if label[:2].isupper() or len(label) < 3 else label[0].lower() + label[1:]


def plural(count: int, noun: str) -> str:
    """The count with its noun: "1 epoch", "1,200 epochs"."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def number(value: float, decimals: int, *, signed: bool = False) -> str:
    """A number with a true minus sign; ``signed`` adds a plus sign. Zero has no sign."""
    rounded = round(value, decimals) + 0.0  # no minus zero
    return f"{rounded:{'+' if signed and rounded else ''},.{decimals}f}".replace("-", "\N{MINUS SIGN}")


def interval_decimals(low: float, high: float) -> int:
    """Decimal places that the width of an interval supports: two significant digits of its half-width."""
    half_width = (high - low) / 2
    return min(max(0, 1 - math.floor(math.log10(half_width))), 9) if half_width > 0 else 4


def number_with_interval(mean: float, low: float, high: float) -> str:
    """A mean with its interval, with the digits that the interval supports."""
    decimals = interval_decimals(low, high)
    ends = " to ".join(number(end, decimals) for end in (low, high))
    return f"{number(mean, decimals)} (95\u00a0% interval {ends})"


def loss_unit(task: str) -> str:
    """The unit of the loss that the networks of a table minimise."""
    return "target variances" if task == "regression" else "nats"


def decimals_for(values: Iterable[float | None]) -> int:
    """Decimal places of a column: enough for its largest number; small numbers need no more than two digits."""
    largest = max((abs(value) for value in values if value is not None), default=0.0)
    magnitude = math.floor(math.log10(largest)) if largest else 0
    return max(0, min(_DIGITS - 1 - magnitude, max(_DIGITS, 1 - magnitude)))


def p_value(value: float, *, symbol: bool = False) -> str:
    """A p-value: "< 0.001" or "0.023"; with ``symbol``, "p < 0.001" or "p = 0.023"."""
    text = "< 0.001" if value < 0.001 else f"{value:.{3 if value < 0.1 else 2}f}"
    if not symbol:
        return text
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def percent(probability: float) -> str:
    """A probability in per cent, never rounded to certainty."""
    if 0.01 <= probability <= 0.99:
        return f"{100 * probability:.0f}\u00a0%"
    return "< 1\u00a0%" if probability < 0.5 else "> 99\u00a0%"


def duration(seconds: float) -> str:
    """A duration in seconds, minutes or hours."""
    whole = round(seconds)
    if whole < 120:
        return f"{seconds:.2g} s" if seconds < 10 else f"{whole} s"
    minutes, hours = whole // 60, whole // 3600
    return f"{hours} h {minutes % 60} min" if hours else f"{minutes} min {whole % 60} s"


def moment(text: str) -> str:
    """An ISO date and time in short form; any other text as it is."""
    try:
        return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M %Z}"
    except ValueError:
        return text
