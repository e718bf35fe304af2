"""The report's charts of the claims about dropout, as Vega-Lite specifications."""

import math
from collections.abc import Callable, Mapping, Sequence

import altair as alt

from thinned.pages.charts import layers, named, scale
from thinned.studies.report.charts import (
    PARTS,
    ROW_HEIGHT,
    Row,
    Spec,
    Style,
    axis_limits,
    improvement_axis,
    interval_fields,
    interval_layers,
    interval_tooltips,
    label_rows,
    side_name,
    vertical_line,
)
from thinned.studies.results import (
    Claims,
    CoadaptationClaim,
    EpochCostClaim,
    Interval,
    OptionalInterval,
    Reading,
    SampleSizeClaim,
    UnderfittingClaim,
    UnitRemoval,
    VarianceShift,
)

__all__ = ["claim_charts", "gain_styles", "rate_limits", "removal_styles"]

_STYLES = tuple(PARTS[part] for part in ("test", "validation", "train"))
_CLAIMED_SIZE = 1000
_COLOUR, _DASHES, _OPACITY = "var(--ink)", [4, 3], 0.7  # of a line that marks a claim
_READINGS: tuple[Reading, ...] = ("best", "end")
_SAME_SCALE = 0.5  # of a shared axis that each of two charts must fill


def claim_charts(claims: Claims, loss: str, gain: str, least: float) -> dict[str, Spec]:
    """The charts of every claim that was measured, by name.

    Args:
        claims: the claims of the results.
        loss: title of an axis of losses.
        gain: title of an axis of improvements.
        least: the least value that a loss can have.
    """
    specs: dict[str, Spec] = {}
    if claims.rate:
        specs |= {f"rates-{reading}": _loss_by_rate(claims.rate, reading, loss, least) for reading in _READINGS}
    if claims.price:
        specs["price"] = _epochs_by_rate(claims.price)
    if claims.sizes:
        specs["sizes"] = _gain_by_size(claims.sizes, gain)
    if claims.coadaptation:
        specs["dependence"] = _dependence_by_rate(claims.coadaptation)
        specs["removal"] = _loss_by_removal(claims.coadaptation.removal, loss, least)
    if claims.variance_shift:
        arms = claims.variance_shift.arms
        specs["shift"] = _variance_ratios(arms)
        specs["repair"] = _repaired_losses(arms, gain)
    return specs


def gain_styles(claim: SampleSizeClaim) -> dict[str, Style]:
    """Styles of the lines in the chart of sizes, by the regulariser that they show."""
    return dict(zip((name.replace("_", " ") for name in claim.gain), _STYLES, strict=False))


def removal_styles(removal: UnitRemoval) -> dict[str, Style]:
    """Styles of the lines in the chart of removed units, by the network that they show."""
    names = ("no dropout" if float(rate) == 0 else f"dropout {float(rate):g}" for rate in removal.loss)
    return dict(zip(names, _STYLES[1::-1], strict=False))


def rate_limits(claim: UnderfittingClaim, least: float) -> dict[Reading, tuple[float, float]]:
    """Limits of the loss axis at each reading: one axis for both where neither flattens the other much."""
    limits: dict[Reading, tuple[float, float]] = {}
    for reading in _READINGS:
        losses = claim.read(reading).losses.values()
        known = [interval.known for intervals in losses for interval in intervals if interval.known is not None]
        low = max(least, min((interval.low for interval in known), default=0.0))
        limits[reading] = axis_limits(low, max((interval.high for interval in known), default=1.0), least)
    both = min(low for low, _ in limits.values()), max(high for _, high in limits.values())
    if all(high - low > _SAME_SCALE * (both[1] - both[0]) for low, high in limits.values()):
        return dict.fromkeys(limits, both)
    return limits


def _loss_by_rate(claim: UnderfittingClaim, reading: Reading, loss: str, least: float) -> Spec:
    """Train, validation and test loss against the dropout rate."""
    rates, curves = claim.rates, claim.read(reading)
    rows = [row for part, losses in curves.losses.items() for row in _line_rows(rates, losses, part, least)]
    labels = [
        (curves.best_rate, f"least validation loss: {curves.best_rate:g}"),
        (curves.underfits_from, "underfitting from here on"),
        (claim.claimed, f"claimed: {claim.claimed:g}"),
    ]
    marks: list[Row] = [
        {"x": x, "text": text, "row": row, "far": x > max(rates) / 2}
        for row, (x, text) in enumerate(labels)
        if x is not None and x <= max(rates)
    ]
    marked = named("marks").encode(x="x:Q")
    texts = [
        marked.transform_filter(f"datum.row == {row}")
        .mark_text(dy=-8 - 14 * row, align=alt.ExprRef("datum.far ? 'right' : 'left'"), color="var(--ink)")
        .encode(y=alt.value(0), text="text:N")
        for row in range(len(labels))
    ]
    rules = marked.mark_rule(color=_COLOUR, strokeDash=_DASHES, opacity=_OPACITY)
    band, *lines = _line_layers("losses", PARTS, _rate_axis(rates), loss, "Rate", rate_limits(claim, least)[reading])
    return layers(band, rules, *lines, *texts, height=300, losses=rows, marks=marks)


