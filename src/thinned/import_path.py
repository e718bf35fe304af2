"""Import paths of objects, as a command line names them: ``package.module:name``."""

import contextlib
import functools
import hashlib
import importlib
import inspect
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FunctionType

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
            dotted = module.removesuffix(".py").replace("/", ".")
            remedy = f"name the module, and not its file: {dotted}:{name}" if module.endswith(".py") else ""
            requirement = f"the module of {description} must be importable from here"
            raise InputError(sentence(requirement, value, remedy)) from error
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
    """SHA-256 of the Python file that defines a function or class, or of its lines where they stand in no file.

    In a notebook, these are the lines of the function or class, and of what it names in the notebook: other functions
    and classes, and the values of numbers and texts.

    Args:
        function: the function or class itself, or its import path. An object that can be called has the lines of its
            class.

    Returns:
        None where the source is unknown, as that of a built-in function.
    """
    imported = import_object(function, "the network") if isinstance(function, str) else function
    if not callable(imported):
        return None
    defined = inspect.unwrap(imported.func if isinstance(imported, functools.partial) else imported)
    if not inspect.isroutine(defined) and not inspect.isclass(defined):
        defined = type(defined)
    try:
        file = inspect.getsourcefile(defined)
        return None if file is None else hashlib.sha256(Path(file).read_bytes()).hexdigest()
    except (TypeError, OSError):  # a built-in, or a notebook's
        lines = _notebook_lines(defined)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest() if lines else None


def _notebook_lines(defined: object) -> list[str]:
    """The lines of a function or class that stands in no file, and of what it names; empty where they are unknown."""
    found: dict[str, str] = {}
    waiting = [defined]
    while waiting:
        one = waiting.pop()
        for function in _functions(one):
            name = f"{function.__module__}.{function.__qualname__}"
            if name in found:
                continue
            try:
                found[name] = inspect.getsource(function)
            except (OSError, TypeError):
                continue
            for key in _names(function.__code__):
                value = function.__globals__.get(key)
                if isinstance(value, int | float | str | bool):
                    found[key] = f"{key} = {value!r}"
                elif getattr(value, "__module__", None) == function.__module__:
                    waiting.append(value)
        waiting += [base for base in getattr(one, "__bases__", ()) if base.__module__ == one.__module__]
    return [found[name] for name in sorted(found)]


def _functions(defined: object) -> list[FunctionType]:
    """The function itself, or the methods of a class."""
    values: list[object] = list(vars(defined).values()) if inspect.isclass(defined) else [defined]
    plain = (getattr(value, "__func__", value) for value in values)
    return [value for value in plain if isinstance(value, FunctionType)]


def _names(code: CodeType) -> set[str]:
    """What the code of a function names, and that of functions within it."""
    within = (_names(const) for const in code.co_consts if isinstance(const, CodeType))
    return set(code.co_names).union(*within)


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
