"""The ``thinned`` command.

It stands outside ``thinned``, which imports torch and registers operators: help must not wait for that. What a command
needs of ``thinned`` is imported when the command runs.
"""

import importlib.util
import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line; the extra `audit` brings what it needs, and most commands need the extra `study`."""
    missing = [name for name in ("rich", "typer") if importlib.util.find_spec(name) is None]
    if missing:
        sys.stderr.write(
            f"thinned: the command line needs an extra; {', '.join(missing)} not found; "
            "install it with: pip install 'thinned[study]', or 'thinned[audit]' for audits alone\n"
        )
        raise SystemExit(2)
    try:
        from thinned_cli.app import app  # noqa: PLC0415 - only with the extra installed

        app(prog_name="thinned")
    except KeyboardInterrupt:  # while the libraries are being loaded
        raise SystemExit(130) from None
