"""The group and the time of each example, as numbers."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from thinned.errors import InputError, sentence

__all__ = ["GroupNumbers", "read_groups", "read_numbers"]

Numbers = npt.NDArray[np.int64]


class GroupNumbers(NamedTuple):
    """The number of each example's group; None where they are not grouped. A group of both sets has one number."""

    of_examples: Numbers | None
    of_test: Numbers | None


def read_groups(groups: object, count: int, test_count: int) -> GroupNumbers:
    """Number the groups of the examples, and those of a given test set.

    Args:
        groups: None, ``(count,)`` names or numbers; with a given test set, a pair of these and of ``(test_count,)``
            names or numbers, or None in place of the second, where test examples are independent.
        count: number of examples.
        test_count: number of examples of the given test set; 0 where there is none.

    Raises:
        InputError: there is not one name or number for each example.
    """
    if groups is None:
        return GroupNumbers(None, None)
    if not test_count:
        return GroupNumbers(read_numbers(groups, count, "groups"), None)
    if not isinstance(groups, tuple | list) or len(groups) != 2:
        remedy = "pass groups=(training, test), with None for the second where test examples are independent"
        raise InputError(sentence("groups must be those of both sets", "got those of one", remedy))
    own, tested = groups
    if tested is None:
        return GroupNumbers(read_numbers(own, count, "groups"), None)
    first, second = _checked(own, count, "groups"), _checked(tested, test_count, "groups of the test set")
    if (first.dtype.kind in "US") != (second.dtype.kind in "US"):
        value = f"got {first.dtype} and {second.dtype}"
        raise InputError(sentence("groups of both sets must be names, or numbers", value))
    if len(np.unique(second)) < 2:
        remedy = "pass groups=(training, None) if its examples are independent"
        raise InputError(sentence("a given test set must have at least two groups", "it has one", remedy))
    ranks = _ranks(np.concatenate([first, second]))
    return GroupNumbers(ranks[:count], ranks[count:])


def read_numbers(values: object, count: int, name: str) -> Numbers:
    """The rank of each value, ``(count,)``.

    Args:
        values: names, numbers or dates.
        count: number of examples.
        name: "groups" or "time".

    Raises:
        InputError: there is not one for each example, or a time is no number or date.
    """
    array = _checked(values, count, name)
    if name == "time" and array.dtype.kind not in "iufM":
        raise InputError(sentence("time must be numbers or dates", f"got {array.dtype}", "pass numpy.datetime64"))
    return _ranks(array)


def _checked(values: object, count: int, name: str) -> npt.NDArray[np.generic]:
    array: npt.NDArray[np.generic] = np.asarray(values)
    if array.shape != (count,):
        value = f"its shape is {array.shape} for {count:,} examples"
        raise InputError(sentence(f"{name} must have one entry for each example", value))
    missing = np.isnat(array) if array.dtype.kind == "M" else array != array  # noqa: PLR0124 - NaN
    if array.dtype.kind == "O":
        missing = np.array([value is None or value != value for value in array], dtype=bool)  # noqa: PLR0124
        array = array.astype(str)
    if missing.any():
        value = f"that of example {int(missing.argmax())} is missing"
        raise InputError(sentence(f"{name} must be known of each example", value))
    return array


def _ranks(array: npt.NDArray[np.generic]) -> Numbers:
    ranks: Numbers = np.unique(array, return_inverse=True)[1].reshape(-1).astype(np.int64)
    return ranks
