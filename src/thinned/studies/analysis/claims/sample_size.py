"""What regularisation gains on more and more training rows, and whether there is a threshold."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from thinned.errors import InputError
from thinned.studies.analysis.selection import Array, Record, Trained
from thinned.studies.metrics import METRICS, SELECTION

__all__ = ["CLAIMED_SIZE", "gains"]

#: dropout gains nothing on 100 and 500 rows, then more and more up to a point (Srivastava et al. 2014, fig. 10)
CLAIMED_SIZE = 1000
_KINDS = ("dropout", "weight_decay", "early_stopping")


class _Size(NamedTuple):
    """The networks of a size, and what is gained on each split, by what it is gained from."""

    trained: Trained
    gains: dict[str, Array]

    def interval(self, kind: str) -> dict[str, float | None]:
        return self.trained.interval(self.gains.get(kind, np.full(len(self.trained.splits), np.nan)))

    def side(self, kind: str) -> int:
        """1 where the interval lies above 0, -1 where it lies below, else 0."""
        return _side(self.interval(kind))


def gains(records: Iterable[Record], plan: Mapping[str, Any], training: Sequence[int]) -> dict[str, Any] | None:
    """Gain of dropout, weight decay and early stopping against the number of training rows.

    At each size an arm's setting is chosen on each split by validation loss, as anywhere. A gain is what the arm takes
    off the score of no regularisation, both stopped early; for early stopping what the best epoch takes off that of the
    last. Validation and test rows are the same at all sizes. Where all splits train on nearly as many rows, their whole
    training part is a size, too.

    ``threshold`` is the smallest size at which dropout's interval lies above 0. That there is a threshold near 1,000
    does not hold where the interval lies above 0 at a smaller size, or below 0 at the first size from 1,000 on. It
    holds where that size's interval lies above 0, and the gain has risen since the last size below 1,000, the interval
    of the paired rise above 0. Anything else can't tell: a gain that is not detected may still be there.

    Args:
        records: as :func:`thinned.studies.analysis.analyse` takes them.
        plan: the same.
        training: number of training rows of each split.

    Returns:
        None where the plan has no sizes, or dropout was not trained beside no regularisation at any; else for each size
        the gains (mean, low, high; None for what was not trained there), the threshold and whether the claim holds.
    """
    if not plan["sizes"]:
        return None
    held = list(records)
    rows = {size: size for size in plan["sizes"]}
    if max(plan["sizes"]) < min(training) and max(training) < 1.05 * min(training):
        rows[0] = min(training)
    found = {
        count: _measured([r for r in held if r["size"] == size], plan, len(training)) for size, count in rows.items()
    }
    sizes = {count: size for count, size in found.items() if size is not None}
    kinds = [kind for kind in _KINDS if any(kind in size.gains for size in sizes.values())]
    if "dropout" not in kinds:
        return None
    holds = _holds({count: size for count, size in sizes.items() if "dropout" in size.gains})
    threshold = min((count for count, size in sizes.items() if size.side("dropout") > 0), default=None)
    return {
        "sizes": list(sizes),
        "gain": {kind: [size.interval(kind) for size in sizes.values()] for kind in kinds},
        "threshold": threshold,
        "holds": holds,
        "sentence": _sentence(list(sizes), threshold, holds, METRICS[SELECTION[plan["task"]]].label),
    }


def _measured(records: Sequence[Record], plan: Mapping[str, Any], splits: int) -> _Size | None:
    """The gains of one size, from the settings that were trained on every split."""
    counts = Counter(record["setting"] for record in records)
    own = [{**record, "size": 0} for record in records if counts[record["setting"]] == splits]
    try:
        trained = Trained(own, plan)
    except InputError:  # nothing was trained on every split, or nothing stayed finite
        return None
    if "none" not in trained.arms:
        return None
    none = trained.nested("none", "best")
    found = {arm: none - trained.nested(arm, "best") for arm in _KINDS if arm in trained.arms}
    return _Size(trained, found | {"early_stopping": trained.nested("none", "end") - none})


def _side(interval: Mapping[str, float | None]) -> int:
    low, high = interval["low"], interval["high"]
    return 0 if low is None or high is None else int(low > 0) - int(high < 0)


def _holds(sizes: Mapping[int, _Size]) -> bool | None:
    small = [count for count in sizes if count < CLAIMED_SIZE]
    large = [count for count in sizes if count >= CLAIMED_SIZE]
    if any(sizes[count].side("dropout") > 0 for count in small):
        return False
    if not small or not large:
        return None
    below, first = sizes[max(small)], sizes[min(large)]
    if first.side("dropout") < 0:
        return False
    rise = _side(first.trained.interval(first.gains["dropout"] - below.gains["dropout"]))
    return True if first.side("dropout") > 0 and rise > 0 else None


def _sentence(sizes: Sequence[int], threshold: int | None, holds: bool | None, score: str) -> str:
    said = {True: "holds here", False: "does not hold here", None: "cannot be told from these numbers"}[holds]
    where = f"between {min(sizes):,} and {max(sizes):,}" if len(sizes) > 1 else f"of {sizes[0]:,}"
    seen = (
        f"At no number of training rows {where} a gain of dropout in {score.lower()} can be told from 0"
        if threshold is None
        else f"The smallest number of training rows {where} at which a gain of dropout in {score.lower()} can be told "
        f"from 0 is {threshold:,}"
    )
    caveat = " With fewer rows intervals are wider, and a gain that is not detected may still be there."
    return f"{seen}: that it takes about {CLAIMED_SIZE:,} rows {said}.{caveat}"
