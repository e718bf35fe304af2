"""The two streams of the terminal: text on the first, errors as sentences on the second."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer

__all__ = ["exit_with_sentence", "input_errors", "print_line"]


def print_line(text: str, *, err: bool = False) -> None:
    """Print plain text, wrapped by the terminal alone."""
    typer.echo(text, err=err)


def exit_with_sentence(text: str, code: int = 2) -> typer.Exit:
    """Print an error and return the exception that ends the program."""
    print_line(text, err=True)
    return typer.Exit(code)


@contextmanager
def input_errors() -> Iterator[None]:
    """Print an input that can't be used as one sentence, and exit with code 2."""
    from thinned.errors import InputError  # noqa: PLC0415 - imports torch

    try:
        yield
    except InputError as error:
        raise exit_with_sentence(f"thinned: {error}") from None
