"""A recommended network that diverged: the study's folder keeps that, so that no later call trains it again."""

from pathlib import Path

import msgspec

from thinned.errors import InputError
from thinned.studies.recommended_network.metadata import NetworkMetadata
from thinned.studies.training.store import DIVERGED, write_text, writing

__all__ = ["DivergedError", "forget_failure", "keep_failure", "kept_failure"]


class DivergedError(InputError):
    """The network's weights or losses are no numbers: another try would end alike."""


class _Failure(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    about: NetworkMetadata
    message: str


def keep_failure(folder: Path, about: NetworkMetadata, message: str) -> None:
    """Keep that a network diverged.

    Args:
        folder: the study's.
        about: describes the network that was trained.
        message: a sentence.

    Raises:
        InputError: it can't be written.
    """
    with writing():
        write_text(folder / DIVERGED, msgspec.json.encode(_Failure(about, message)).decode())


def kept_failure(folder: Path, about: NetworkMetadata) -> str | None:
    """The sentence of a network that diverged; None where this one did not, or the versions or the plan are others."""
    try:
        failure = msgspec.json.decode((folder / DIVERGED).read_bytes(), type=_Failure)
    except (OSError, ValueError, RecursionError):
        return None
    return failure.message if failure.about == about else None


def forget_failure(folder: Path) -> None:
    """Remove what :func:`keep_failure` wrote, once a network is there."""
    (folder / DIVERGED).unlink(missing_ok=True)
