"""The report's charts of arms and settings as Vega-Lite specifications.

Text in these charts consists of labels, which are drawn as SVG text and never interpreted.
"""

import textwrap
from collections.abc import Sequence

import altair as alt
import numpy as np

from thinned.pages.charts import layers, named, scale
from thinned.studies.results import ArmResult, Interval, SettingResult

__all__ = [
    "PARTS",
    "ROW_HEIGHT",
    "SIDES",
    "Row",
    "Spec",
    "Style",
    "arm_chart",
    "axis_limits",
    "improvement_axis",
    "interval_fields",
    "interval_layers",
    "interval_tooltips",
    "label_rows",
    "learning_curves",
    "side_name",
    "vertical_line",
]

Row = dict[str, object]
#: a Vega-Lite specification with its data
Spec = dict[str, object]
#: colour, dashes and symbol of a line
Style = tuple[str, tuple[int, int], str]

#: the rows on which a loss is measured, with their style: never distinguished by colour alone
PARTS: dict[str, Style] = {
    "train": ("var(--train)", (2, 3), "square"),
    "validation": ("var(--validation)", (7, 3), "triangle-up"),
    "test": ("var(--test)", (1, 0), "circle"),
}
#: the side of 0 on which an interval lies, with its colour and symbol
SIDES = {
    "right": ("var(--helps)", "triangle-right"),
    "across": ("var(--neutral)", "circle"),
    "left": ("var(--hurts)", "triangle-left"),
}
ROW_HEIGHT = 34  # pixels
_SIDE_NAMES = {1: "right", 0: "across", -1: "left"}
_CURVE_DASHES = {"train": (2, 3), "validation": (1, 0)}
_CURVE_COLOURS = {"none": "var(--none)", "shown": "var(--test)"}
_SETTLED = 0.05  # of the budget: the first, steep epochs may leave the top of the chart
_LINE_LENGTH = 26  # characters of a label; longer ones take two lines, which leaves a phone room for the intervals


def side_name(interval: Interval) -> str:
    """The side of 0 on which an interval of improvements lies, of :data:`SIDES`."""
    return _SIDE_NAMES[interval.side()]


def interval_fields(interval: Interval) -> Row:
    """An interval as the fields of a chart's row."""
    return {"mean": interval.mean, "low": interval.low, "high": interval.high}


def arm_chart(arms: Sequence[ArmResult], labels: Sequence[str], rope: float | None, title: str) -> Spec:
    """Improvement of each arm with its interval, one a row; the page chooses the epoch by the signal ``when``.

    Args:
        arms: the arms in the order of the rows.
        labels: the arms' names as the reader sees them.
        rope: half-width of the region of practical equivalence, or None.
        title: title of the horizontal axis.
    """
    improvements = [
        (row, label, when, improvement)
        for row, (arm, label) in enumerate(zip(arms, labels, strict=True))
        for when, improvement in (("best", arm.best.improvement), ("end", arm.end.improvement))
    ]
    rows: list[Row] = [
        {"row": row, "arm": label, "when": when, "side": side_name(interval), **interval_fields(interval)}
        for row, label, when, interval in improvements
    ]
    when = alt.param(name="when", value="best")
    equal = named("equal").mark_rect(color="var(--muted)", opacity=0.16).encode(x="low:Q", x2="high:Q")
    x = improvement_axis(title)
    names, reach, point = interval_layers("arms", labels, x, "Improvement", "datum.when == when")
    parts = [*[equal] * (rope is not None), vertical_line(), names.add_params(when), reach, point]
    data = {} if rope is None else {"equal": [{"low": -rope, "high": rope}]}
    height = ROW_HEIGHT * len(arms)
    return layers(*parts, height=height, arms=rows, names=label_rows(labels), level=[{"at": 0}], **data)


