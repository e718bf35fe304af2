"""Two mechanisms that are said to be behind dropout's effect, measured inside the networks: see ``probes``."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from thinned.studies.analysis.claims.rates import rate_grid
from thinned.studies.analysis.selection import Array, Record, Trained

__all__ = ["coadaptation", "variance_shift"]

Interval = Mapping[str, float | None]

_MEASURE = (
    "mean absolute correlation of the activations of two units of a hidden layer on test rows, dropout off, "
    "averaged over the layers"
)
_SOURCE = "the cross-covariance of Cogswell et al. 2016 (DeCov), standardised"
_SAID = {True: "holds here", False: "does not hold here", None: "cannot be told from these numbers"}


def coadaptation(
    records: Iterable[Record], plan: Mapping[str, Any], fractions: Iterable[float], *, share: float | None = None
) -> dict[str, Any] | None:
    """How strongly hidden units depend on each other, and what is lost when some are taken out after training.

    The claim is that dropout keeps units from relying on each other (Srivastava et al. 2014, §7.1). It holds where the
    dependence without dropout exceeds that at the rate of least mean validation loss, the interval of the paired
    difference above 0, and does not where the interval lies below. The losses after removal (Morcos et al. 2018) stand
    beside it: they show what the dependence means for the predictions.

    Args:
        records: as :func:`thinned.studies.analysis.analyse` takes them.
        plan: the same.
        fractions: of units taken out, at which the probes have a loss.
        share: as for ``analyse``.

    Returns:
        None where arms ``none`` and ``dropout`` were not both trained and looked into; else measure and source in
        words, the dependence at each rate and the loss at each fraction (mean, low, high), and whether the claim holds.
    """
    trained = Trained(records, plan, share)
    grid = rate_grid(trained)
    if grid is None:
        return None
    best = trained.least(trained.arms["dropout"])
    of = {p: _probed(trained, s, "coadaptation", "dependence") for p, s in grid.items()}
    rates, p = list(grid), float(trained.setting(best)["dropout"])
    difference = trained.interval(of[rates[0]] - of[p])
    if difference["mean"] is None:
        return None
    ends = {rate: _probed(trained, grid[rate], "coadaptation", "removal") for rate in (rates[0], p)}
    shown = list(fractions)
    return {
        "measure": _MEASURE,
        "source": _SOURCE,
        "rates": rates,
        "dependence": [trained.interval(values) for values in of.values()],
        "removal": {
            "fractions": shown,
            "loss": {
                np.format_float_positional(rate, trim="-"): [trained.interval(losses) for losses in values.T]
                for rate, values in ends.items()
            },
        },
        "best_rate": p,
        "difference": difference,
        "holds": (holds := _sign(difference)),
        "sentence": _units_sentence(trained, p, [of[rates[0]], of[p]], list(ends.values()), shown[-1], holds),
    }


def _units_sentence(
    trained: Trained, p: float, of: list[Array], losses: list[Array], fraction: float, holds: bool | None
) -> str:
    none, dropout = (float(np.nanmean(values)) for values in of)
    lost = [values[:, -1] - values[:, 0] for values in losses]
    spared = trained.interval(lost[0] - lost[1])
    return (
        f"Two hidden units of a layer have a correlation of {none:.3f} in size without dropout and of {dropout:.3f} "
        f"with a rate of {p:g}: that dropout makes units depend less on each other {_SAID[holds]}. Taking "
        f"{100 * fraction:.0f}\u00a0% of the units out raises the test loss by {lost[0].mean():.3g} without dropout "
        f"and by {lost[1].mean():.3g} with it (difference {_range(spared)})."
    )


def variance_shift(
    records: Iterable[Record], plan: Mapping[str, Any], *, share: float | None = None
) -> dict[str, Any] | None:
    """How dropout shifts the variance that batch norms are given between training and use, and what that costs.

    For every setting of the arms with batch norm: the ratio of the variance in training to that in evaluation, of the
    batch norm where it is largest, and the test loss before and after the running statistics are estimated anew with
    dropout off. The claim is that the shift is there and costs accuracy (Li et al. 2019). It is judged in the first arm
    with dropout of the plan, at the rate of least mean validation loss: it holds where the ratio's interval lies above
    1 and that of what is repaired above 0, and does not where either lies below. Batch norm without dropout, where
    trained, shows what the running averages lose by themselves.

    Args:
        records: as :func:`thinned.studies.analysis.analyse` takes them.
        plan: the same.
        share: the same.

    Returns:
        None where no arm has both batch norm and dropout, or none was looked into.
    """
    trained = Trained(records, plan, share)
    judged: int | None = None
    rows: dict[int, dict[str, Any]] = {}
    for arm in plan["arms"]:
        if not all(trained.setting(s)["batch_norm"] for s in arm["settings"]):
            continue
        own = {s: row for s in trained.arms.get(arm["name"], []) if (row := _shift(trained, arm["name"], s))}
        rows |= {s: row for s, row in own.items() if s not in rows}
        dropped = [s for s in own if own[s]["rate"]]
        if dropped and judged is None:
            judged = trained.least(dropped)
    if judged is None:
        return None
    shown = rows[judged]
    holds = _shift_holds(shown["ratio"], shown["repaired"])
    return {"arms": list(rows.values()), "holds": holds, "sentence": _shift_sentence(shown, holds)}


def _shift(trained: Trained, arm: str, setting: int) -> dict[str, Any] | None:
    ratio = _probed(trained, setting, "variance_shift", "ratios")
    before, after = (_probed(trained, setting, "variance_shift", when) for when in ("before", "after"))
    largest = ratio.reshape(len(ratio), -1).max(1)  # NaN where one is
    row = {
        "arm": arm,
        "label": trained.setting(setting)["label"],
        "rate": float(trained.setting(setting)["dropout"]),
        "ratio": trained.interval(largest, "train"),
        "loss_before": trained.interval(before),
        "loss_after": trained.interval(after),
        "repaired": trained.interval(before - after),
    }
    return None if row["ratio"]["mean"] is None or row["repaired"]["mean"] is None else row


def _shift_holds(ratio: Interval, repaired: Interval) -> bool | None:
    shifted, costs = _sign(ratio, 1.0), _sign(repaired)
    if False in (shifted, costs):
        return False
    return True if shifted and costs else None


def _shift_sentence(shown: Mapping[str, Any], holds: bool | None) -> str:
    ratio, repaired = shown["ratio"], shown["repaired"]
    known = repaired["mean"] is not None
    change = {"mean": -repaired["mean"], "low": -repaired["high"], "high": -repaired["low"]} if known else repaired
    return (
        f"With {shown['label']}, the input of a batch norm has {ratio['mean']:.3g} times the variance in training that "
        f"it has in use (95\u00a0% interval {ratio['low']:.3g} to {ratio['high']:.3g}), and estimating its statistics "
        f"anew with dropout off changes the test loss by {_range(change)}: that the shift costs accuracy "
        f"{_SAID[holds]}."
    )


def _probed(trained: Trained, setting: int, probe: str, name: str) -> Array:
    """What a probe found on each split, ``(splits, …)``; NaN where there is none."""
    found = [((split[setting].get("probes") or {}).get(probe) or {}).get(name) for split in trained.splits]
    width = next((len(values) for values in found if isinstance(values, list)), None)
    absent = None if width is None else [None] * width
    return np.array([absent if values is None else values for values in found], dtype=np.float64)


def _sign(interval: Interval, level: float = 0.0) -> bool | None:
    """Whether an interval lies above the level; None where it holds the level."""
    if interval["low"] is None or interval["high"] is None:
        return None
    return True if interval["low"] > level else False if interval["high"] < level else None


def _range(interval: Interval) -> str:
    if interval["mean"] is None:
        return "unknown"
    return f"{interval['mean']:.3g}, 95\u00a0% interval {interval['low']:.3g} to {interval['high']:.3g}"
