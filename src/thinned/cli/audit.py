"""``thinned audit``: the command."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.text import Text

from thinned import __version__
from thinned.audits import RULES, Audit, Finding
from thinned.audits.api import examine, wanted
from thinned.audits.findings import SEVERITIES
from thinned.audits.loading import build, inputs, read_inputs
from thinned.audits.output import to_html, to_json, to_sarif
from thinned.audits.source import read_source
from thinned.errors import InputError, sentence

__all__ = ["audit_command"]

Codes = list[str]
_STYLES = {"error": "bold red", "warning": "bold yellow", "info": "bold blue"}


def audit_command(
    model: Annotated[
        str | None,
        typer.Argument(metavar="MODULE:FACTORY", help="A model, or a function without arguments that makes it."),
    ] = None,
    input_: Annotated[
        list[str] | None,
        typer.Option("--input", metavar="SHAPE[:DTYPE]", help="An input, as 8,3,224,224 or 8,16:int64; once for each."),
    ] = None,
    input_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Inputs from a .json, .npz or .pt file.")
    ] = None,
    source: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Read this file or folder, too, without running it.")
    ] = None,
    format_: Annotated[
        Literal["rich", "json", "sarif", "html"], typer.Option("--format", help="Of the result.")
    ] = "rich",
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the result there.")] = None,
    select: Annotated[
        list[str] | None, typer.Option(metavar="CODE", help="Only these codes, or beginnings of codes.")
    ] = None,
    ignore: Annotated[
        list[str] | None, typer.Option(metavar="[NAME:]CODE", help="Not these; as encoder.*:TD101 for some modules.")
    ] = None,
    rows: Annotated[int | None, typer.Option(metavar="N", min=1, help="Number of training rows.")] = None,
    meta: Annotated[bool, typer.Option("--meta", help="Run on meta tensors: no arithmetic, nothing measured.")] = False,
    fail_on: Annotated[
        Literal["error", "warning", "info", "never"], typer.Option(help="The least severity that gives exit code 1.")
    ] = "error",
) -> None:
    """Find the dropout mistakes of a model, each with the fix.

    The model runs on the inputs, in training and in evaluation mode, and is left as it was.
    """
    try:
        result = _result(model, input_ or [], input_file, source, meta, _split(select), _split(ignore) or [], rows)
        text = _TEXTS[format_](result)
        if out is not None:
            out.write_text(text if format_ != "rich" else text + "\n", "utf-8")
        elif format_ == "rich":
            _print(result, Console())
        else:
            sys.stdout.write(text)
    except (InputError, OSError) as error:
        Console(stderr=True).print(Text(f"thinned: {error}"), soft_wrap=True)
        raise typer.Exit(2) from None
    if fail_on != "never" and result.of(*SEVERITIES[: SEVERITIES.index(fail_on) + 1]):
        raise typer.Exit(1)


def _split(codes: list[str] | None) -> Codes | None:
    return None if codes is None else [code for text in codes for code in text.split(",") if code.strip()]


def _result(
    place: str | None,
    shapes: list[str],
    file: Path | None,
    source: Path | None,
    meta: bool,
    select: Codes | None,
    ignore: Codes,
    rows: int | None,
) -> Audit:
    if place is None and source is None:
        raise InputError(sentence("an audit needs a model or --source", "got neither"))
    if place is None:
        return _read(source, select, ignore)
    args, kwargs = read_inputs(file) if file is not None else ((), {})
    found = build(place, meta=meta)
    if meta:
        args, kwargs = tuple(map(_to_meta, args)), {name: _to_meta(value) for name, value in kwargs.items()}
    try:
        result, _ = examine(found, (*inputs(shapes, meta=meta), *args), kwargs, select=select, ignore=ignore, rows=rows)
    except InputError:
        raise
    except Exception as error:
        seen = f"it raised {type(error).__name__}: {error}"
        raise InputError(sentence(f"{place} must run on the inputs", seen, "see --input and --input-file")) from error
    if source is None:
        return result
    read = _read(source, select, ignore)
    known = set(map(_line_of, result))
    more = tuple(finding for finding in read if _line_of(finding) not in known)
    return Audit(result.model, result.findings + more, (), result.suppressed + read.suppressed, result.sites)


def _line_of(finding: Finding) -> tuple[str, Path | None, int | None]:
    return finding.code, Path(finding.file).resolve() if finding.file else None, finding.line


def _read(source: Path | None, select: Codes | None, ignore: Codes) -> Audit:
    assert source is not None  # noqa: S101 - the caller knows
    found = read_source(source)
    kept = tuple(filter(wanted(select, ignore), found))
    return Audit(str(source), kept, (), len(found) - len(kept))


def _to_meta(value: Any) -> Any:
    return value.to("meta") if hasattr(value, "to") else value


def _sarif(result: Audit) -> str:
    return to_sarif(result, RULES, __version__)


def _html(result: Audit) -> str:
    return to_html(result, RULES)


_TEXTS: dict[str, Callable[[Audit], str]] = {"json": to_json, "sarif": _sarif, "html": _html, "rich": str}


def _print(result: Audit, console: Console) -> None:
    for finding, *others in result.groups():
        head = Text.assemble(
            (f"{finding.code} {finding.severity}", _STYLES[finding.severity]), f"  {finding.place}  [{finding.cls}]"
        )
        console.print(head, soft_wrap=True)
        console.print(Text(f"  {finding.message}."), soft_wrap=True)
        console.print(Text(f"  source: {finding.source}", style="dim"), soft_wrap=True)
        console.print(Text.assemble("  fix: ", (finding.fix, "green")), soft_wrap=True)
        if others:
            names = ", ".join(other.module for other in others[:3]) + (", …" if others[3:] else "")
            console.print(Text(f"  and {len(others)} more like it: {names}"), soft_wrap=True)
    console.print(Text(f"{result.model}: {result.summary}"), soft_wrap=True)
