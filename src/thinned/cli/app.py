"""The command line: exit code 0 when done, 1 for findings, 2 for input that can't be used, 130 when interrupted."""

from typing import Annotated

import typer

from thinned import __version__
from thinned.cli.audit import audit_command
from thinned.cli.console import print_line
from thinned.cli.explain import explain_command
from thinned.cli.export import export_command
from thinned.cli.merge import merge_command
from thinned.cli.option_sections import SectionedCommand
from thinned.cli.predict import predict_command
from thinned.cli.report import report_command
from thinned.cli.study import demo_command, study_command

__all__ = ["app"]

app = typer.Typer(
    help="Does dropout help your network, on your data? `thinned study` measures it; `thinned demo` shows how.",
    no_args_is_help=True,
    add_completion=False,
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
        print_line(f"thinned {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass
