"""Import paths of objects, as a command line names them: ``package.module:name``."""

import contextlib
import hashlib
import importlib
import inspect
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from thinned.errors import InputError, sentence

__all__ = ["import_object", "import_path", "source_digest", "working_directory"]


def import_object(path: str, description: str) -> object:
    """Import the object at ``path``; modules of the working directory can be imported, as under ``python -m``.

    Args:
        path: ``package.module:name``; the name may have dots.
        description: name of the object in messages, such as "the model".

    Raises:
        InputError: there is no such module or name, or the module raises.
    """
    module, _, name = path.partition(":")
    if not module or not name:
        raise InputError(sentence(f"{description} must be given as package.module:name", f"got {path!r}"))
    with working_directory():
        try:
            imported: object = importlib.import_module(module)
        except Exception as error:  # an import runs the user's code, which may raise anything
            value = f"{path!r}: {type(error).__name__}: {error}"
            raise InputError(sentence(f"the module of {description} must be importable from here", value)) from error
    for part in name.split("."):
        if not hasattr(imported, part):
            raise InputError(sentence(f"{module} must have {name}", f"there is no {part!r}"))
        imported = getattr(imported, part)
    return imported


@contextlib.contextmanager
def working_directory() -> Iterator[None]:
    """Put the working directory first on the path that modules are imported from."""
    directory = str(Path.cwd())
    sys.path.insert(0, directory)
    try:
        yield
    finally:
        sys.path.remove(directory)


def source_digest(function: str | Callable[..., object]) -> str | None:
    """SHA-256 of the Python file that defines a function or class; None if there is no such file, as in a notebook.

    Args:
        function: the function or class itself, or its import path.
    """
    imported = import_object(function, "the network") if isinstance(function, str) else function
    if not callable(imported):
        return None
    try:
        file = inspect.getsourcefile(inspect.unwrap(imported))
    except TypeError:  # a built-in, or an instance of a class
        return None
    try:
        return None if file is None else hashlib.sha256(Path(file).read_bytes()).hexdigest()
    except OSError:
        return None


def import_path(function: Callable[..., object], description: str) -> str:
    """The path from which :func:`import_object` imports a function.

    Args:
        function: a function or class.
        description: its name in messages, such as "the network".

    Raises:
        InputError: it can't be imported, as a lambda or a function within another.
    """
    path = f"{getattr(function, '__module__', '')}:{getattr(function, '__qualname__', '')}"
    if "<" in path or path.startswith(":") or path.endswith(":"):
        value, remedy = f"got {function!r}", "define it with def at the top level of a module or notebook"
        raise InputError(sentence(f"{description} must be a function that can be imported", value, remedy))
    if import_object(path, description) is not function:
        value, remedy = f"{path} is something else", "restart Python, or pass what is there"
        raise InputError(sentence(f"{description} must be a function that can be imported", value, remedy))
    return path
