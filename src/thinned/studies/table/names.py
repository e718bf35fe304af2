"""Names and values from a user's data, as messages show them, and the check of column names."""

from collections import Counter
from collections.abc import Sequence

from thinned.errors import InputError, sentence

__all__ = ["check_names", "listed", "quote"]


def quote(value: object, width: int = 60) -> str:
    """Give the repr of a name or value, at most ``width`` characters long."""
    text = repr(value)
    return text if len(text) <= width else text[: width - 2] + "…" + text[0]


def listed(values: Sequence[str], limit: int = 8) -> str:
    """Quote the first few names, and say how many more there are."""
    more = f" and {len(values) - limit} more" if len(values) > limit else ""
    return ", ".join(quote(value) for value in values[:limit]) + more


def check_names(names: Sequence[str]) -> None:
    """Refuse column names that are empty or repeated.

    Raises:
        InputError: a name is empty or repeated.
    """
    unnamed = [position for position, name in enumerate(names, 1) if not name.strip()]
    if unnamed:
        value = f"column {unnamed[0]} of {len(names)} has none"
        remedy = "name it or leave it out (an index that pandas wrote is left out with index=False)"
        raise InputError(sentence("every column needs a name", value, remedy))
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        value = f"{quote(repeated[0])} is there {names.count(repeated[0])} times"
        raise InputError(sentence("column names must differ", value, "rename one"))
