"""The report's charts of arms and settings as Vega-Lite specifications.

What they show of text are labels; they are drawn as text of SVG, and never read as anything else.
"""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np

from thinned.pages.charts import layers, named, scale

__all__ = [
    "PARTS",
    "ROW",
    "SIDES",
    "arm_picture",
    "improvements",
    "interval_rows",
    "interval_tips",
    "learning_curves",
    "name_rows",
    "side",
    "upright",
]

Entry = Mapping[str, Any]

#: what a loss is measured on, with its colour, dashes and symbol: never told apart by colour alone
PARTS = {
    "train": ("var(--train)", (2, 3), "square"),
    "validation": ("var(--validation)", (7, 3), "triangle-up"),
    "test": ("var(--test)", (1, 0), "circle"),
}
#: where an interval lies, with its colour and symbol
SIDES = {
    "right": ("var(--helps)", "triangle-right"),
    "across": ("var(--neutral)", "circle"),
    "left": ("var(--hurts)", "triangle-left"),
}
_CURVE_DASHES = {"train": (2, 3), "validation": (1, 0)}
_WHO = {"none": "var(--none)", "shown": "var(--test)"}
_SETTLED = 0.05  # of the budget: how long the first, steep epochs may leave the top of the chart
_LINE = 26  # characters of a label; longer ones take two lines, so that a phone has room for the intervals
ROW = 34  # pixels


def side(interval: Mapping[str, float]) -> str:
    """Where an interval of improvements lies, of :data:`SIDES`."""
    return "right" if interval["low"] > 0 else "left" if interval["high"] < 0 else "across"


def arm_picture(arms: Sequence[Entry], labels: Sequence[str], rope: float | None, title: str) -> dict[str, Any]:
    """Improvement of every arm with its interval, one a row; the page chooses the epoch by the signal ``when``.

    Args:
        arms: of ``results.json``, in the order of the rows.
        labels: their names, as the reader is to see them.
        rope: half-width of the region of practical equivalence, or None.
        title: of the axis.
    """
    rows = [
        {"row": row, "arm": label, "when": when, "side": side(arm[when]["improvement"]), **arm[when]["improvement"]}
        for row, (arm, label) in enumerate(zip(arms, labels, strict=True))
        for when in ("best", "end")
        if arm[when]["improvement"]["mean"] is not None
    ]
    when = alt.param(name="when", value="best")
    equal = named("equal").mark_rect(color="var(--muted)", opacity=0.16).encode(x="low:Q", x2="high:Q")
    names, reach, point = interval_rows("arms", labels, improvements(title), "Improvement", "datum.when == when")
    parts = [*[equal] * (rope is not None), upright(), names.add_params(when), reach, point]
    data = {} if rope is None else {"equal": [{"low": -rope, "high": rope}]}
    return layers(*parts, height=ROW * len(arms), arms=rows, names=name_rows(labels), level=[{"at": 0}], **data)


def interval_rows(data: str, labels: Sequence[str], x: alt.X, what: str, seen: str = "true") -> list[alt.Chart]:
    """Layers of a chart with one interval a row: names, intervals and means.

    Args:
        data: name of the data set; its rows have ``row``, ``arm``, ``side``, ``mean``, ``low`` and ``high``.
        labels: of the rows; their data set is called "names", see :func:`name_rows`.
        x: encoding of the lower limits.
        what: the mean is called where it is pointed at.
        seen: expression of the rows that are drawn.
    """
    # Vega centres a label of two lines by its first line: its own labels only keep the place, and text is drawn there
    lines = alt.Axis(domain=False, ticks=False, labelOpacity=0, labelExpr="lines[datum.value]", labelPadding=8)
    y = alt.Y("row:O", title=None, axis=lines, scale=alt.Scale(domain=[*range(len(labels))]))
    wrapped = alt.param(name="lines", value=[name["lines"] for name in name_rows(labels)])
    names = named("names").mark_text(
        align="right",
        baseline="middle",
        dx=-8,
        dy=alt.ExprRef("7 - 7 * length(datum.lines)"),
        lineHeight=14,
        color="var(--ink)",
    )
    names = names.encode(x=alt.value(0), y=y, text="lines:N").add_params(wrapped)
    base = named(data).transform_filter(seen)
    colours, shapes = zip(*SIDES.values(), strict=True)
    base = base.encode(y=y, color=alt.Color("side:N", scale=scale(SIDES, colours), legend=None))
    reach = base.mark_rule(strokeWidth=2.5).encode(x=x, x2="high:Q")
    point = base.mark_point(filled=True, size=90, opacity=1).encode(
        x="mean:Q",
        shape=alt.Shape("side:N", scale=scale(SIDES, shapes), legend=None),
        tooltip=[alt.Tooltip("arm:N", title="Arm"), *interval_tips(what, "+.4g")],
    )
    return [names, reach, point]


def name_rows(labels: Sequence[str]) -> list[dict[str, Any]]:
    """The data set "names" of :func:`interval_rows`."""
    return [
        {"row": row, "lines": textwrap.wrap(label, _LINE, break_on_hyphens=False) or [label]}
        for row, label in enumerate(labels)
    ]