def _epochs_by_rate(claim: EpochCostClaim) -> Spec:
    """Epochs to the same training loss, as a multiple of those without dropout, against the rate."""
    rows: list[Row] = [
        {
            "x": cost.rate,
            "mean": cost.ratio.mean,
            "low": cost.ratio.low,
            "high": cost.ratio.high,
            "top": cost.ratio.high or cost.ratio.mean,
            "known": "at least" if cost.ratio.high is None else "interval",
        }
        for cost in claim.rates
    ]
    # with few splits an interval of ratios may be arbitrarily wide: the claim must stay in sight
    lowest = min(1.0, *(cost.ratio.low for cost in claim.rates))
    highest = max(claim.claimed, *(cost.ratio.high or cost.ratio.mean for cost in claim.rates))
    domain = [max(0.8 * lowest, 0.25), min(1.25 * highest, 32.0)]
    times = "format(datum.value, '~g') + ' ×'"
    label = f"datum.value == {claim.claimed:g} ? [{times}, 'claimed'] : {times}"
    y = alt.Y(
        "mean:Q",
        title="Epochs, as a multiple",
        scale=alt.Scale(type="log", base=2, domain=domain, nice=False),
        axis=alt.Axis(
            labelExpr=f"datum.value == 1 ? [{times}, 'no dropout'] : {label}",
            values=[0.25, 0.5, 1, 2, 4, 8, 16, 32],
        ),
    )
    base = named("ratios").encode(x=_rate_axis([cost.rate for cost in claim.rates]))
    reach = base.mark_rule(strokeWidth=2.5, color="var(--test)", clip=True).encode(y="low:Q", y2="top:Q")
    shapes = scale({"interval": 0, "at least": 0}, ["circle", "triangle-up"])
    point = base.mark_point(filled=True, size=90, opacity=1, color="var(--test)", clip=True).encode(
        y=y,
        shape=alt.Shape("known:N", scale=shapes, legend=None),
        tooltip=[alt.Tooltip("x:Q", title="Rate"), *interval_tooltips("Times the epochs", ".3g")],
    )
    rule = named("levels").mark_rule(color=_COLOUR, strokeDash=_DASHES, opacity=_OPACITY).encode(y="at:Q")
    levels = [{"at": 1.0}, {"at": claim.claimed}]
    return layers(rule, reach, point, height=260, ratios=rows, levels=levels)


def _gain_by_size(claim: SampleSizeClaim, gain: str) -> Spec:
    """Improvement by each regulariser against the number of training rows."""
    sizes, styles = claim.sizes, gain_styles(claim)
    pairs = zip(styles, claim.gain.values(), strict=True)
    rows = [row for name, gains in pairs for row in _line_rows(sizes, gains, name)]
    x = alt.X(
        "x:Q",
        title="Training rows",
        scale=alt.Scale(type="log", nice=False, padding=14),
        axis=alt.Axis(values=list(sizes), format=",", labelOverlap="greedy"),
    )
    zero = named("levels").mark_rule(color="var(--ink)").encode(y="at:Q")
    parts = [zero, *_line_layers("gains", styles, x, gain, "Training rows")]
    data: dict[str, list[Row]] = {"gains": rows, "levels": [{"at": 0}]}
    if min(sizes) < _CLAIMED_SIZE < max(sizes):  # Vega warns of a layer without data
        claimed = named("claimed").encode(x="x:Q")
        rule = claimed.mark_rule(color=_COLOUR, strokeDash=_DASHES, opacity=_OPACITY)
        text = claimed.mark_text(text=f"claimed: {_CLAIMED_SIZE:,}", dy=-8, color="var(--ink)").encode(y=alt.value(0))
        parts, data = [rule, *parts, text], data | {"claimed": [{"x": _CLAIMED_SIZE}]}
    return layers(*parts, height=280, **data)


def _dependence_by_rate(claim: CoadaptationClaim) -> Spec:
    """Dependence between hidden units against the rate."""
    name = "dependence"
    axis = _rate_axis(claim.rates)
    parts = _line_layers("units", {name: _STYLES[0]}, axis, "Dependence of hidden units", "Rate")
    return layers(*parts, height=260, units=_line_rows(claim.rates, claim.dependence, name))


