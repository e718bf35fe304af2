"""Charts of the page as Vega-Lite specifications without data, which the page computes.

Colour alone distinguishes nothing: lines have dashes, points have shapes, and marks have labels.
"""

import altair as alt

from thinned.pages.charts import Specification, layers, named, scale

__all__ = ["DASHES", "SPREADS", "UNITS", "WAYS", "specifications"]

#: colour and dashes of each hidden unit
UNITS = {
    "unit 1": ("var(--test)", (1, 0)),
    "unit 2": ("var(--validation)", (7, 3)),
    "unit 3": ("var(--helps)", (2, 3)),
    "unit 4": ("var(--train)", (9, 3, 2, 3)),
}
#: three summaries of the sub-networks, with the row of their labels above the chart
WAYS = {"mean": -36, "geometric mean": -22, "weight-scaled": -8}
DASHES = {"mean": (1, 0), "geometric mean": (7, 3), "weight-scaled": (2, 3)}
#: colour and shape of each standard deviation of a batch norm's output
SPREADS = {
    "training": ("var(--train)", "square"),
    "evaluation": ("var(--hurts)", "triangle-up"),
    "evaluation, recalibrated": ("var(--helps)", "circle"),
}
_KINDS = {"without dropout": ("var(--train)", "square"), "after dropout": ("var(--test)", "circle")}


def specifications() -> dict[str, Specification]:
    """Specification of each chart by its name."""
    return {
        "subnetworks": _subnetworks(),
        "convergence": _convergence(),
        "output": _output(),
        "norm": _norm(),
    }


def _limits(low: float, high: float) -> tuple[alt.Parameter, alt.Parameter]:
    """Limits of an axis, which the page sets."""
    return alt.param(name="low", value=low), alt.param(name="high", value=high)


def _domain() -> alt.Scale:
    return alt.Scale(domain=[alt.ExprRef("low"), alt.ExprRef("high")], nice=False, zero=False)


def _subnetworks() -> Specification:
    x = alt.X("output:Q", scale=_domain(), title="Output", axis=alt.Axis(tickCount=6))
    y = alt.Y(
        "probability:Q", title="Chance of the sub-network", scale=alt.Scale(zero=True), axis=alt.Axis(tickCount=4)
    )
    base = named("members").encode(x=x)
    stem = base.mark_rule(color="var(--test)", strokeWidth=1.5).encode(y=y, y2=alt.datum(0))
    point = base.mark_point(filled=True, opacity=1).encode(
        y=y,
        shape=alt.condition("datum.now", alt.value("diamond"), alt.value("circle")),
        size=alt.condition("datum.now", alt.value(220), alt.value(60)),
        color=alt.condition("datum.now", alt.value("var(--validation)"), alt.value("var(--test)")),
        tooltip=[
            alt.Tooltip("mask:N", title="Mask"),
            alt.Tooltip("probability:Q", title="Chance", format=".4f"),
            alt.Tooltip("output:Q", title="Output", format=".4f"),
        ],
    )
    marks = named("ways")
    dashes = scale(DASHES, tuple(DASHES.values()))
    rule = marks.mark_rule(color="var(--ink)", strokeWidth=2).encode(
        x="value:Q", strokeDash=alt.StrokeDash("way:N", scale=dashes, legend=None)
    )
    texts = [
        marks.transform_filter(f"datum.way == '{way}'")
        .mark_text(align=alt.ExprRef("datum.right ? 'right' : 'left'"), dy=row, color="var(--ink)")
        .encode(x="value:Q", y=alt.value(0), text="label:N")
        for way, row in WAYS.items()
    ]
    low, high = _limits(0, 1)
    return layers(stem.add_params(low, high), rule, point, *texts, height=240, members=[], ways=[])


def _convergence() -> Specification:
    x = alt.X(
        "count:Q",
        title="Number of masks",
        scale=alt.Scale(type="log", domain=[1, 1000], nice=False),
        axis=alt.Axis(values=[1, 10, 100, 1000], format=",d"),
    )
    title = "Mean after dropout / activation"
    y_scale = _domain()
    axis = alt.Axis(tickCount=5)
    band = named("band").mark_area(color="var(--muted)", opacity=0.18, clip=True)
    band = band.encode(x=x, y=alt.Y("low:Q", title=title, scale=y_scale, axis=axis), y2="high:Q")
    one = named("one").mark_rule(color="var(--ink)", strokeDash=[4, 3]).encode(y="ratio:Q")
    colour, dash = zip(*UNITS.values(), strict=True)
    line = (
        named("means")
        .mark_line(strokeWidth=2, clip=True)
        .encode(
            x=x,
            y=alt.Y("ratio:Q", title=title, scale=y_scale, axis=axis),
            color=alt.Color("unit:N", scale=scale(UNITS, colour), legend=None),
            strokeDash=alt.StrokeDash("unit:N", scale=scale(UNITS, dash), legend=None),
        )
    )
    low, high = _limits(0, 2)
    return layers(band.add_params(low, high), one, line, height=260, band=[], one=[{"ratio": 1}], means=[])


def _output() -> Specification:
    x_scale = _domain()
    outside = named("outside").mark_rect(color="var(--hurts)", opacity=0.12)
    outside = outside.encode(x=alt.X("low:Q", scale=x_scale, title="Output", axis=alt.Axis(tickCount=6)), x2="high:Q")
    label = named("outside").mark_text(align="left", dx=4, dy=-9, color="var(--hurts)")
    label = label.encode(x="low:Q", y=alt.value(0), text="label:N")
    colour, shape = zip(*_KINDS.values(), strict=True)
    names = alt.Axis(domain=False, ticks=False, labelLimit=140, grid=True)
    point = (
        named("rows")
        .mark_point(size=90, strokeWidth=2)
        .encode(
            x=alt.X("value:Q", scale=x_scale),
            y=alt.Y("customer:N", title=None, axis=names),
            color=alt.Color("kind:N", scale=scale(_KINDS, colour), legend=None),
            shape=alt.Shape("kind:N", scale=scale(_KINDS, shape), legend=None),
        )
    )
    low, high = _limits(0, 2)
    return layers(outside.add_params(low, high), label, point, height=200, outside=[], rows=[])


def _norm() -> Specification:
    colour, shape = zip(*SPREADS.values(), strict=True)
    base = named("spread").encode(
        y=alt.Y("unit:N", title=None, axis=alt.Axis(domain=False, ticks=False)),
        yOffset=alt.YOffset("when:N", sort=list(SPREADS)),
        color=alt.Color("when:N", scale=scale(SPREADS, colour), legend=None),
    )
    x = alt.X(
        "value:Q",
        title="Standard deviation of the output of batch norm",
        scale=alt.Scale(domain=[0, 1.1], nice=False),
        axis=alt.Axis(tickCount=5),
    )
    stem = base.mark_rule(strokeWidth=2).encode(x=x, x2=alt.datum(0))
    point = base.mark_point(filled=True, size=80, opacity=1).encode(
        x=x, shape=alt.Shape("when:N", scale=scale(SPREADS, shape), legend=None)
    )
    return layers(stem, point, height=260, spread=[])
