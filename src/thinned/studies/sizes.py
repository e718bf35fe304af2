"""What regularisation gains on more and more training rows, and whether there is a threshold."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from thinned._checks import InputError
from thinned.studies.comparing import mean_interval
from thinned.studies.metrics import METRICS, SELECTION
from thinned.studies.nested import Array, Record, Trained
from thinned.studies.splits import Split, test_share

__all__ = ["CLAIMED_SIZE", "gains"]

#: dropout gains nothing on 100 and 500 rows, then more and more up to a point (Srivastava et al. 2014, fig. 10)
CLAIMED_SIZE = 1000
_KINDS = ("dropout", "weight_decay", "early_stopping")


def gains(records: Iterable[Record], plan: Mapping[str, Any], splits: Sequence[Split]) -> dict[str, Any] | None:
    """Gain of dropout, weight decay and early stopping against the number of training rows.

    At each size an arm's setting is chosen on each split by validation loss, as anywhere. A gain is what the arm takes
    off the score of no regularisation, both stopped early; for early stopping what the best epoch takes off that of the
    last. Test rows are the same at all sizes; the correction of the intervals is that of the size. Where all splits
    train on nearly as many rows, their whole training part is a size, too.

    ``threshold`` is the smallest size at which dropout's interval lies above 0. That there is a threshold near 1,000
    does not hold where the interval lies above 0 at a smaller size, or below 0 at the first size from 1,000 on. It
    holds where that size's interval lies above 0, and the gain has risen since the last size below 1,000, the interval
    of the paired rise above 0. Anything else can't tell: a gain that is not detected may still be there.

    Args:
        records: as :func:`thinned.studies.analysis.analyse` takes them.
        plan: the same.
        splits: of the study, for the numbers of rows.

    Returns:
        None where the plan has no sizes, or dropout was not trained beside no regularisation at any.
    """
    if not plan["sizes"]:
        return None
    held, whole = list(records), [len(split.train) for split in splits]
    rows = {size: size for size in plan["sizes"]}
    if max(plan["sizes"]) < min(whole) and max(whole) < 1.05 * min(whole):
        rows[0] = min(whole)
    found: dict[int, dict[str, Array]] = {}
    shares: dict[int, float] = {}
    for size, count in rows.items():
        share = test_share([split.first(size) for split in splits])
        if own := _gained([r for r in held if r["size"] == size], plan, share, len(splits)):
            found[count], shares[count] = own, share
    if not any("dropout" in own for own in found.values()):
        return None
    kinds = [
        kind for kind in ("dropout", "weight_decay", "early_stopping") if any(kind in own for own in found.values())
    ]
    dropout = {count: own["dropout"] for count, own in found.items() if "dropout" in own}
    above = [count for count, values in dropout.items() if mean_interval(values, shares[count])["low"] > 0]
    holds, threshold = _holds(dropout, shares), min(above, default=None)
    return {
        "sizes": list(found),
        "gain": {kind: [_interval(own.get(kind), shares[count]) for count, own in found.items()] for kind in kinds},
        "threshold": threshold,
        "holds": holds,
        "sentence": _sentence(list(dropout), threshold, holds, METRICS[SELECTION[plan["task"]]].label),
    }


def _gained(records: list[Record], plan: Mapping[str, Any], share: float, splits: int) -> dict[str, Array]:
    """Gains of one size on each split, by what is gained from; without what was not trained on every split."""
    counts = Counter(record["setting"] for record in records)
    own = [{**record, "size": 0} for record in records if counts[record["setting"]] == splits]
    try:
        trained = Trained(own, plan, share)
    except InputError:  # nothing was trained on every split, or nothing stayed finite
        return {}
    if "none" not in trained.arms:
        return {}
    none = trained.nested("none", "best")
    arms = {arm: none - trained.nested(arm, "best") for arm in _KINDS if arm in trained.arms}
    return arms | {"early_stopping": trained.nested("none", "end") - none}


def _interval(values: Array | None, share: float) -> dict[str, float] | dict[str, None]:
    return dict.fromkeys(("mean", "low", "high")) if values is None else mean_interval(values, share)


def _holds(dropout: Mapping[int, Array], shares: Mapping[int, float]) -> bool | None:
    small = [count for count in dropout if count < CLAIMED_SIZE]
    large = [count for count in dropout if count >= CLAIMED_SIZE]
    if any(mean_interval(dropout[count], shares[count])["low"] > 0 for count in small):
        return False
    if not small or not large:
        return None
    below, first = max(small), min(large)
    interval = mean_interval(dropout[first], shares[first])
    if interval["high"] < 0:
        return False
    rise = mean_interval(dropout[first] - dropout[below], max(shares[first], shares[below]))
    return True if interval["low"] > 0 and rise["low"] > 0 else None


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
