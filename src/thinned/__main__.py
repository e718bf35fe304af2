"""``python -m thinned`` and the ``thinned`` command."""

import importlib.util
import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line, which needs the ``study`` extra."""
    missing = [
        name for name in ("typer", "rich", "sklearn", "altair", "skops") if importlib.util.find_spec(name) is None
    ]
    if missing:
        sys.stderr.write(
            f"thinned: the command line needs the study extra, {', '.join(missing)} not found; "
            "install it with: pip install 'thinned[study]'\n"
        )
        raise SystemExit(2)
    from thinned.cli import app  # noqa: PLC0415 - only with the extra installed

    app(prog_name="thinned")


if __name__ == "__main__":
    main()
