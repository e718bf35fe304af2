"""Types of the options that are lists, and options that several commands share."""

from pathlib import Path
from typing import Annotated, NamedTuple

import typer

__all__ = ["ColumnKind", "EpochsOption", "FolderArgument", "Integers", "Names", "Numbers", "Places"]
__all__ += ["parse_column", "parse_names", "parse_places", "parse_rates", "parse_sizes", "parse_widths"]


class ColumnKind(tuple[str, str]):
    """The name of a column, and how it is read."""

    __slots__ = ()


class Names(tuple[str, ...]):
    """Names separated by commas."""

    __slots__ = ()


class Numbers(tuple[float, ...]):
    """Numbers separated by commas."""

    __slots__ = ()


class Integers(tuple[int, ...]):
    """Whole numbers separated by commas."""

    __slots__ = ()


class Places(NamedTuple):
    """Where dropout is put into a network: the argument ``where`` of :func:`thinned.insert_dropout`."""

    where: str | tuple[str, ...]


def parse_places(text: str) -> Places:
    """Read a place, or layers=NAME,NAME."""
    place, sign, names = text.partition("=")
    if sign and place != "layers":
        raise typer.BadParameter(f"give a place or layers=NAME,NAME, as hidden or layers=conv2; got {text!r}")
    return Places(tuple(parse_names(names)) if sign else place)


def parse_names(text: str) -> Names:
    """Read names separated by commas."""
    return Names(part.strip() for part in text.split(","))


def parse_column(text: str) -> ColumnKind:
    """Read NAME=KIND; the name may hold other equals signs."""
    name, sign, kind = text.rpartition("=")
    if not sign or not name:
        raise typer.BadParameter(f"give it as NAME=KIND, as zip=level; got {text!r}")
    return ColumnKind((name, kind.strip()))


def parse_rates(text: str) -> Numbers:
    """Read rates separated by commas."""
    try:
        return Numbers(float(part) for part in text.split(","))
    except ValueError:
        raise _not_a_list("rates", text) from None


def parse_widths(text: str) -> Integers:
    """Read widths separated by commas."""
    return _integers("widths", text)


def parse_sizes(text: str) -> Integers:
    """Read numbers of rows separated by commas."""
    return _integers("numbers of rows", text)


def _integers(words: str, text: str) -> Integers:
    try:
        return Integers(int(part) for part in text.split(","))
    except ValueError:
        raise _not_a_list(words, text) from None


def _not_a_list(words: str, text: str) -> typer.BadParameter:
    return typer.BadParameter(f"give {words} separated by commas, got {text!r}")


EpochsOption = Annotated[
    int | None,
    typer.Option(metavar="N", help="Training budget of every network.  [default: chosen by the number of rows]"),
]
FolderArgument = Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a finished study.")]
