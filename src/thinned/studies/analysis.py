"""What the numbers of a finished study say: nested selection, paired differences and a verdict in words."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from thinned.studies.metrics import METRICS, SELECTION

__all__ = ["Comparison", "analyse", "corrected_t"]

Record = Mapping[str, Any]
_CONFIDENCE = 0.95
_POWER = 0.8


class Comparison(NamedTuple):
    """Paired comparison over resampled splits.

    ``difference`` is the mean over splits of what dropout takes off the loss: positive where dropout is better.
    ``detectable`` is the smallest true difference that the design finds in 80 % of studies.
    """

    difference: float
    low: float
    high: float
    p_value: float
    detectable: float
    splits: int


def corrected_t(differences: Sequence[float], test_share: float) -> Comparison:
    """Corrected resampled t interval and test of Nadeau & Bengio (2003).

    The splits share training rows, so their differences are correlated, and the plain variance s²/J is too small. It is
    replaced by s² (1/J + n_test/n_train).

    Args:
        differences: one of each split, at least two.
        test_share: n_test / n_train of a split.
    """
    d = np.asarray(differences, dtype=np.float64)
    error = math.sqrt(d.var(ddof=1) * (1 / len(d) + test_share))
    t = stats.t(len(d) - 1)
    mean, reach = float(d.mean()), t.ppf(0.5 + _CONFIDENCE / 2)
    p_value = float(2 * t.sf(abs(mean) / error)) if error else float(mean == 0)
    return Comparison(
        mean, mean - reach * error, mean + reach * error, p_value, (reach + t.ppf(_POWER)) * error, len(d)
    )


def _mean_interval(values: Sequence[float], test_share: float) -> dict[str, float]:
    """Mean over splits with its corrected interval."""
    interval = corrected_t(values, test_share)
    return {"mean": interval.difference, "low": interval.low, "high": interval.high}


def analyse(records: Iterable[Record], plan: Mapping[str, Any]) -> dict[str, Any]:
    """Arms, nested comparison and verdict.

    Every comparison is made twice: ``best`` takes each network at its best validation epoch (early stopping), ``end``
    after the full budget of epochs.

    Args:
        records: one a network, as :func:`thinned.studies.run.record` makes them.
        plan: :meth:`Plan.to_dict`.

    Returns:
        The ``arms``, ``comparison`` and ``verdict`` of ``results.json``.
    """
    by_split: dict[tuple[int, int], dict[float, Record]] = defaultdict(dict)
    for record in records:
        by_split[record["repeat"], record["fold"]][record["rate"]] = record
    splits = [by_split[place] for place in sorted(by_split)]
    share = 1 / (plan["folds"] - 1)
    selection = SELECTION[plan["task"]]
    chosen, comparison = {}, {}
    for when in ("best", "end"):
        chosen[when] = [_choose(split, when) for split in splits]
        pairs = zip(splits, chosen[when], strict=True)
        gains = [
            split[0.0][when]["scores"][selection] - split[rate][when]["scores"][selection] for split, rate in pairs
        ]
        comparison[when] = corrected_t(gains, share)
    arms = [_arm(rate, [split[rate] for split in splits], share) for rate in plan["rates"]]
    for arm in arms:
        arm["chosen_in"] = {when: sum(rate == arm["rate"] for rate in chosen[when]) for when in chosen}
        arm["improvement"] = {
            when: _mean_interval([_gain(split, arm["rate"], when, selection) for split in splits], share)
            for when in chosen
        }
    return {
        "arms": arms,
        "comparison": {when: {**c._asdict(), "chosen": chosen[when]} for when, c in comparison.items()},
        "verdict": _verdict(comparison["best"], comparison["end"], arms, plan),
    }


def _choose(split: Mapping[float, Record], when: str) -> float:
    """The dropout rate with the least validation loss; the test rows, which score it, have no part in the choice."""
    return min((rate for rate in split if rate > 0), key=lambda rate: split[rate][when]["validation"])


def _gain(split: Mapping[float, Record], rate: float, when: str, selection: str) -> float:
    """What dropout at this rate takes off the test loss of the same network without it."""
    without, dropout = (float(split[r][when]["scores"][selection]) for r in (0.0, rate))
    return without - dropout


def _arm(rate: float, records: Sequence[Record], share: float) -> dict[str, Any]:
    def at(when: str) -> dict[str, Any]:
        taken = [record[when] for record in records]
        return {
            **{part: _mean_interval([t[part] for t in taken], share) for part in ("train", "validation", "test")},
            "scores": {n: _mean_interval([t["scores"][n] for t in taken], share) for n in taken[0]["scores"]},
        }

    return {
        "rate": rate,
        "name": f"dropout {rate:g}" if rate else "no dropout",
        "networks": len(records),
        "best_epoch": float(np.median([record["best_epoch"] for record in records])),
        "best": at("best"),
        "end": at("end"),
        "curves": {
            part: np.mean([record["curves"][part] for record in records], axis=0).tolist()
            for part in ("train", "validation")
        },
    }


def _verdict(at_best: Comparison, at_end: Comparison, arms: Sequence[Record], plan: Record) -> dict[str, Any]:
    """The answer in words that can be repeated without the table."""
    none, *dropout = arms
    best = min(dropout, key=lambda arm: arm["best"]["validation"]["mean"])
    selection = SELECTION[plan["task"]]
    label = METRICS[selection].label
    name = label if label.isupper() else label.lower()
    level = none["best"]["scores"][selection]["mean"]
    show = _formatter(at_best)
    outcome = _outcome(at_best)
    headline = {
        "helps": f"Dropout helps on this data: use a rate of {best['rate']:g} on the hidden layers.",
        "hurts": "Dropout hurts on this data: leave it out, and stop early.",
        "no detectable difference": "Dropout makes no detectable difference here: leave it out, and stop early.",
    }[outcome]
    less_or_more = "lower" if at_best.difference > 0 else "higher"
    detail = [
        (
            f"On rows that the networks had not seen, the {name} with dropout was {show(abs(at_best.difference))} "
            f"{less_or_more} than {show(level)} without it; the 95\u00a0% interval of the improvement is "
            f"{show(at_best.low, '+')} to {show(at_best.high, '+')}."
        ),
        (
            "Both networks stopped at their best validation epoch, and the rate was chosen without looking at the rows "
            "that score it."
        ),
    ]
    if outcome == "no detectable difference":
        detail.append(f"A true difference of {show(at_best.detectable)} would have been found four times out of five.")
    if at_end != at_best:
        full = {"helps": "helps", "hurts": "hurts"}.get(_outcome(at_end), "makes no detectable difference")
        detail.append(
            f"When both train for all {plan['epochs']} epochs instead, dropout {full}: the improvement is "
            f"{show(at_end.difference, '+')}, its interval {show(at_end.low, '+')} to {show(at_end.high, '+')}."
        )
    if max(none["best_epoch"], best["best_epoch"]) > 0.95 * plan["epochs"]:
        detail.append("The networks were still improving when training ended: more epochs may change the answer.")
    return {
        "outcome": outcome,
        "headline": headline,
        "detail": " ".join(detail),
        "recommended_rate": best["rate"] if outcome == "helps" else 0.0,
        "best_dropout_rate": best["rate"],
        "metric": selection,
    }


def _outcome(comparison: Comparison) -> str:
    """What the interval allows to say."""
    return "helps" if comparison.low > 0 else "hurts" if comparison.high < 0 else "no detectable difference"


def _formatter(comparison: Comparison) -> Callable[..., str]:
    """Writes numbers with as many decimals as the interval's width has meaning, and the sign that typesetters use."""
    reach = (comparison.high - comparison.low) / 2
    decimals = min(max(0, 1 - math.floor(math.log10(reach))), 9) if reach > 0 else 4

    def show(value: float, sign: str = "") -> str:
        rounded = round(value, decimals) + 0.0  # no minus zero
        return f"{rounded:{sign if rounded else ''},.{decimals}f}".replace("-", "−")

    return show
