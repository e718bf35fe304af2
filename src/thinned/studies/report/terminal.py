"""The summary of a finished study that the command line prints."""

from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from thinned.pages import fixed, signed
from thinned.studies.report.html import WarningGroup, column_decimals, group_warnings, scored_on, sorted_arms
from thinned.studies.report.network_sites import left_network, network_of, trains_itself
from thinned.studies.results import Interval, Results
from thinned.studies.wording import duration

__all__ = ["WIDTH", "print_study"]

WIDTH = 100  # columns, at most
_SCORES = 2


def print_study(results: Results, report: Path, console: Console) -> None:
    """Print the arms, best first, then warnings, the verdict, and the path of the report.

    Args:
        results: the results of the study.
        report: path of the report.
        console: where to print.
    """
    run, verdict = results.run, results.verdict
    when = " at the best validation epoch" if trains_itself(results) else ""
    about = (
        f"{run.networks:,} networks in {duration(run.seconds)} ({run.networks_per_second:.3g} a second). Means over "
        f"{scored_on(results.plan)}{when}; improvement over no regularisation."
    )
    warnings = [_warning_line(group) for group in group_warnings(results.warnings)]
    parts: list[RenderableType] = [Text(about), Padding(_arm_table(results), (1, 0))]
    if run.left_out:
        parts.append(Text(f"Not finished in time: {', '.join(run.left_out)}.\n"))
    if run.untried:
        reasons = "; ".join(f"{label} ({reason})" for label, reason in run.untried.items())
        parts.append(Text(f"Not tried: {reasons}.\n"))
    if warnings:
        parts += [Text("Warnings (the report has the next steps):"), *(Text(f"- {line}") for line in warnings)]
    parts.append(Text(f"\n{verdict.headline}", style="bold"))
    if results.primary:
        parts.append(Text(results.primary.sentence))
    heading = "Provisionally" if verdict.outcome == "budget too small" else "Recommended"
    parts.append(Text(f"{heading}: {verdict.recommended.label}. {verdict.recommended.reason}"))
    left = left_network(results)
    if left is not None and left.failure is not None:
        parts.append(Text(left.failure))
    console.print(Group("", *parts), width=min(WIDTH, console.width))
    if left is not None and left.lines is not None:
        console.print(Text(f"\nThe network to use, built again:\n\n{left.lines.rstrip()}"), soft_wrap=True)
    console.print(Text(f"\nReport: {report}"), soft_wrap=True)


def _warning_line(group: WarningGroup) -> str:
    more = f" (and {len(group.messages) - 1} more)" if len(group.messages) > 1 else ""
    return f"{group.title}. {group.messages[0]}{more}"


def _arm_table(results: Results) -> Table:
    table, places = Table(box=None, pad_edge=False), column_decimals(results)
    names = _shown_scores(results)
    table.add_column("arm")
    for heading in ("improvement", "95 % interval", *(results.metrics[name].label for name in names)):
        table.add_column(heading, justify="right", no_wrap=True)
    for arm in sorted_arms(results.arms):
        scores = [fixed(arm.best.scores[name].mean, places[name]) for name in names]
        if arm.name == "none":
            table.add_row(arm.label, "–", "–", *scores, style="bold")
            continue
        named = Text(f"{arm.label} (never recommended)" if arm.warning else arm.label)
        table.add_row(named, *_improvement_cells(arm.best.improvement, places["difference"]), *scores)
    return table


def _shown_scores(results: Results) -> list[str]:
    """The score that selects and improves, and others that differ from it; accuracy first for a network of one's own.

    The loss of a classifier is its log loss where the user has no score.
    """
    best = [arm.best.scores for arm in results.arms]
    others = [name for name in results.metrics if any(s[name].mean != s[results.selection].mean for s in best)]
    if network_of(results) is not None:
        others.sort(key=lambda name: name not in ("accuracy", "token_accuracy"))
    return [results.selection, *others][:_SCORES]


def _improvement_cells(improvement: Interval, places: int) -> tuple[str, str]:
    interval = f"{signed(improvement.low, places)} to {signed(improvement.high, places)}"
    return signed(improvement.mean, places), interval
