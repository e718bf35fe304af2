"""Objects of a notebook or a script on their way to workers, which can't import them."""

from typing import Any

from joblib import wrap_non_picklable_objects

from thinned.errors import InputError, sentence

__all__ = ["PickledByValue"]


class PickledByValue:
    """An object whose class or function is copied along, as joblib does it; a worker reads the object itself.

    Args:
        value: the object; a function or a class as a ``functools.partial`` of it, which joblib would call otherwise.
        name: of the object in messages.
    """

    def __init__(self, value: object, name: str) -> None:
        self._value, self._name = value, name

    def __reduce__(self) -> tuple[Any, ...]:
        try:
            return wrap_non_picklable_objects(self._value, keep_wrapper=False).__reduce__()  # type: ignore[no-any-return]
        except Exception as error:
            value = f"pickling raised {type(error).__name__}: {str(error).splitlines()[0]}"
            remedy = "open files and locks when an item is read, or train in this process with jobs=1"
            raise InputError(sentence(f"{self._name} must be able to reach worker processes", value, remedy)) from error
