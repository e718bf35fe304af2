"""The warning about rows that are unlike those that a model has learnt from."""

import sys
import warnings
from collections.abc import Sequence

from thinned.studies.table.notices import Notice, NoticeCode

__all__ = ["UnlikeStudyWarning", "warn_unlike"]

# of these the numbers of a prediction may say nothing
_WARNED: tuple[NoticeCode, ...] = ("unreadable", "unseen_level", "number_for_text", "empty")
_MOST = 3  # notices in a warning


class UnlikeStudyWarning(UserWarning):
    """Rows are unlike those that the model has learnt from; ``model.unlike(rows)`` lists all that is."""


def warn_unlike(notices: Sequence[Notice]) -> None:
    """Give one warning, at the line that called the package, of what may spoil predictions."""
    serious = [notice.message for notice in notices if notice.code in _WARNED]
    if serious:
        more = len(serious) - _MOST
        rest = [f"({more} more: model.unlike(rows) lists them.)"] if more > 0 else []
        warnings.warn(" ".join(serious[:_MOST] + rest), UnlikeStudyWarning, stacklevel=_caller())


def _caller() -> int:
    """Find how many calls away from :func:`warn_unlike` the caller of the package is."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "thinned":
        frame, level = frame.f_back, level + 1
    return level