def upright(**style: Any) -> alt.Chart:
    """A line where the data set "level" has ``at``."""
    chart: alt.Chart = named("level").mark_rule(color="var(--ink)", **style).encode(x="at:Q")
    return chart


def improvements(title: str) -> alt.X:
    """A horizontal axis of differences, with few enough labels for its width."""
    axis = alt.Axis(
        tickCount=alt.ExprRef("max(2, floor(width / 110))"),
        format="+~g",
        labelExpr="datum.value == 0 ? '0' : datum.label",
        labelOverlap="greedy",
    )
    return alt.X("low:Q", title=title, scale=alt.Scale(zero=True, padding=14), axis=axis)


def interval_tips(name: str, digits: str = ".4g") -> list[alt.Tooltip]:
    """What is seen of a mean and its interval by pointing at it."""
    titles = {"mean": name, "low": "Interval from", "high": "to"}
    return [alt.Tooltip(f"{field}:Q", title=title, format=digits) for field, title in titles.items()]


def learning_curves(settings: Sequence[Entry], loss: str, base: int, shown: int) -> dict[str, Any]:
    """Loss per epoch of one setting and another, which the page chooses by the signal ``shown``.

    Args:
        settings: of ``results.json``.
        loss: name and unit of the loss.
        base: place of the setting that is always seen.
        shown: place of the other that is seen at first.
    """
    epochs = len(settings[0]["curves"]["train"])
    # one row a curve: a row a point would repeat every name as often as there are epochs
    rows = [
        {"at": at, "name": s["label"], "part": part, "epoch": [*range(1, epochs + 1)], "loss": s["curves"][part]}
        for at, s in enumerate(settings)
        for part in _CURVE_DASHES
    ]
    best = [
        {
            "at": at,
            "epoch": s["best_epoch"],
            "label": f"{s['label']}: {s['best_epoch']:g}",
            "late": s["best_epoch"] > epochs / 2,
        }
        for at, s in enumerate(settings)
    ]
    # the vertical axis suits the two settings that are seen: one that learns badly must not flatten the others
    domains = [_domain(settings[base], s) for s in settings]
    chosen = alt.param(name="shown", value=shown)
    limits = alt.param(name="domains", value=domains)
    visible, who = f"datum.at == {base} || datum.at == shown", f"datum.at == {base} ? 'none' : 'shown'"
    colour = alt.Color("who:N", scale=scale(_WHO, tuple(_WHO.values())), legend=None)
    x = alt.X(
        "epoch:Q",
        title="Epoch",
        scale=alt.Scale(domain=[0, epochs], nice=False),
        axis=alt.Axis(tickMinStep=1, format="d", labelFlush=False),
    )
    y = alt.Y(
        "loss:Q",
        title=loss,
        scale=alt.Scale(
            domain=[alt.ExprRef("domains[shown][0]"), alt.ExprRef("domains[shown][1]")], zero=False, nice=False
        ),
        axis=alt.Axis(tickCount=6),
    )
    curves = named("curves").transform_filter(visible).transform_flatten(["epoch", "loss"])
    curves = curves.transform_calculate(who=who).encode(x=x, color=colour)
    dash = alt.StrokeDash("part:N", scale=scale(_CURVE_DASHES, tuple(_CURVE_DASHES.values())), legend=None)
    line = curves.mark_line(clip=True, strokeWidth=2).encode(y=y, strokeDash=dash, detail="at:N")
    point = curves.mark_point(clip=True, filled=True, size=90 if epochs > 1 else 60, opacity=float(epochs == 1)).encode(
        y=y,
        tooltip=[
            alt.Tooltip("name:N", title="Network"),
            alt.Tooltip("part:N", title="Loss on"),
            alt.Tooltip("epoch:Q", title="Epoch"),
            alt.Tooltip("loss:Q", title="Mean loss", format=".4g"),
        ],
    )
    marks = named("best").transform_filter(visible).transform_calculate(who=who).encode(x=x, color=colour)
    rule = marks.mark_rule(strokeDash=[4, 3], strokeWidth=1.5)
    text = [
        marks.transform_filter(f"datum.who == '{name}'")
        .mark_text(align=alt.ExprRef("datum.late ? 'right' : 'left'"), dy=row, fontWeight=600)
        .encode(y=alt.value(0), text="label:N")
        for name, row in (("none", -22), ("shown", -8))
    ]
    return layers(rule, line.add_params(chosen, limits), point, *text, height=320, curves=rows, best=best)


def _domain(*settings: Entry) -> list[float]:
    """Limits of the loss axis that hold all of the curves but the first, steep epochs."""
    curves = np.array([curve for setting in settings for curve in setting["curves"].values()])
    settled = curves[:, min(int(np.ceil(curves.shape[1] * _SETTLED)), curves.shape[1] - 1) :]
    low, high = float(curves.min()), float(settled.max())
    room = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    return [low - room, high + room]
