"""Help whose options stand in sections, in plain text rather than boxes."""

from collections import defaultdict
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import typer
from typer.core import TyperCommand

__all__ = ["NETWORKS", "TABLES", "WORKERS", "SectionedCommand"]

#: sections behind the options of every study, in their order
TABLES = "Tables"
NETWORKS = "Examples and networks of your own (with --data)"
WORKERS = "Where it runs"


class _Formatter(Protocol):
    """The part of click's ``HelpFormatter`` that writes a section."""

    def section(self, name: str) -> AbstractContextManager[None]: ...

    def write_dl(self, rows: Sequence[tuple[str, str]]) -> None: ...


class SectionedCommand(TyperCommand):
    """A command whose help has a section for each ``rich_help_panel`` of its options."""

    def format_options(self, ctx: typer.Context, formatter: _Formatter) -> None:  # type: ignore[override]
        """Write the arguments, the options without a section, and then each section."""
        records: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None:
                section = getattr(param, "rich_help_panel", None) or "Options"
                records["Arguments" if param.param_type_name == "argument" else section].append(record)
        for name in ("Arguments", "Options", TABLES, NETWORKS, WORKERS):
            if records[name]:
                with formatter.section(name):
                    formatter.write_dl(records[name])
