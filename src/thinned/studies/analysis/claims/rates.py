"""Two things that everyone repeats about dropout, measured: where underfitting starts, and what training costs."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from thinned.studies.analysis.selection import PARTS, WHENS, Array, Record, Trained

__all__ = ["CLAIMED_PRICE", "CLAIMED_RATE", "price", "rate", "rate_grid"]

#: "rates above 0.7 underfit"
CLAIMED_RATE = 0.7
#: "dropout roughly doubles the number of iterations" (Krizhevsky et al. 2012)
CLAIMED_PRICE = 2.0


def rate(records: Iterable[Record], plan: Mapping[str, Any], *, share: float | None = None) -> dict[str, Any] | None:
    """Loss against the dropout rate, and the rate from which a network underfits.

    A rate underfits when less dropout would improve both what the network was trained on and what it was not: training
    loss (dropout off) and test loss are both higher than at the rate of least mean validation loss, each by more than
    one standard error of the paired difference, and the same holds for every higher rate of the grid.
    ``worse_than_none_from`` is the same against no dropout. The claim holds where the grid brackets it: 0.7 lies
    between the last rate that does not underfit and the first that does.

    Args:
        records: as :func:`thinned.studies.analysis.analyse` takes them.
        plan: the same.
        share: the same.

    Returns:
        None where arms ``none`` and ``dropout``, of rates alone, were not both trained; else rates, for each of
        ``best`` and ``end`` the losses (a list of mean, low and high for each part) and the two rates, and about
        ``best`` whether the claim holds (None: the grid does not reach far enough to tell) with a sentence.
    """
    trained = Trained(records, plan, share)
    grid = rate_grid(trained)
    if grid is None:
        return None
    rates = list(grid)
    found = {when: _curve(trained, grid, when) for when in WHENS}
    starts = found["best"]["underfits_from"]
    holds = _brackets(rates, starts)
    said = {True: "holds here", False: "does not hold here", None: "cannot be judged by this grid"}[holds]
    seen = (
        f"up to a rate of {rates[-1]:g} there is no underfitting"
        if starts is None
        else f"underfitting starts at a rate of {starts:g}"
    )
    return {
        "rates": rates,
        **found,
        "claimed": CLAIMED_RATE,
        "holds": holds,
        "sentence": f"At the best epoch {seen}: that it starts at about {CLAIMED_RATE:g} {said}.",
    }


def rate_grid(trained: Trained) -> dict[float, int] | None:
    """Settings by dropout rate: none, and those of arm ``dropout``, if it is of different rates and nothing else."""
    if "none" not in trained.arms or "dropout" not in trained.arms:
        return None
    settings = [*trained.arms["none"], *trained.arms["dropout"]]
    grid = {float(trained.setting(s)["dropout"]): s for s in settings}
    alike = [dict(trained.setting(s)) | {"dropout": 0, "label": ""} for s in settings]
    return dict(sorted(grid.items())) if len(grid) == len(settings) and alike[1:] == alike[:-1] else None


def _curve(trained: Trained, grid: Mapping[float, int], when: str) -> dict[str, Any]:
    losses = {part: {p: trained.losses(s, when, part) for p, s in grid.items()} for part in PARTS}
    best = min(grid, key=lambda p: float(losses["validation"][p].mean()))
    return {
        **{part: [trained.interval(values, part) for values in of.values()] for part, of in losses.items()},
        "best_rate": best,
        "underfits_from": _worse_from(trained, losses, best),
        "worse_than_none_from": _worse_from(trained, losses, min(grid)),
    }


def _worse_from(trained: Trained, losses: Mapping[str, Mapping[float, Array]], reference: float) -> float | None:
    """The smallest rate above the reference from which on training and test loss are both worse than there."""
    start = None
    for p in sorted(losses["train"], reverse=True):
        excess = [trained.spread(losses[part][p] - losses[part][reference], part) for part in ("train", "test")]
        if p <= reference or not all(e.mean > e.error for e in excess):
            break
        start = p
    return start


def _brackets(rates: list[float], start: float | None) -> bool | None:
    if start is None:
        return False if rates[-1] > CLAIMED_RATE else None
    before = rates[rates.index(start) - 1]
    return before <= CLAIMED_RATE <= start


def price(
    records: Iterable[Record],
    plan: Mapping[str, Any],
    *,
    share: float | None = None,
    epoch_seconds: float | None = None,
) -> dict[str, Any] | None:
    """What dropout costs in epochs: how many it takes to the training loss that no dropout has at its best epoch.

    Training losses are those with dropout off; between two epochs they are taken as straight lines. The ratio of
    epochs is averaged over splits as its logarithm. A split on which dropout does not get there within the budget
    counts with the whole budget: then ratio and interval are lower bounds, and the upper limit is None.

    Args:
        records: as :func:`thinned.studies.analysis.analyse` takes them.
        plan: the same.
        share: the same.
        epoch_seconds: of one network, if known.

    Returns:
        None where arms ``none`` and ``dropout``, of rates alone, were not both trained; else for each rate the ratio
        (mean, low, high), on how many splits it was reached and median epochs (None where most splits did not get
        there), and for the rate of least mean validation loss whether the claim holds (the interval has 2 in it and not
        1; None: it can't tell) with a sentence.
    """
    trained = Trained(records, plan, share)
    grid = rate_grid(trained)
    if grid is None:
        return None
    none = [(_curve_of(split, grid[min(grid)]), split[grid[min(grid)]]["best_epoch"]) for split in trained.splits]
    levels = [curve[best - 1] for curve, best in none]
    base = np.array([_epochs_to(curve, level) for (curve, _), level in zip(none, levels, strict=True)])
    rows = []
    for p, setting in list(grid.items())[1:]:
        taken = [
            _epochs_to(_curve_of(split, setting), level) for split, level in zip(trained.splits, levels, strict=True)
        ]
        rows.append({"rate": p, **_ratio(np.array(taken), base, trained), "seconds": None})
        median = rows[-1]["epochs"]
        rows[-1]["seconds"] = None if epoch_seconds is None or median is None else median * epoch_seconds
    best = trained.least(trained.arms["dropout"])
    shown = next(row for row in rows if row["rate"] == float(trained.setting(best)["dropout"]))
    return {
        "epochs": float(np.median(base)),
        "seconds": None if epoch_seconds is None else float(np.median(base)) * epoch_seconds,
        "rates": rows,
        "rate": shown["rate"],
        "claimed": CLAIMED_PRICE,
        "holds": _price_holds(shown["ratio"]),
        "sentence": _price_sentence(shown, len(trained.splits)),
    }


def _curve_of(split: Mapping[int, Record], setting: int) -> list[float]:
    return split[setting]["curves"]["train"]  # type: ignore[no-any-return]


def _epochs_to(curve: list[float], level: float) -> float:
    """Epochs until the curve first reaches the level, infinite where it does not; before the first epoch all is 1."""
    for epoch, loss in enumerate(curve, start=1):
        if loss <= level:
            before = curve[epoch - 2] if epoch > 1 else loss
            return epoch - (level - loss) / (before - loss) if before > loss else float(epoch)
    return math.inf


def _ratio(taken: Array, base: Array, trained: Trained) -> dict[str, Any]:
    reached = int(np.isfinite(taken).sum())
    bounded = np.minimum(taken, trained.plan["epochs"])
    logs = trained.spread(np.log(bounded / base), "train").interval()
    whole = reached == len(taken)
    median = float(np.median(taken))
    return {
        "ratio": {
            "mean": math.exp(logs["mean"]),
            "low": math.exp(logs["low"]),
            "high": math.exp(logs["high"]) if whole else None,
        },
        "reached": reached,
        "epochs": median if math.isfinite(median) else None,
    }


def _price_holds(ratio: Mapping[str, float | None]) -> bool | None:
    low, high = ratio["low"] or 0.0, math.inf if ratio["high"] is None else ratio["high"]
    if low > CLAIMED_PRICE or high < CLAIMED_PRICE:
        return False
    return True if low > 1 and math.isfinite(high) else None


def _price_sentence(shown: Mapping[str, Any], splits: int) -> str:
    ratio, reached = shown["ratio"], shown["reached"]
    said = {True: "holds here", False: "does not hold here", None: "cannot be told from these numbers"}
    claim = f"that it doubles the number of epochs {said[_price_holds(ratio)]}"
    level = "the training loss that no dropout has at its best epoch"
    if not reached:
        return f"With a rate of {shown['rate']:g}, no network reached {level} within the budget: {claim}."
    if reached < splits:
        return (
            f"With a rate of {shown['rate']:g}, {reached} of {splits} networks reached {level} within the budget, and "
            f"all took at least {ratio['mean']:.1f} times the epochs on average: {claim}."
        )
    return (
        f"With a rate of {shown['rate']:g}, {level} took {ratio['mean']:.1f} times the epochs (95\u00a0% interval "
        f"{ratio['low']:.1f} to {ratio['high']:.1f}): {claim}."
    )
