"""The report's charts as Vega-Lite specifications.

Text from data never gets here: titles are the project's own words, and field names are fixed.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np

from thinned.pages.charts import layers, named, scale

__all__ = ["PARTS", "differences", "learning_curves", "rate_curve"]

Arm = Mapping[str, Any]

#: what a loss is measured on, with its colour, dashes and symbol: never told apart by colour alone
PARTS = {
    "train": ("var(--train)", (2, 3), "square"),
    "validation": ("var(--validation)", (7, 3), "triangle-up"),
    "test": ("var(--test)", (1, 0), "circle"),
}
_CURVE_DASHES = {"train": (2, 3), "validation": (1, 0)}
_WHO = {"none": "var(--none)", "shown": "var(--test)"}
_SETTLED = 0.05  # of the budget: how long the first, steep epochs may leave the top of the chart


def rate_curve(arms: Sequence[Arm], when: str, loss: str, recommended: float) -> dict[str, Any]:
    """Train, validation and test loss against the dropout rate, each with its interval as a band.

    Args:
        arms: of ``results.json``.
        when: "best" or "end".
        loss: name and unit of the loss.
        recommended: the recommended rate, 0 for none.
    """
    rows = [
        {"rate": arm["rate"], "arm": arm["name"], "part": part, **arm[when][part]} for arm in arms for part in PARTS
    ]
    rates = [arm["rate"] for arm in arms]
    colour, dash, shape = zip(*PARTS.values(), strict=True)
    of_part = alt.Color("part:N", scale=scale(PARTS, colour), legend=None)
    base = named("losses").encode(
        x=alt.X(
            "rate:Q",
            title=["Dropout rate p", "(share of hidden units dropped)"],
            scale=alt.Scale(domain=[0, max(rates)], nice=False, padding=14),
            axis=alt.Axis(
                values=rates,
                format="~g",
                labelOverlap="greedy",
                labelExpr="datum.value == 0 ? ['0', 'no dropout'] : datum.label",
            ),
        ),
        color=of_part,
    )
    loss_axis = alt.Y("mean:Q", title=loss, scale=alt.Scale(zero=False, padding=8), axis=alt.Axis(tickCount=6))
    band = base.mark_area(opacity=0.13).encode(
        y=alt.Y("low:Q", title=loss, scale=alt.Scale(zero=False, padding=8)), y2="high:Q"
    )
    line = base.mark_line(strokeWidth=2).encode(
        y=loss_axis, strokeDash=alt.StrokeDash("part:N", scale=scale(PARTS, dash), legend=None)
    )
    point = base.mark_point(filled=True, size=50, opacity=1).encode(
        y=loss_axis,
        shape=alt.Shape("part:N", scale=scale(PARTS, shape), legend=None),
        tooltip=[
            alt.Tooltip("arm:N", title="Network"),
            alt.Tooltip("part:N", title="Loss on"),
            *(alt.Tooltip(f"{name}:Q", title=title, format=".4g") for name, title in _INTERVAL.items()),
        ],
    )
    marked = named("recommended").encode(x="rate:Q")
    label = f"recommended: {recommended:g}" if recommended else "recommended: no dropout"
    rule = marked.mark_rule(color="var(--ink)", strokeDash=[4, 3])
    text = marked.mark_text(
        text=label, dy=-8, align="right" if recommended > max(rates) / 2 else "left", color="var(--ink)", fontWeight=600
    ).encode(y=alt.value(0))
    return layers(band, rule, line, point, text, height=300, losses=rows, recommended=[{"rate": recommended}])


def learning_curves(arms: Sequence[Arm], loss: str, shown: int) -> dict[str, Any]:
    """Loss per epoch without dropout and with one rate, which the page chooses by the signal ``shown``.

    Args:
        arms: of ``results.json``.
        loss: name and unit of the loss.
        shown: number of the arm that is seen at first.
    """
    rows = list(_curve_rows(arms))
    epochs = len(arms[0]["curves"]["train"])
    best = [
        {
            "arm": number,
            "who": _who(number),
            "epoch": arm["best_epoch"],
            "label": f"{arm['name']}: {arm['best_epoch']:g}",
            "late": arm["best_epoch"] > epochs / 2,
        }
        for number, arm in enumerate(arms)
    ]
    # the vertical axis suits the two arms that are seen: one rate that learns badly must not flatten the others
    domains = [_domain(arms[0], arm) for arm in arms]
    chosen = alt.param(name="shown", value=shown)
    limits = alt.param(name="domains", value=domains)
    visible = "datum.arm == 0 || datum.arm == shown"
    who = alt.Color("who:N", scale=scale(_WHO, tuple(_WHO.values())), legend=None)
    x = alt.X(
        "epoch:Q",
        title="Epoch",
        scale=alt.Scale(domain=[0, epochs], nice=False),
        axis=alt.Axis(tickMinStep=1, format="d", labelFlush=False),
    )
    curves = named("curves").transform_filter(visible).encode(x=x, color=who)
    y = alt.Y(
        "loss:Q",
        title=loss,
        scale=alt.Scale(
            domain=[alt.ExprRef("domains[shown][0]"), alt.ExprRef("domains[shown][1]")], zero=False, nice=False
        ),
        axis=alt.Axis(tickCount=6),
    )
    dash = alt.StrokeDash("part:N", scale=scale(_CURVE_DASHES, tuple(_CURVE_DASHES.values())), legend=None)
    line = curves.mark_line(clip=True, strokeWidth=2).encode(y=y, strokeDash=dash)
    point = curves.mark_point(clip=True, filled=True, size=90 if epochs > 1 else 60, opacity=float(epochs == 1)).encode(
        y=y,
        tooltip=[
            alt.Tooltip("name:N", title="Network"),
            alt.Tooltip("part:N", title="Loss on"),
            alt.Tooltip("epoch:Q", title="Epoch"),
            alt.Tooltip("loss:Q", title="Mean loss", format=".4g"),
        ],
    )
    marks = named("best").transform_filter(visible).encode(x=x, color=who)
    rule = marks.mark_rule(strokeDash=[4, 3], strokeWidth=1.5)
    text = [
        marks.transform_filter(f"datum.who == '{name}'")
        .mark_text(align=alt.ExprRef("datum.late ? 'right' : 'left'"), dy=row, fontWeight=600)
        .encode(y=alt.value(0), text="label:N")
        for name, row in (("none", -22), ("shown", -8))
    ]
    return layers(rule, line.add_params(chosen, limits), point, *text, height=320, curves=rows, best=best)


def differences(comparison: Mapping[str, Any], names: Mapping[str, str], title: str) -> dict[str, Any]:
    """What dropout takes off the loss that networks are compared by, with its interval, against no difference.

    Args:
        comparison: of ``results.json``.
        names: of its members, as the reader is to see them.
        title: of the axis.
    """
    rows = [{"when": names[when], **{k: c[k] for k in ("difference", "low", "high")}} for when, c in comparison.items()]
    label = alt.Axis(domain=False, ticks=False, labelLimit=220)
    base = named("compared").encode(y=alt.Y("when:N", title=None, sort=list(names.values()), axis=label))
    axis = alt.X(
        "low:Q",
        title=title,
        scale=alt.Scale(zero=True, padding=12),
        axis=alt.Axis(
            tickCount=alt.ExprRef("max(2, floor(width / 110))"),
            format="+~g",
            labelExpr="datum.value == 0 ? '0' : datum.label",
            labelOverlap="greedy",
        ),
    )
    zero = named("none").mark_rule(color="var(--ink)").encode(x="zero:Q")
    reach = base.mark_rule(strokeWidth=3, color="var(--test)").encode(x=axis, x2="high:Q")
    point = base.mark_point(filled=True, size=110, opacity=1, color="var(--test)").encode(
        x="difference:Q",
        tooltip=[
            alt.Tooltip("when:N", title="Compared"),
            alt.Tooltip("difference:Q", title="Improvement", format="+.4g"),
            alt.Tooltip("low:Q", title="Interval from", format="+.4g"),
            alt.Tooltip("high:Q", title="to", format="+.4g"),
        ],
    )
    return layers(zero, reach, point, height=90, compared=rows, none=[{"zero": 0}])


_INTERVAL = {"mean": "Mean", "low": "Interval from", "high": "to"}


def _who(number: int) -> str:
    return "shown" if number else "none"


def _curve_rows(arms: Sequence[Arm]) -> Iterator[dict[str, Any]]:
    for number, arm in enumerate(arms):
        for part, losses in arm["curves"].items():
            for epoch, loss in enumerate(losses, 1):
                yield {
                    "arm": number,
                    "who": _who(number),
                    "name": arm["name"],
                    "part": part,
                    "epoch": epoch,
                    "loss": loss,
                }


def _domain(*arms: Arm) -> list[float]:
    """Limits of the loss axis that hold all of the curves but the first, steep epochs."""
    curves = np.array([curve for arm in arms for curve in arm["curves"].values()])
    settled = curves[:, min(int(np.ceil(curves.shape[1] * _SETTLED)), curves.shape[1] - 1) :]
    low, high = float(curves.min()), float(settled.max())
    room = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    return [low - room, high + room]
