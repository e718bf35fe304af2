"""``thinned audit``: the command."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from thinned_cli.console import input_errors

__all__ = ["audit_command"]


def audit_command(
    model: Annotated[
        str | None,
        typer.Argument(metavar="MODULE:FACTORY", help="A model, or a function without arguments that returns one."),
    ] = None,
    input_: Annotated[
        list[str] | None,
        typer.Option(
            "--input", metavar="SHAPE[:DTYPE]", help="An input, as 8,3,224,224 or 8,16:int64; repeat for several."
        ),
    ] = None,
    input_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Inputs from a .json, .npz or .pt file.")
    ] = None,
    source: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Also read this file or folder, without running it.")
    ] = None,
    format_: Annotated[
        Literal["rich", "json", "sarif", "html"], typer.Option("--format", help="Format of the result.")
    ] = "rich",
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the result to this file.")] = None,
    select: Annotated[
        list[str] | None, typer.Option(metavar="CODE", help="Report only these codes, or beginnings of codes.")
    ] = None,
    ignore: Annotated[
        list[str] | None,
        typer.Option(metavar="[NAME:]CODE", help="Do not report these; encoder.*:TD101 for some modules only."),
    ] = None,
    rows: Annotated[int | None, typer.Option(metavar="N", min=1, help="Number of training rows.")] = None,
    meta: Annotated[bool, typer.Option("--meta", help="Run on meta tensors: no arithmetic, nothing measured.")] = False,
    fail_on: Annotated[
        Literal["error", "warning", "info", "never"], typer.Option(help="Least severity that gives exit code 1.")
    ] = "error",
) -> None:
    """Find the dropout mistakes of a model, each with its fix.

    The model runs on the inputs, in training and in evaluation mode, and is left as it was.
    """
    from thinned_cli.audit_run import AuditRequest, run_audit  # noqa: PLC0415 - imports torch

    with input_errors():
        request = AuditRequest(model, tuple(input_ or ()), input_file, source, select, ignore, rows=rows, meta=meta)
        severe = run_audit(request, format_, out, fail_on)
    if severe:
        raise typer.Exit(1)