def interval_layers(
    data: str, labels: Sequence[str], x: alt.X, mean_title: str, condition: str = "true"
) -> list[alt.Chart]:
    """Layers of a chart with one interval a row: labels, intervals and means.

    Args:
        data: name of the data set. Its rows have ``row``, ``arm``, ``side``, ``mean``, ``low`` and ``high``.
        labels: labels of the rows; they must also be the data set "names", see :func:`label_rows`.
        x: encoding of the lower limits.
        mean_title: name of the mean in the tooltip.
        condition: expression that selects the rows to draw.
    """
    # Vega centres a label of two lines by its first line: its own labels only keep the place, and text is drawn there
    lines = alt.Axis(domain=False, ticks=False, labelOpacity=0, labelExpr="lines[datum.value]", labelPadding=8)
    y = alt.Y("row:O", title=None, axis=lines, scale=alt.Scale(domain=[*range(len(labels))]))
    wrapped = alt.param(name="lines", value=[row["lines"] for row in label_rows(labels)])
    names = named("names").mark_text(
        align="right",
        baseline="middle",
        dx=-8,
        dy=alt.ExprRef("7 - 7 * length(datum.lines)"),
        lineHeight=14,
        color="var(--ink)",
    )
    names = names.encode(x=alt.value(0), y=y, text="lines:N").add_params(wrapped)
    base = named(data).transform_filter(condition)
    colours, shapes = zip(*SIDES.values(), strict=True)
    base = base.encode(y=y, color=alt.Color("side:N", scale=scale(SIDES, colours), legend=None))
    reach = base.mark_rule(strokeWidth=2.5).encode(x=x, x2="high:Q")
    point = base.mark_point(filled=True, size=90, opacity=1).encode(
        x="mean:Q",
        shape=alt.Shape("side:N", scale=scale(SIDES, shapes), legend=None),
        tooltip=[alt.Tooltip("arm:N", title="Arm"), *interval_tooltips(mean_title, "+.4g")],
    )
    return [names, reach, point]


def label_rows(labels: Sequence[str]) -> list[Row]:
    """The data set "names" of :func:`interval_layers`."""
    return [
        {"row": row, "lines": textwrap.wrap(label, _LINE_LENGTH, break_on_hyphens=False) or [label]}
        for row, label in enumerate(labels)
    ]


def vertical_line(dashes: Sequence[float] = (1, 0)) -> alt.Chart:
    """A vertical line where the data set "level" has ``at``."""
    chart: alt.Chart = named("level").mark_rule(color="var(--ink)", strokeDash=list(dashes)).encode(x="at:Q")
    return chart


def improvement_axis(title: str) -> alt.X:
    """A horizontal axis of differences, with few enough labels for its width."""
    axis = alt.Axis(
        tickCount=alt.ExprRef("max(2, floor(width / 110))"),
        format="+,~f",
        labelExpr="datum.value == 0 ? '0' : datum.label",
        labelOverlap="greedy",
    )
    return alt.X("low:Q", title=title, scale=alt.Scale(zero=True, padding=14), axis=axis)


def interval_tooltips(mean_title: str, digits: str = ".4g") -> list[alt.Tooltip]:
    """Tooltips of a mean and its interval."""
    titles = {"mean": mean_title, "low": "Interval from", "high": "to"}
    return [alt.Tooltip(f"{field}:Q", title=title, format=digits) for field, title in titles.items()]


def learning_curves(settings: Sequence[SettingResult], loss: str, base: int, shown: int, least: float) -> Spec:
    """Loss per epoch of two settings, of which the page chooses the second by the signal ``shown``.

    Args:
        settings: all settings.
        loss: name and unit of the loss.
        base: position of the setting that is always drawn.
        shown: position of the other setting that is drawn at first.
        least: the least value that the loss can have.
    """
    epochs = len(settings[0].curves.validation)
    # one row a curve: a row a point would repeat every name as often as there are epochs
    curves: list[Row] = [
        {"at": at, "name": setting.label, "part": part, "epoch": [*range(1, epochs + 1)], "loss": list(curve)}
        for at, setting in enumerate(settings)
        for part, curve in setting.curves.parts.items()
    ]
    best: list[Row] = [
        {
            "at": at,
            "epoch": setting.best_epoch,
            "label": f"{setting.label}: {setting.best_epoch:g}",
            "late": setting.best_epoch > epochs / 2,
        }
        for at, setting in enumerate(settings)
    ]
    # the vertical axis suits the two settings that are drawn: one that learns badly must not flatten the others
    limits = [_loss_limits((settings[base], setting), least) for setting in settings]
    visible, role = f"datum.at == {base} || datum.at == shown", f"datum.at == {base} ? 'none' : 'shown'"
    data = {name: named(name).transform_filter(visible) for name in ("curves", "best")}
    line, point = _curve_layers(data["curves"], role, loss, epochs)
    rule, *texts = _best_epoch_layers(data["best"], role, epochs)
    line = line.add_params(alt.param(name="shown", value=shown), alt.param(name="domains", value=limits))
    return layers(rule, line, point, *texts, height=320, curves=curves, best=best)


