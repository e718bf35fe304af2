"""The report's charts of what everyone says of dropout, as Vega-Lite specifications."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from thinned.pages.charts import layers, named, scale
from thinned.studies.report.charts import (
    PARTS,
    ROW,
    improvements,
    interval_rows,
    interval_tips,
    name_rows,
    side,
    upright,
)

__all__ = ["claim_charts", "gain_styles", "removal_styles"]

Claim = Mapping[str, Any]
Style = tuple[str, tuple[int, int], str]
Row = dict[str, Any]

_STYLES = tuple(PARTS[part] for part in ("test", "validation", "train"))
_CLAIMED_SIZE = 1000
_RULE: dict[str, Any] = {"color": "var(--ink)", "strokeDash": [4, 3], "opacity": 0.7}


def claim_charts(claims: Mapping[str, Claim | None], loss: str, gain: str) -> dict[str, dict[str, Any]]:
    """The charts of every claim that was measured, by name.

    Args:
        claims: of ``results.json``.
        loss: title of an axis of losses.
        gain: title of an axis of improvements.
    """
    made: dict[str, dict[str, Any]] = {}
    if rate := claims.get("rate"):
        made |= {f"rates-{when}": _rate(rate, when, loss) for when in ("best", "end")}
    if price := claims.get("price"):
        made["price"] = _price(price)
    if sizes := claims.get("sizes"):
        made["sizes"] = _sizes(sizes, gain)
    if coadaptation := claims.get("coadaptation"):
        made["dependence"] = _dependence(coadaptation)
        made["removal"] = _removal(coadaptation["removal"], loss)
    if shift := claims.get("variance_shift"):
        made["shift"] = _shift(shift["arms"])
        made["repair"] = _repair(shift["arms"], gain)
    return made


def gain_styles(sizes: Claim) -> dict[str, Style]:
    """How the lines of the chart of sizes are drawn, by what they show."""
    return dict(zip((name.replace("_", " ") for name in sizes["gain"]), _STYLES, strict=False))


def removal_styles(removal: Claim) -> dict[str, Style]:
    """How the lines of the chart of removed units are drawn, by what they show."""
    names = ("no dropout" if float(p) == 0 else f"dropout {float(p):g}" for p in removal["loss"])
    return dict(zip(names, _STYLES[1::-1], strict=False))


def _rate(claim: Claim, when: str, loss: str) -> dict[str, Any]:
    """Train, validation and test loss against the dropout rate."""
    rates, seen = claim["rates"], claim[when]
    rows = [row for part in PARTS for row in _rows(rates, seen[part], part)]
    marks = [
        {"x": seen["best_rate"], "text": f"least validation loss: {seen['best_rate']:g}", "row": 0},
        {"x": seen["underfits_from"], "text": "underfitting from here on", "row": 1},
        {"x": claim["claimed"], "text": f"as is said: {claim['claimed']:g}", "row": 2},
    ]
    marks = [m | {"far": m["x"] > max(rates) / 2} for m in marks if m["x"] is not None and m["x"] <= max(rates)]
    marked = named("marks").encode(x="x:Q")
    texts = [
        marked.transform_filter(f"datum.row == {row}")
        .mark_text(dy=-8 - 14 * row, align=alt.ExprRef("datum.far ? 'right' : 'left'"), color="var(--ink)")
        .encode(y=alt.value(0), text="text:N")
        for row in range(3)
    ]
    band, *lines = _lines("losses", PARTS, _rates(rates), loss, "Rate")
    return layers(band, marked.mark_rule(**_RULE), *lines, *texts, height=300, losses=rows, marks=marks)


def _price(claim: Claim) -> dict[str, Any]:
    """Epochs to the same training loss, as a multiple of those without dropout, against the rate."""
    rows = [
        {"x": row["rate"], **row["ratio"], "top": row["ratio"]["high"] or row["ratio"]["mean"]}
        | {"known": "at least" if row["ratio"]["high"] is None else "interval"}
        for row in claim["rates"]
    ]
    # an interval of ratios may be as wide as one likes where splits are few: the claim must stay in sight
    least = max(0.8 * min([1.0, *(row["low"] for row in rows)]), 0.25)
    most = min(1.25 * max([claim["claimed"], *(row["top"] for row in rows)]), 32.0)
    times = "format(datum.value, '~g') + ' ×'"
    said = f"datum.value == {claim['claimed']:g} ? [{times}, 'as is said'] : {times}"
    label = f"datum.value == 1 ? [{times}, 'no dropout'] : {said}"
    y = alt.Y(
        "mean:Q",
        title="Epochs, as a multiple",
        scale=alt.Scale(type="log", base=2, domain=[least, most], nice=False),
        axis=alt.Axis(labelExpr=label, values=[0.25, 0.5, 1, 2, 4, 8, 16, 32]),
    )
    base = named("ratios").encode(x=_rates([row["x"] for row in rows]))
    reach = base.mark_rule(strokeWidth=2.5, color="var(--test)", clip=True).encode(y="low:Q", y2="top:Q")
    shapes = scale({"interval": 0, "at least": 0}, ["circle", "triangle-up"])
    point = base.mark_point(filled=True, size=90, opacity=1, color="var(--test)", clip=True).encode(
        y=y,
        shape=alt.Shape("known:N", scale=shapes, legend=None),
        tooltip=[alt.Tooltip("x:Q", title="Rate"), *interval_tips("Times the epochs", ".3g")],
    )
    rule = named("levels").mark_rule(**_RULE).encode(y="at:Q")
    levels = [{"at": 1.0}, {"at": claim["claimed"]}]
    return layers(rule, reach, point, height=260, ratios=rows, levels=levels)


def _sizes(claim: Claim, gain: str) -> dict[str, Any]:
    """Improvement by each of three ways against the number of training rows."""
    sizes, styles = claim["sizes"], gain_styles(claim)
    rows = [row for name, of in zip(styles, claim["gain"].values(), strict=True) for row in _rows(sizes, of, name)]
    x = alt.X(
        "x:Q",
        title="Training rows",
        scale=alt.Scale(type="log", nice=False, padding=14),
        axis=alt.Axis(values=sizes, format=",", labelOverlap="greedy"),
    )
    zero = named("levels").mark_rule(color="var(--ink)").encode(y="at:Q")
    parts, data = [zero, *_lines("gains", styles, x, gain, "Training rows")], {"gains": rows, "levels": [{"at": 0}]}
    if min(sizes) < _CLAIMED_SIZE < max(sizes):  # Vega warns of a layer without data
        said = named("said").encode(x="x:Q")
        text = said.mark_text(text=f"as is said: {_CLAIMED_SIZE:,}", dy=-8, color="var(--ink)").encode(y=alt.value(0))
        parts, data = [said.mark_rule(**_RULE), *parts, text], data | {"said": [{"x": _CLAIMED_SIZE}]}
    return layers(*parts, height=280, **data)


def _dependence(claim: Claim) -> dict[str, Any]:
    """How strongly hidden units depend on each other, against the rate."""
    name = "dependence"
    parts = _lines("units", {name: _STYLES[0]}, _rates(claim["rates"]), "Dependence of hidden units", "Rate")
    return layers(*parts, height=260, units=_rows(claim["rates"], claim["dependence"], name))


def _removal(claim: Claim, loss: str) -> dict[str, Any]:
    """Test loss against the share of hidden units that is taken out of a trained network."""
    fractions, styles = claim["fractions"], removal_styles(claim)
    rows = [row for name, of in zip(styles, claim["loss"].values(), strict=True) for row in _rows(fractions, of, name)]
    x = alt.X(
        "x:Q",
        title="Share of hidden units taken out",
        scale=alt.Scale(nice=False, padding=14),
        axis=alt.Axis(values=fractions, format="~%", labelOverlap="greedy"),
    )
    return layers(*_lines("losses", styles, x, loss, "Share taken out"), height=260, losses=rows)


def _shift(arms: Sequence[Claim]) -> dict[str, Any]:
    """Variance in training over that in evaluation, for every arm with batch norm."""
    axis = alt.Axis(tickCount=alt.ExprRef("max(2, floor(width / 110))"), labelOverlap="greedy")
    title = ["Variance in training,", "as a multiple of that in use"]
    x = alt.X("low:Q", title=title, scale=alt.Scale(zero=False, padding=14), axis=axis)
    return _pictured(arms, "ratio", ["across"] * len(arms), 1, x, "Ratio")


def _repair(arms: Sequence[Claim], gain: str) -> dict[str, Any]:
    """What estimating the statistics anew takes off the test loss of every arm with batch norm."""
    return _pictured(arms, "repaired", [side(arm["repaired"]) for arm in arms], 0, improvements(gain), "Improvement")


def _pictured(
    arms: Sequence[Claim], of: str, sides: Sequence[str], level: float, x: alt.X, what: str
) -> dict[str, Any]:
    labels = [arm["label"] for arm in arms]
    rows = [{"row": row, "arm": arm["label"], "side": sides[row], **arm[of]} for row, arm in enumerate(arms)]
    names, reach, point = interval_rows("arms", labels, x, what)
    parts = upright(strokeDash=[4, 3]), names, reach, point
    return layers(*parts, height=ROW * len(arms), arms=rows, names=name_rows(labels), level=[{"at": level}])


def _rows(at: Sequence[float], intervals: Sequence[Claim], name: str) -> list[Row]:
    """Rows of a line; where a value is not known there is none."""
    pairs = zip(at, intervals, strict=True)
    return [{"x": x, "of": name, **interval} for x, interval in pairs if interval["mean"] is not None]


def _lines(data: str, styles: Mapping[str, Style], x: alt.X, title: str, at: str) -> list[alt.Chart]:
    """Layers of lines with their intervals as bands: bands, lines and points.

    Args:
        data: name of the data set, which has rows of :func:`_rows`.
        styles: colour, dashes and symbol of each line, by its name.
        x: horizontal encoding.
        title: of the vertical axis.
        at: the horizontal value is called where a point is pointed at.
    """
    colours, dashes, shapes = zip(*styles.values(), strict=True)
    base = named(data).encode(x=x, color=alt.Color("of:N", scale=scale(styles, colours), legend=None))
    free = alt.Scale(zero=False, padding=8)
    level = alt.Y("mean:Q", title=title, scale=free, axis=alt.Axis(tickCount=6))
    band = base.mark_area(opacity=0.13).encode(y=alt.Y("low:Q", title=title, scale=free), y2="high:Q")
    dash = alt.StrokeDash("of:N", scale=scale(styles, dashes), legend=None)
    point = base.mark_point(filled=True, size=50, opacity=1).encode(
        y=level,
        shape=alt.Shape("of:N", scale=scale(styles, shapes), legend=None),
        tooltip=[alt.Tooltip("x:Q", title=at), alt.Tooltip("of:N", title="Of"), *interval_tips("Mean")],
    )
    return [band, base.mark_line(strokeWidth=2).encode(y=level, strokeDash=dash), point]


def _rates(rates: Sequence[float]) -> alt.X:
    return alt.X(
        "x:Q",
        title=["Dropout rate p", "(share of hidden units dropped)"],
        scale=alt.Scale(domain=[0, max(rates)], nice=False, padding=14),
        axis=alt.Axis(
            values=list(rates),
            format="~g",
            labelOverlap="greedy",
            labelExpr="datum.value == 0 ? ['0', 'no dropout'] : datum.label",
        ),
    )
