"""The report: ``results.json`` as one HTML file that needs no network."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any

import jinja2

from thinned import pages
from thinned.studies.report import charts
from thinned.studies.report.claim_charts import claim_charts, gain_styles, removal_styles

__all__ = ["decimals", "duration", "ordered", "render", "render_comparison", "warned"]

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
    "helps": ("▲", "Yes, it helps", "helps"),
    "hurts": ("▼", "No, it hurts", "hurts"),
    "practically equal": ("=", "No difference that matters", "neutral"),
    "not enough evidence": ("?", "Not enough evidence", "neutral"),
}
_HOLDING = {
    True: ("helps", "Held here."),
    False: ("hurts", "Did not hold here."),
    None: ("neutral", "Cannot be told here."),
}
_WARNING = {
    "diverged": "Some networks diverged",
    "leaking_column": "A column gives the answer away",
    "nothing_learnt": "Hardly anything was learnt",
    "few_rows": "There are few rows",
    "few_splits": "There are few splits",
    "small_test_fold": "The test folds are too small to tell",
    "rare_class": "A class is rare",
    "budget": "More epochs might change the order",
    "grid_edge": "The best value may lie beyond what was tried",
    "no_overfitting": "The networks hardly overfit",
}
_DIGITS = 4


def render(results: Mapping[str, Any]) -> str:
    """The report of a finished study.

    Args:
        results: the content of ``results.json``. Every number on the page comes from it; all of its text is escaped.

    Returns:
        A page of HTML with its styles, scripts and data in it.
    """
    selection = results["metrics"][results["selection"]]
    name, unit = _LOSS["regression" if results["data"]["task"] == "regression" else "classification"]
    axis = f"Loss: {name} ({unit})"
    arms, curves = _arms(results), _curves(results)
    rope = next((c["rope"] for c in results["comparisons"]), None)
    gain = f"Improvement ({selection['unit']})"
    specs = {
        "arms": charts.arm_picture(arms, [arm["shown"] for arm in arms], rope, gain),
        "curves": charts.learning_curves(results["settings"], axis, **curves),
        **claim_charts(results["claims"], axis, gain),
    }
    script = pages.bundle("thinned.studies.report", "report.js")
    template = _environment().get_template("report.html.jinja")
    return template.render(
        r=results,
        arms=arms,
        curves=curves,
        rope=rope,
        outcome=_outcome(results),
        primary=next((c for c in results["comparisons"] if c["primary"]), None),
        holding=_HOLDING,
        loss={"name": name, "unit": unit, "axis": axis},
        whens=_WHEN,
        meaning=_MEANING,
        places=decimals(results),
        parts=charts.PARTS,
        sides=charts.SIDES,
        gain_styles=gain_styles,
        removal_styles=removal_styles,
        warned=warned(results["warnings"]),
        specs=specs,
        script=script,
        script_hash=pages.script_hash(script),
    )


def render_comparison(compared: Mapping[str, Any], studies: Sequence[Mapping[str, Any]]) -> str:
    """Two studies side by side, as a page of its own.

    Args:
        compared: of :func:`thinned.studies.analysis.compare_studies.side_by_side`.
        studies: the content of each ``results.json``.
    """
    template = _environment().get_template("compare.html.jinja")
    html: str = template.render(
        compared=compared,
        studies=studies,
        places=[decimals(study) for study in studies],
        outcomes=[_outcome(study) for study in studies],
        paired=any(arm["difference"] for arm in compared["arms"]),
    )
    return html


@cache
def _environment() -> jinja2.Environment:
    environment = pages.environment("thinned.studies.report")
    environment.filters |= {
        "duration": duration,
        "moment": _moment,
        "in_text": _in_text,
        "p_value": _p_value,
        "percent": _percent,
    }
    return environment


def _outcome(results: Mapping[str, Any]) -> tuple[str, str, str]:
    """Symbol, words and colour of a verdict."""
    return _OUTCOME[results["verdict"]["outcome"]]


def _arms(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The arms, best first, with the label to show and the setting that most splits chose."""
    labels = {setting["index"]: setting["label"] for setting in results["settings"]}
    recommended = results["verdict"]["recommended"]["arm"]

    def mostly(arm: Mapping[str, Any], when: str) -> tuple[str, int]:
        setting, times = Counter(arm[when]["chosen"]).most_common(1)[0]
        return labels[setting], times

    def shown(arm: Mapping[str, Any]) -> str:
        mark = "⚠ " if arm["warning"] else "✓ " if arm["name"] == recommended else ""
        return f"{mark}{arm['label']}"

    return [
        {**arm, "shown": shown(arm), "mostly": {when: mostly(arm, when) for when in _WHEN}}
        for arm in ordered(results["arms"])
    ]


