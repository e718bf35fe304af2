"""The command line: exit code 0 when done, 1 for findings, 2 for input that can't be used, 130 when interrupted."""

from typing import Annotated

import typer

from thinned_cli.audit import audit_command
from thinned_cli.console import print_line
from thinned_cli.explain import explain_command
from thinned_cli.export import export_command
from thinned_cli.merge import merge_command
from thinned_cli.option_sections import SectionedCommand
from thinned_cli.predict import predict_command
from thinned_cli.report import report_command
from thinned_cli.study import demo_command, study_command

__all__ = ["app"]

app = typer.Typer(
    help="Does dropout help your network, on your data? `thinned study` measures it; `thinned demo` shows how.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command("study", cls=SectionedCommand)(study_command)
app.command("demo")(demo_command)
app.command("merge")(merge_command)
app.command("report")(report_command)
app.command("predict")(predict_command)
app.command("export")(export_command)
app.command("explain")(explain_command)
app.command("audit")(audit_command)


def _print_version(show: bool) -> None:
    if show:
        from thinned import __version__  # noqa: PLC0415 - imports torch

        print_line(f"thinned {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass
