"""What the command line prints of a finished study, and of two side by side."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from thinned.pages import fixed, signed
from thinned.studies.report.html import decimals, duration, ordered, warned

__all__ = ["WIDTH", "print_comparison", "print_study"]

WIDTH = 100  # columns, at most
_SCORES = 2


def print_study(results: Mapping[str, Any], report: Path, console: Console) -> None:
    """Arms best first, then warnings, the verdict, and where the report is.

    Args:
        results: the content of ``results.json``.
        report: path of the report.
        console: where to print.
    """
    run, plan, verdict = results["run"], results["plan"], results["verdict"]
    took = f"{duration(run['seconds'])} ({run['networks_per_second']:.3g} a second)"
    about = (
        f"{run['networks']:,} networks in {took}. "
        f"Means over {plan['folds'] * plan['seeds']} held-out test folds, each network as it was at its best "
        "validation epoch; an improvement is one over early stopping alone."
    )
    primary = [Text(c["sentence"]) for c in results["comparisons"] if c["primary"]]
    recommended = verdict["recommended"]
    warnings = [f"{one['title']}{_times(one)}" for one in warned(results["warnings"])]
    parts: list[RenderableType] = [Text(about), Padding(_arms(results), (1, 0))]
    if run["left_out"]:
        parts.append(Text(f"Not finished in time: {', '.join(run['left_out'])}.\n"))
    if warnings:
        parts += [Text("Before you trust this (the report has the next steps):"), *(Text(f"- {w}") for w in warnings)]
    parts += [Text(f"\n{verdict['headline']}", style="bold"), *primary]
    parts += [Text(f"Recommended: {recommended['label']}. {recommended['reason']}")]
    console.print(Group("", *parts), width=min(WIDTH, console.width))
    console.print(Text(f"\nReport: {report}"), soft_wrap=True)


def _times(warning: Mapping[str, Any]) -> str:
    return f" ({len(warning['messages'])} cases)" if len(warning["messages"]) > 1 else ""


def _arms(results: Mapping[str, Any]) -> Table:
    table, places = _table(), decimals(results)
    # the score that selects is the one that improves
    names = list(dict.fromkeys([results["selection"], *results["metrics"]]))[:_SCORES]
    table.add_column("arm")
    for heading in ("improvement", "95 % interval", *(results["metrics"][name]["label"] for name in names)):
        table.add_column(heading, justify="right", no_wrap=True)
    for arm in ordered(results["arms"]):
        gain = arm["best"]["improvement"]
        interval = f"{signed(gain['low'], places['difference'])} to {signed(gain['high'], places['difference'])}"
        scores = (fixed(arm["best"]["scores"][name]["mean"], places[name]) for name in names)
        if arm["name"] == "none":
            table.add_row("early stopping alone", "–", "–", *scores, style="bold")
        else:
            mark = " (not to be recommended)" if arm["warning"] else ""
            table.add_row(Text(arm["label"] + mark), signed(gain["mean"], places["difference"]), interval, *scores)
    return table


def print_comparison(
    compared: Mapping[str, Any], studies: tuple[Mapping[str, Any], Mapping[str, Any]], console: Console
) -> None:
    """Two studies side by side.

    Args:
        compared: of :func:`thinned.studies.analysis.compare_studies.side_by_side`.
        studies: the content of each ``results.json``.
        console: where to print.
    """
    parts: list[RenderableType] = []
    if compared["plan"]:
        plan = _table("", "first", "second")
        for row in compared["plan"]:
            plan.add_row(*map(Text, row))
        parts += [Text("What is not the same", style="bold"), plan, ""]
    else:
        parts += [Text("Both studies follow the same plan.\n")]
    for number, study in zip(("First", "Second"), studies, strict=True):
        parts += [Text(f"{number}: {study['verdict']['headline']}\n")]
    parts += [_compared_arms(compared, studies), Text(f"\n{compared['reading']}", style="bold")]
    console.print(Group(*parts), width=min(WIDTH, console.width))


def _compared_arms(compared: Mapping[str, Any], studies: tuple[Mapping[str, Any], Mapping[str, Any]]) -> Table:
    labels = [study["metrics"][study["selection"]]["label"] for study in studies]
    paired = any(arm["difference"] for arm in compared["arms"])
    table = _table("arm")
    for heading in (f"first: {labels[0]}", f"second: {labels[1]}", *["second better by"] * paired):
        table.add_column(heading, justify="right")
    places = [decimals(study) for study in studies]
    for arm in compared["arms"]:
        cells = []
        for study, digits, one in zip(studies, places, arm["studies"], strict=True):
            cells.append(_interval(one["score"], digits[study["selection"]]) if one else "–")
        if paired:
            cells.append(_interval(arm["difference"], places[0]["difference"], sign=True))
        table.add_row(Text(arm["label"]), *cells)
    return table


def _interval(interval: Mapping[str, float] | None, places: int, *, sign: bool = False) -> str:
    if interval is None:
        return "–"
    show = signed if sign else fixed
    return f"{show(interval['mean'], places)}\n{show(interval['low'], places)} to {show(interval['high'], places)}"


def _table(*headings: str) -> Table:
    return Table(*headings, box=None, pad_edge=False)
