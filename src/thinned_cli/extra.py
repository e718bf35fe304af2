"""The study extra: which of its packages are missing, for the commands that need them."""

import re
from importlib import metadata

from thinned_cli.console import exit_with_sentence

__all__ = ["missing_packages", "need_study_extra"]


def missing_packages(extra: str) -> list[str]:
    """Names of the distributions that an extra of this package requires and that are not installed.

    The list is that of the installed metadata; without any, as in a source tree on the path, nothing is missing.
    """
    try:
        requirements = metadata.requires("thinned") or []
    except metadata.PackageNotFoundError:
        return []
    missing = []
    for requirement in requirements:
        name = re.match(r"[\w.-]+", requirement)
        if name is None or not re.search(rf"""extra == ["']{extra}["']""", requirement):
            continue
        try:
            metadata.version(name[0])
        except metadata.PackageNotFoundError:
            missing.append(name[0])
    return missing


def need_study_extra() -> None:
    """Exit with code 2 and one sentence where a package of the study extra is missing."""
    missing = missing_packages("study")
    if missing:
        raise exit_with_sentence(
            f"thinned: this command needs the study extra; {', '.join(missing)} not found; "
            "install it with: pip install 'thinned[study]'"
        )
