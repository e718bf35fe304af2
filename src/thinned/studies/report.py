"""The report: ``results.json`` as one HTML file that needs no network."""

import math
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import cache
from typing import Any

import jinja2

from thinned import pages
from thinned.studies import charts

__all__ = ["render"]

#: what each score means, for a reader who meets it for the first time; its unit comes from the results
_MEANING = {
    "log_loss": "how far the predicted probabilities are from what happened",
    "roc_auc": "how often the network ranks two rows of different classes in the right order",
    "accuracy": "how many rows get their own class as the most probable one",
    "brier": "the mean squared distance of the predicted probabilities from what happened",
    "rmse": "the typical error of a prediction, large errors weighing more (root mean squared error)",
    "mae": "the mean distance of a prediction from the true value",
    "r2": "how much of the spread of the target the predictions explain",
}
_LOSS = {
    "classification": ("cross-entropy", "nats"),
    "regression": ("squared error", "standard deviations²"),
}
_WHEN = {"best": "At the best epoch", "end": "After the full budget"}
_OUTCOME = {
    "helps": ("▲", "Dropout helps"),
    "hurts": ("▼", "Dropout hurts"),
    "no detectable difference": ("=", "No detectable difference"),
}
_DIGITS = 4


def render(results: Mapping[str, Any]) -> str:
    """The report of a finished study.

    Args:
        results: the content of ``results.json``. Every number on the page comes from it; all of its text is escaped.

    Returns:
        A page of HTML with its styles, scripts and data in it.
    """
    arms, selection = results["arms"], results["metrics"][results["selection"]]
    name, unit = _LOSS["regression" if results["data"]["task"] == "regression" else "classification"]
    axis = f"Loss: {name} ({unit})"
    verdict = results["verdict"]
    shown = next(i for i, arm in enumerate(arms) if arm["rate"] == verdict["best_dropout_rate"])
    specs = {
        **{f"rates-{when}": charts.rate_curve(arms, when, axis, verdict["recommended_rate"]) for when in _WHEN},
        "difference": charts.differences(results["comparison"], _WHEN, f"Improvement ({selection['unit']})"),
        "curves": charts.learning_curves(arms, axis, shown),
    }
    script = pages.bundle("thinned.studies", "report.js")
    template = _environment().get_template("report.html.jinja")
    return template.render(
        r=results,
        outcome=_OUTCOME[verdict["outcome"]],
        loss={"name": name, "unit": unit, "axis": axis},
        whens=_WHEN,
        meaning=_MEANING,
        places=_all_places(results),
        parts=charts.PARTS,
        shown=shown,
        specs=specs,
        script=script,
        script_hash=pages.script_hash(script),
    )


@cache
def _environment() -> jinja2.Environment:
    environment = pages.environment("thinned.studies")
    environment.filters |= {"duration": _duration, "moment": _moment, "in_text": _in_text}
    return environment


def _all_places(results: Mapping[str, Any]) -> dict[str, int]:
    """Decimal places of each column: enough for its largest number, and the same all the way down."""
    taken = [arm[when] for arm in results["arms"] for when in _WHEN]
    losses = (at[part]["mean"] for at in taken for part in charts.PARTS)
    compared = (c[key] for c in results["comparison"].values() for key in ("difference", "low", "high"))
    scores = {name: _places(at["scores"][name]["mean"] for at in taken) for name in results["metrics"]}
    return {"loss": _places(losses), "difference": _places(compared), **scores}


def _places(values: Iterable[float]) -> int:
    largest = max(abs(value) for value in values)
    magnitude = math.floor(math.log10(largest)) if largest else 0
    # small numbers, as differences of losses are, need no more than two digits
    return max(0, min(_DIGITS - 1 - magnitude, max(_DIGITS, 1 - magnitude)))


def _duration(seconds: float) -> str:
    whole = round(seconds)
    if whole < 120:
        return f"{seconds:.2g} s" if seconds < 10 else f"{whole} s"
    minutes, hours = whole // 60, whole // 3600
    return f"{hours} h {minutes % 60} min" if hours else f"{minutes} min {whole % 60} s"


def _moment(text: str) -> str:
    return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M %Z}"


def _in_text(label: str) -> str:
    """A label as it is written within a sentence: "log loss", but "RMSE"."""
    return label if label[:2].isupper() or len(label) < 3 else label[0].lower() + label[1:]
