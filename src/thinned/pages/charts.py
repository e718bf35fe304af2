"""What all charts of ours share, as Vega-Lite specifications.

Colours are CSS variables, so that a chart follows the page from light to dark and onto paper without being drawn anew.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

__all__ = ["layers", "named", "scale"]


def named(data: str) -> alt.Chart:
    """A chart of one of the data sets that :func:`layers` puts beside the specification, once for all layers."""
    return alt.Chart(alt.NamedData(name=data))


def scale(names: Mapping[str, Any], values: Sequence[Any]) -> alt.Scale:
    """A scale that gives each name its own value, whichever of them the data hold."""
    return alt.Scale(domain=list(names), range=[list(v) if isinstance(v, tuple) else v for v in values])


def layers(*parts: alt.Chart, height: int, **data: list[dict[str, Any]]) -> dict[str, Any]:
    """The specification, as wide as its place on the page and in the page's colours."""
    quiet = {"labelColor": "var(--muted)", "titleColor": "var(--ink)", "domainColor": "var(--line)"}
    sizes = {"labelFontSize": 12, "titleFontSize": 12.5, "titleFontWeight": 500, "titlePadding": 10}
    chart = alt.layer(*parts).properties(
        width="container",
        height=height,
        background="transparent",
        autosize=alt.AutoSizeParams(type="fit-x", contains="padding"),
    )
    config = {
        "aria": False,  # the page describes each chart as a whole; a reader need not walk through every mark
        "font": "system-ui, sans-serif",
        "view": {"stroke": None},
        "axis": {**quiet, **sizes, "gridColor": "var(--grid)", "tickColor": "var(--line)"},
        "axisX": {"grid": False},
        "text": {"fontSize": 12},
    }
    return {**chart.to_dict(), "config": config, "datasets": data}
