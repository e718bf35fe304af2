"""Common parts of all charts, as Vega-Lite specifications.

Colours are CSS variables: a chart follows the page from light to dark and onto paper without a new drawing.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

__all__ = ["Specification", "layers", "named", "scale"]

Specification = dict[str, object]  # of Vega-Lite, as JSON


def named(data: str) -> alt.Chart:
    """A chart of one of the data sets that :func:`layers` adds to the specification, once for all layers."""
    return alt.Chart(alt.NamedData(name=data))


def scale(names: Mapping[str, object], values: Sequence[Any]) -> alt.Scale:
    """A scale that maps each name to its own value, even if the data hold only some names."""
    return alt.Scale(domain=list(names), range=[list(v) if isinstance(v, tuple) else v for v in values])


def layers(*parts: alt.Chart, height: int, **data: Sequence[Mapping[str, object]]) -> Specification:
    """The specification of layered charts, as wide as their container and in the colours of the page."""
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