def _loss_by_removal(removal: UnitRemoval, loss: str, least: float) -> Spec:
    """Test loss against the share of hidden units that is removed from a trained network."""
    fractions, styles = removal.fractions, removal_styles(removal)
    pairs = zip(styles, removal.loss.values(), strict=True)
    rows = [row for name, losses in pairs for row in _line_rows(fractions, losses, name, least)]
    known = [interval.known for losses in removal.loss.values() for interval in losses if interval.known is not None]
    limits = axis_limits(max(least, min(i.low for i in known)), max(i.high for i in known), least) if known else None
    x = alt.X(
        "x:Q",
        title="Share of hidden units removed",
        scale=alt.Scale(nice=False, padding=14),
        axis=alt.Axis(values=list(fractions), format="~%", labelOverlap="greedy"),
    )
    parts = _line_layers("losses", styles, x, loss, "Share removed", limits)
    return layers(*parts, height=260, losses=rows)


def _variance_ratios(arms: Sequence[VarianceShift]) -> Spec:
    """Variance in training over that in evaluation, for every arm with batch norm."""
    axis = alt.Axis(tickCount=alt.ExprRef("max(2, floor(width / 110))"), labelOverlap="greedy")
    title = ["Variance in training,", "as a multiple of that in use"]
    x = alt.X("low:Q", title=title, scale=alt.Scale(zero=False, padding=14), axis=axis)
    return _interval_chart(arms, [arm.ratio for arm in arms], lambda _: "across", 1, x, "Ratio")


def _repaired_losses(arms: Sequence[VarianceShift], gain: str) -> Spec:
    """Improvement of the test loss by new statistics, for every arm with batch norm."""
    repaired = [arm.repaired for arm in arms]
    return _interval_chart(arms, repaired, side_name, 0, improvement_axis(gain), "Improvement")


def _interval_chart(
    arms: Sequence[VarianceShift],
    intervals: Sequence[Interval],
    side: Callable[[Interval], str],
    level: float,
    x: alt.X,
    mean_title: str,
) -> Spec:
    labels = [arm.label for arm in arms]
    rows: list[Row] = [
        {"row": row, "arm": label, "side": side(interval), **interval_fields(interval)}
        for row, (label, interval) in enumerate(zip(labels, intervals, strict=True))
    ]
    parts = vertical_line(_DASHES), *interval_layers("arms", labels, x, mean_title)
    height = ROW_HEIGHT * len(arms)
    return layers(*parts, height=height, arms=rows, names=label_rows(labels), level=[{"at": level}])


def _line_rows(
    xs: Sequence[float], intervals: Sequence[OptionalInterval], name: str, least: float = -math.inf
) -> list[Row]:
    """Rows of a line, with limits of at least ``least``; an unknown value has no row."""
    return [
        {"x": x, "of": name, **interval_fields(interval.known), "low": max(least, interval.known.low)}
        for x, interval in zip(xs, intervals, strict=True)
        if interval.known is not None
    ]


def _line_layers(
    data: str,
    styles: Mapping[str, Style],
    x: alt.X,
    title: str,
    x_title: str,
    limits: tuple[float, float] | None = None,
) -> list[alt.Chart]:
    """Layers of lines with their intervals as bands: bands, lines and points.

    Args:
        data: name of the data set, whose rows come from :func:`_line_rows`.
        styles: style of each line by its name.
        x: horizontal encoding.
        title: title of the vertical axis.
        x_title: name of the horizontal value in the tooltip.
        limits: of the vertical axis; None where they suit the data.
    """
    colours, dashes, shapes = zip(*styles.values(), strict=True)
    base = named(data).encode(x=x, color=alt.Color("of:N", scale=scale(styles, colours), legend=None))
    free = alt.Scale(zero=False, padding=8) if limits is None else alt.Scale(domain=list(limits), nice=False)
    mean = alt.Y("mean:Q", title=title, scale=free, axis=alt.Axis(tickCount=6))
    band = base.mark_area(opacity=0.13).encode(y=alt.Y("low:Q", title=title, scale=free), y2="high:Q")
    dash = alt.StrokeDash("of:N", scale=scale(styles, dashes), legend=None)
    point = base.mark_point(filled=True, size=50, opacity=1).encode(
        y=mean,
        shape=alt.Shape("of:N", scale=scale(styles, shapes), legend=None),
        tooltip=[alt.Tooltip("x:Q", title=x_title), alt.Tooltip("of:N", title="Of"), *interval_tooltips("Mean")],
    )
    return [band, base.mark_line(strokeWidth=2).encode(y=mean, strokeDash=dash), point]


def _rate_axis(rates: Sequence[float]) -> alt.X:
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
