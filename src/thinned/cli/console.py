"""The two streams of the terminal, and errors as sentences on the second."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.text import Text

from thinned.errors import InputError

__all__ = ["err_console", "exit_with_sentence", "input_errors", "out_console", "print_line"]

out_console, err_console = Console(), Console(stderr=True)


def print_line(text: str, console: Console = out_console) -> None:
    """Print plain text, wrapped by the terminal alone."""
    console.print(Text(text), soft_wrap=True)


def exit_with_sentence(text: str, code: int = 2) -> typer.Exit:
    """Print an error and return the exception that ends the program."""
    print_line(text, err_console)
    return typer.Exit(code)


@contextmanager
def input_errors() -> Iterator[None]:
    """Print an input that can't be used as one sentence, and exit with code 2."""
    try:
        yield
    except InputError as error:
        raise exit_with_sentence(f"thinned: {error}") from None
