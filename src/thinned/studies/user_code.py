"""Errors that the code of a user's own raises, in one sentence that says where."""

import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from thinned.errors import InputError, sentence

__all__ = ["UserCodeError", "is_out_of_memory", "memory_errors", "user_code"]

_NO_MEMORY = ("allocate memory", "Unable to allocate", "out of memory")
_LONGEST = 400  # characters of what an error says
_PACKAGES = frozenset({"site-packages", "dist-packages"})
_KNOWN = (Path(__file__).parents[1], Path(torch.__file__).parent)


class UserCodeError(InputError):
    """The code of a user's own raised an error: a sentence, as every :class:`InputError`, and the whole traceback.

    Attributes:
        trace: the traceback of what was raised, for a log file.
        may_pass: another try may succeed, as where a file could not be read.
    """

    def __init__(self, message: str, trace: str = "", *, may_pass: bool = False) -> None:
        super().__init__(message)
        self.trace, self.may_pass = trace, may_pass


@contextmanager
def user_code(requirement: str) -> Iterator[None]:
    """Say in one sentence what the code of a user's own raised within, and at which line.

    Errors of ours pass as they are, and so does lack of memory, which :func:`memory_errors` says in a sentence.

    Args:
        requirement: that of the code, such as "loss must take every batch".

    Raises:
        UserCodeError: an error was raised.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        place = _location(error)
        value = f"it raised {_description(error)}{f' at {place}' if place else ''}"
        trace = "".join(traceback.format_exception(error))
        raise UserCodeError(sentence(requirement, value), trace, may_pass=isinstance(error, OSError)) from error


@contextmanager
def memory_errors() -> Iterator[None]:
    """Say in one sentence that memory did not suffice.

    Raises:
        InputError: it did not.
    """
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error) or isinstance(error, InputError):
            raise
        text = str(error).strip()
        value = text.splitlines()[0] if text else "there is not enough"
        raise InputError(sentence("training needs memory", value, "take a smaller batch size or fewer jobs")) from error


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory did not suffice, that of an accelerator included."""
    known = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return known or any(text in str(error) for text in _NO_MEMORY)


def _description(error: Exception) -> str:
    """The type of an error and what it says, on one line."""
    text = " ".join(str(error).split())
    text = text if len(text) <= _LONGEST else f"{text[:_LONGEST]} …"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _location(error: Exception) -> str | None:
    """The innermost line of the user's, or else of a library that the user called; None where there is none."""
    if isinstance(error, SyntaxError) and error.filename:
        return _place(error.filename, error.lineno)
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not _is_known(f.filename)]
    own = [f for f in frames if not _is_installed(f.filename)]
    last = next(reversed(own or frames), None)
    return None if last is None else _place(last.filename, last.lineno)


def _is_known(filename: str) -> bool:
    """Whether a file is of this package, of torch, or of Python."""
    path = Path(filename)
    if filename.startswith("<frozen") or any(path.is_relative_to(folder) for folder in _KNOWN):
        return True
    return path.is_relative_to(sysconfig.get_path("stdlib")) and not _is_installed(filename)


def _is_installed(filename: str) -> bool:
    return not _PACKAGES.isdisjoint(Path(filename).parts)


def _place(filename: str, line: int | None) -> str:
    path = Path(filename)
    if filename.startswith("<"):
        return f"line {line} of {filename}"
    if path.parent.name.startswith("ipykernel_"):
        return f"line {line} of a notebook's cell"
    if path.is_relative_to(Path.cwd()):
        path = path.relative_to(Path.cwd())
    return f"{path}:{line}"
