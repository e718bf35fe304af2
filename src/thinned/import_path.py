"""Objects that a command line names: ``package.module:name``."""

import contextlib
import hashlib
import importlib
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from thinned.errors import InputError, sentence

__all__ = ["find", "source_digest", "working_directory"]


def find(place: str, what: str) -> Any:
    """Import what ``place`` names; modules of the working directory can be imported, as under ``python -m``.

    Args:
        place: ``package.module:name``, where the name may have dots.
        what: stands in messages for what is looked for.

    Raises:
        InputError: there is no such module or name, or the module raises.
    """
    module, _, name = place.partition(":")
    if not module or not name:
        raise InputError(sentence(f"{what} must be given as package.module:name", f"got {place!r}"))
    with working_directory():
        try:
            found: Any = importlib.import_module(module)
        except Exception as error:  # an import runs code of the user's, which may raise anything
            seen = f"{place!r}: {type(error).__name__}: {error}"
            raise InputError(sentence(f"the module of {what} must be importable from here", seen)) from error
    for part in name.split("."):
        if not hasattr(found, part):
            raise InputError(sentence(f"{module} must have {name}", f"there is no {part!r}"))
        found = getattr(found, part)
    return found


@contextlib.contextmanager
def working_directory() -> Iterator[None]:
    """Put the working directory first among the places that modules are looked for in."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)


def source_digest(place: str) -> str | None:
    """SHA-256 of the Python file that holds a function or class; None where there is no such file."""
    try:
        path = inspect.getsourcefile(inspect.unwrap(find(place, "the network")))
    except TypeError:
        return None
    return None if path is None else hashlib.sha256(Path(path).read_bytes()).hexdigest()
