"""Checks of the entries of a saved encoding."""

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["State", "check_entries", "finite_numbers"]

State: TypeAlias = Mapping[str, object]


def check_entries(state: State, kinds: Mapping[str, type[object]]) -> None:
    """Refuse a state without these entries, with others, or with entries of other types.

    Raises:
        ValueError: it is one.
    """
    if set(state) != set(kinds):
        raise ValueError(f"the entries must be {', '.join(kinds)}")
    for name, kind in kinds.items():
        if type(state[name]) is not kind:
            raise ValueError(f"{name} must be {kind.__name__}")


def finite_numbers(
    state: State, name: str, *shape: int | None, dtype: type[np.float64 | np.int16] = np.float64
) -> npt.NDArray[np.float64]:
    """Give the entry that must be an array of finite numbers.

    Args:
        state: the entries.
        name: the entry.
        shape: of the array; None stands for any size but 0.
        dtype: of the array.

    Raises:
        ValueError: the entry is something else.
    """
    value = state[name]
    if not isinstance(value, np.ndarray) or value.dtype != dtype or value.ndim != len(shape) or not value.size:
        raise ValueError(f"{name} must be numbers")
    if any(wanted not in {None, size} for size, wanted in zip(value.shape, shape, strict=True)):
        raise ValueError(f"{name} must have shape {shape}")
    if not np.isfinite(value).all():
        raise ValueError(f"{name} must be finite")
    return value.astype(np.float64, copy=False)
