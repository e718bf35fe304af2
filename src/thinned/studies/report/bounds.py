"""Values that losses and scores can have."""

import math
from collections.abc import Iterable
from typing import NamedTuple

__all__ = ["Bounds", "score_bounds"]


class Bounds(NamedTuple):
    """The least and the largest value that a quantity can have."""

    least: float = -math.inf
    most: float = math.inf


_SHARE, _POSITIVE = Bounds(0, 1), Bounds(0)
_SCORES = {
    **dict.fromkeys(("roc_auc", "pr_auc", "accuracy", "token_accuracy", "ece"), _SHARE),
    **dict.fromkeys(("log_loss", "brier", "rmse", "mae"), _POSITIVE),
    "r2": Bounds(most=1),
}


def score_bounds(names: Iterable[str], least_loss: float) -> dict[str, Bounds]:
    """The bounds of each score, and of the loss, within which the limits of their intervals lie in a table.

    An interval that a standard error gives may end beyond.

    Args:
        names: names of the scores; those of the user's own have no bounds.
        least_loss: least value of the loss.
    """
    return {**{name: _SCORES.get(name, Bounds()) for name in names}, "loss": Bounds(least_loss)}