def _epoch_encodings(epochs: int) -> tuple[alt.X, alt.Color]:
    x = alt.X(
        "epoch:Q",
        title="Epoch",
        scale=alt.Scale(domain=[0, epochs], nice=False),
        axis=alt.Axis(tickMinStep=1, format="d", labelFlush=False),
    )
    return x, alt.Color("who:N", scale=scale(_CURVE_COLOURS, tuple(_CURVE_COLOURS.values())), legend=None)


def _curve_layers(data: alt.Chart, role: str, loss: str, epochs: int) -> tuple[alt.Chart, alt.Chart]:
    """Lines, and points that carry the tooltips; a single epoch is drawn as a point."""
    x, colour = _epoch_encodings(epochs)
    curves = data.transform_flatten(["epoch", "loss"]).transform_calculate(who=role).encode(x=x, color=colour)
    domain = [alt.ExprRef("domains[shown][0]"), alt.ExprRef("domains[shown][1]")]
    y = alt.Y("loss:Q", title=loss, scale=alt.Scale(domain=domain, zero=False, nice=False), axis=alt.Axis(tickCount=6))
    dash = alt.StrokeDash("part:N", scale=scale(_CURVE_DASHES, tuple(_CURVE_DASHES.values())), legend=None)
    line = curves.mark_line(clip=True, strokeWidth=2).encode(y=y, strokeDash=dash, detail="at:N")
    size, opacity = (60, 1.0) if epochs == 1 else (90, 0.0)
    point = curves.mark_point(clip=True, filled=True, size=size, opacity=opacity).encode(
        y=y,
        tooltip=[
            alt.Tooltip("name:N", title="Network"),
            alt.Tooltip("part:N", title="Loss on"),
            alt.Tooltip("epoch:Q", title="Epoch"),
            alt.Tooltip("loss:Q", title="Mean loss", format=".4g"),
        ],
    )
    return line, point


def _best_epoch_layers(data: alt.Chart, role: str, epochs: int) -> list[alt.Chart]:
    """A dashed line at the best epoch of each setting, and its label above the chart."""
    x, colour = _epoch_encodings(epochs)
    marks = data.transform_calculate(who=role).encode(x=x, color=colour)
    rule = marks.mark_rule(strokeDash=[4, 3], strokeWidth=1.5)
    texts = [
        marks.transform_filter(f"datum.who == '{name}'")
        .mark_text(align=alt.ExprRef("datum.late ? 'right' : 'left'"), dy=offset, fontWeight=600)
        .encode(y=alt.value(0), text="label:N")
        for name, offset in (("none", -22), ("shown", -8))
    ]
    return [rule, *texts]


def _loss_limits(settings: Sequence[SettingResult], least: float) -> list[float]:
    """Limits of the loss axis that contain all of the curves but the first, steep epochs."""
    curves = np.array([curve for setting in settings for curve in setting.curves.parts.values()])
    settled = curves[:, min(int(np.ceil(curves.shape[1] * _SETTLED)), curves.shape[1] - 1) :]
    low, high = float(curves.min()), float(settled.max())
    return list(axis_limits(low, high, least))


def axis_limits(low: float, high: float, least: float) -> tuple[float, float]:
    """Limits of an axis with a margin around the values, which begins at ``least`` or above."""
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    return max(least, low - margin), high + margin