def ordered(arms: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The arms in the order in which people see them: best first."""
    return sorted(arms, key=lambda arm: -arm["best"]["improvement"]["mean"])


def _curves(results: Mapping[str, Any]) -> dict[str, int]:
    """Places of the two settings whose learning curves are seen at first: no regularisation, and the recommended."""
    index = [setting["index"] for setting in results["settings"]]
    first = {arm["name"]: arm["best"]["chosen"][0] for arm in results["arms"]}
    base = index.index(first.get("none", index[0]))
    wanted = [results["verdict"]["recommended"]["setting"], first.get("dropout"), *index]
    return {"base": base, "shown": next((index.index(s) for s in wanted if s in index and s != index[base]), base)}


def warned(warnings: Iterable[Mapping[str, str]]) -> list[dict[str, Any]]:
    """The warnings, those of a kind together."""
    kinds: dict[str, dict[str, Any]] = {}
    for one in warnings:
        title = _WARNING.get(one["code"], one["code"].replace("_", " "))
        new = {"title": title, "messages": [], "next_step": one["next_step"]}
        kinds.setdefault(one["code"], new)["messages"].append(one["message"])
    return list(kinds.values())


def decimals(results: Mapping[str, Any]) -> dict[str, int]:
    """Decimal places of each column: enough for its largest number, and the same all the way down."""
    taken = [setting[when] for setting in results["settings"] for when in _WHEN]
    losses = (at[part]["mean"] for at in taken for part in charts.PARTS)
    compared = (c[key] for c in results["comparisons"] for key in ("difference", "low", "high"))
    scores = {name: _places(at["scores"][name]["mean"] for at in taken) for name in results["metrics"]}
    return {"loss": _places(losses), "difference": _places(compared), **scores}


def _places(values: Iterable[float | None]) -> int:
    largest = max((abs(value) for value in values if value is not None), default=0.0)
    magnitude = math.floor(math.log10(largest)) if largest else 0
    # small numbers, as differences of losses are, need no more than two digits
    return max(0, min(_DIGITS - 1 - magnitude, max(_DIGITS, 1 - magnitude)))


def duration(seconds: float) -> str:
    """In words."""
    whole = round(seconds)
    if whole < 120:
        return f"{seconds:.2g} s" if seconds < 10 else f"{whole} s"
    minutes, hours = whole // 60, whole // 3600
    return f"{hours} h {minutes % 60} min" if hours else f"{minutes} min {whole % 60} s"


def _moment(text: str) -> str:
    try:
        return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M %Z}"
    except ValueError:
        return text


def _in_text(label: str) -> str:
    """A label as it is written within a sentence: "log loss", but "RMSE"."""
    return label if label[:2].isupper() or len(label) < 3 else label[0].lower() + label[1:]


def _p_value(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.{3 if value < 0.1 else 2}f}"


def _percent(probability: float) -> str:
    """Never rounded to certainty."""
    if 0.01 <= probability <= 0.99:
        return f"{100 * probability:.0f}\u00a0%"
    return "< 1\u00a0%" if probability < 0.5 else "> 99\u00a0%"
