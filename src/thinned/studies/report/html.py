"""The report: the results as one HTML file that needs no network."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from typing import NamedTuple

import jinja2

from thinned import pages
from thinned.studies import wording
from thinned.studies.report import charts
from thinned.studies.report.bounds import score_bounds
from thinned.studies.report.claim_charts import claim_charts, gain_styles, rate_limits, removal_styles
from thinned.studies.report.network_sites import left_network, network_of, pilot_of, site_rows, trains_itself
from thinned.studies.results import (
    ArmResult,
    Claims,
    DataSummary,
    EpochCostClaim,
    LossSummary,
    OptionalInterval,
    Outcome,
    PlannedNetwork,
    PlanSummary,
    Reading,
    Results,
    StudyWarning,
    UnderfittingClaim,
    VarianceShiftClaim,
)
from thinned.studies.results.claims import Claim

__all__ = ["WarningGroup", "column_decimals", "group_warnings", "render", "scored_on", "sorted_arms"]

#: the meaning of each score for a reader who meets it for the first time; its unit comes from the results
_MEANINGS = {
    "log_loss": "distance of the predicted probabilities from what happened",
    "roc_auc": "share of pairs of examples of different classes that are ranked in the right order",
    "pr_auc": "mean precision over all thresholds",
    "accuracy": "share of examples whose own class is the most probable one",
    "token_accuracy": "share of tokens or pixels whose own class is the most probable one",
    "brier": "mean squared distance of the predicted probabilities from what happened",
    "ece": "mean distance of the predicted probabilities from observed frequencies",
    "rmse": "typical error; large errors weigh more (root mean squared error)",
    "mae": "mean distance of a prediction from the true value",
    "r2": "share of the target's variance that the predictions explain",
}
_READINGS: dict[Reading, str] = {"best": "At the best epoch", "end": "After the full budget"}
_SIDE_WORDS = {"right": "interval above 0", "across": "interval contains 0", "left": "interval below 0"}
_COLUMN_KINDS = {
    "number": "Numbers",
    "date": "Dates",
    "level": "Categories",
    "text": "Free text, by its words",
    "empty": "Empty",
    "left out": "Left out",
}
_MOST_COLUMNS = 40


class Mark(NamedTuple):
    """An answer in words, with its symbol and the CSS class of its colour."""

    symbol: str
    words: str
    css: str


_OUTCOMES: dict[Outcome, Mark] = {
    "helps": Mark("▲", "Yes, it helps", "helps"),
    "hurts": Mark("▼", "No, it hurts", "hurts"),
    "practically equal": Mark("=", "No difference that matters", "neutral"),
    "not enough evidence": Mark("?", "Not enough evidence", "neutral"),
    "budget too small": Mark("?", "The budget was too small to tell", "neutral"),
}
_HOLDING = {
    True: Mark("✓", "Holds here.", "helps"),
    False: Mark("✗", "Does not hold here.", "hurts"),
    None: Mark("?", "Cannot be decided here.", "neutral"),
}
_STARTS_EARLIER = Mark("◐", "Starts earlier here.", "neutral")
_HOLDS_IN_PART = Mark("◐", "Holds in part here.", "neutral")


class LossName(NamedTuple):
    """Name, unit and least possible value of the loss that training minimises."""

    name: str
    unit: str
    least: float = 0.0

    @property
    def axis(self) -> str:
        """The title of an axis of losses."""
        return f"Loss: {self.name} ({self.unit})"


class KeyFigure(NamedTuple):
    """One of the figures at the top of the report."""

    name: str
    value: str
    note: str


class ChosenSetting(NamedTuple):
    """The setting that validation rows chose on most splits, and on how many."""

    label: str
    splits: int


class ArmRow(NamedTuple):
    """An arm with its marked label, and whether it is recommended or best on validation."""

    arm: ArmResult
    label: str
    note: str
    mostly: dict[Reading, ChosenSetting]

    def scores(self, reading: Reading) -> dict[str, OptionalInterval]:
        """The arm's test scores by metric."""
        return self.arm.read(reading).scores


class WarningGroup(NamedTuple):
    """The warnings of one kind."""

    title: str
    messages: list[str]
    next_step: str


class ColumnReading(NamedTuple):
    """A column that is read in another way than its kind alone says."""

    column: str
    words: str


class ColumnKind(NamedTuple):
    """The columns that were read in one way; ``rest`` counts those that are not named."""

    title: str
    names: list[str]
    rest: str


class ShownCurves(NamedTuple):
    """Positions of the two settings whose learning curves are drawn at first."""

    base: int
    shown: int


def render(results: Results) -> str:
    """Render the report of a finished study.

    Args:
        results: the content of ``results.json``. Every number on the page comes from it; all of its text is escaped.

    Returns:
        A page of HTML with its styles, scripts and data in it.
    """
    loss = _loss_name(results)
    arms, curves = _arm_rows(results), _shown_curves(results)
    rope = next((comparison.rope for comparison in results.comparisons), None)
    gain = f"Improvement ({results.score.unit})"
    specs = {
        "arms": charts.arm_chart([row.arm for row in arms], [row.label for row in arms], rope, gain),
        "curves": charts.learning_curves(results.settings, loss.axis, curves.base, curves.shown, loss.least),
        **claim_charts(results.claims, loss.axis, gain, loss.least),
    }
    script = pages.bundle("thinned.studies.report", "report.js")
    return (
        _environment()
        .get_template("report.html.jinja")
        .render(
            r=results,
            arm_rows=arms,
            bounds=score_bounds(results.metrics, loss.least),
            columns=_column_kinds(results.data),
            column_readings=_readings_in_words(results.data),
            curves=curves,
            gain_styles=gain_styles,
            mark=_claim_mark,
            key_figures=_key_figures(results),
            loss=loss,
            meanings=_MEANINGS,
            left=left_network(results),
            measured=_is_measured(results.claims),
            network=network_of(results),
            pilot=pilot_of(results),
            site_rows=site_rows(results),
            unit="row" if network_of(results) is None else "example",
            scored_on=scored_on(results.plan),
            notes=_setting_notes(results),
            outcome=_OUTCOMES[results.verdict.outcome],
            outcomes=_OUTCOMES,
            parts=charts.PARTS,
            places=column_decimals(results),
            price_caption=_cost_caption(results.claims.price),
            reading_notes=_reading_notes(results, loss),
            readings=_readings(results),
            trains_itself=trains_itself(results),
            removal_styles=removal_styles,
            rope=rope,
            script=script,
            script_hash=pages.script_hash(script),
            side_words=_SIDE_WORDS,
            sides=charts.SIDES,
            specs=specs,
            warnings=group_warnings(results.warnings),
        )
    )


@cache
def _environment() -> jinja2.Environment:
    environment = pages.environment("thinned.studies.report")
    environment.filters |= {
        "capitalise": wording.capitalise,
        "duration": _duration,
        "in_text": wording.in_text,
        "moment": wording.moment,
        "p_value": wording.p_value,
        "percent": wording.percent,
        "plural": wording.plural,
    }
    return environment


def _duration(seconds: float | None) -> str:
    return "–" if seconds is None else wording.duration(seconds)


def _readings(results: Results) -> dict[Reading, str]:
    """The readings in words; networks that a function of the user's trained have one."""
    return _READINGS if trains_itself(results) else {"best": "After training"}


def _claim_mark(claim: Claim | UnderfittingClaim) -> Mark:
    """The mark of a claim, which agrees with its sentence where the claim is true in part."""
    if isinstance(claim, UnderfittingClaim) and claim.starts_earlier:
        return _STARTS_EARLIER
    if isinstance(claim, VarianceShiftClaim) and claim.shifts_alone:
        return _HOLDS_IN_PART
    return _HOLDING[claim.holds]


def _reading_notes(results: Results, loss: LossName) -> dict[Reading, str]:
    epochs, claim = wording.plural(results.plan.epochs, "epoch"), results.claims.rate
    limits = {} if claim is None else rate_limits(claim, loss.least)
    scale = "; on a different vertical scale" if len({*limits.values()}) > 1 else ""
    return {"best": "early stopping: least validation loss", "end": f"{epochs}{scale}"}


def _loss_name(results: Results) -> LossName:
    network = network_of(results)
    if network is not None and (network.identities.score is not None or results.data.task == "other"):
        return LossName("the score", "mean of the examples", -math.inf)  # the user's own may be negative
    if results.data.task == "regression":
        return LossName("squared error", wording.loss_unit("regression") if network is None else "target units²")
    return LossName("cross-entropy", "nats")


def scored_on(plan: PlanSummary) -> str:
    """What means are taken over: test folds, or seeds and the examples of a given test set."""
    given = isinstance(plan.own, PlannedNetwork) and plan.own.test_examples > 0
    return f"{plan.seeds} seeds and the test examples" if given else f"{plan.splits} test folds"


def _is_measured(claims: Claims) -> bool:
    return any((claims.rate, claims.price, claims.sizes, claims.coadaptation, claims.variance_shift))


def _cost_caption(claim: EpochCostClaim | None) -> str:
    if claim is None:
        return ""
    seconds = "" if claim.seconds is None else f", {wording.duration(claim.seconds)} of one network"
    return f"Without dropout: {claim.epochs:.3g} epochs (median){seconds}"


def _key_figures(results: Results) -> list[KeyFigure]:
    plan, run, data = results.plan, results.run, results.data
    grid = f"{len(results.settings)} settings of {len(results.arms)} arms × {plan.splits} splits"
    speed = f"{run.networks_per_second:.3g} networks a second, {wording.plural(run.threads, 'thread')}"
    folds = f"{plan.folds} folds × {wording.plural(plan.seeds, 'repeat')}"
    if plan.hidden:
        size = KeyFigure("Rows", f"{data.rows:,}", wording.plural(data.columns, "column"))
    else:
        size = KeyFigure("Examples", f"{data.rows:,}", "for training, validation and test folds")
    tested = KeyFigure("Test folds", f"{plan.splits}", folds)
    if isinstance(plan.own, PlannedNetwork) and plan.own.test_examples:
        size = size._replace(note="for training and validation")
        tested = KeyFigure("Test examples", f"{plan.own.test_examples:,}", wording.plural(plan.seeds, "seed"))
    return [
        KeyFigure("Networks trained", f"{run.networks:,}", grid),
        size,
        tested,
        KeyFigure("Training time", wording.duration(run.seconds), speed),
    ]


def _arm_rows(results: Results) -> list[ArmRow]:
    """The arms, best first; the recommended one and those never to be recommended are marked."""
    labels = {setting.index: setting.label for setting in results.settings}
    verdict = results.verdict
    notes = {verdict.best_on_validation.arm: "best on validation", verdict.recommended.arm: "recommended"}

    def mostly(chosen: Iterable[int]) -> ChosenSetting:
        setting, splits = Counter(chosen).most_common(1)[0]
        return ChosenSetting(labels[setting], splits)

    rows = []
    for arm in sorted_arms(results.arms):
        mark = "⚠ " if arm.warning else "✓ " if arm.name == verdict.recommended.arm else ""
        chosen: dict[Reading, ChosenSetting] = {"best": mostly(arm.best.chosen), "end": mostly(arm.end.chosen)}
        rows.append(ArmRow(arm, f"{mark}{arm.label}", notes.get(arm.name, ""), chosen))
    return rows


def _setting_notes(results: Results) -> dict[int, str]:
    verdict = results.verdict
    return {verdict.best_on_validation.setting: "best on validation", verdict.recommended.setting: "recommended"}


def sorted_arms(arms: Iterable[ArmResult]) -> list[ArmResult]:
    """The arms in the order in which people see them: best first."""
    return sorted(arms, key=lambda arm: -arm.best.improvement.mean)


def _shown_curves(results: Results) -> ShownCurves:
    """The settings whose learning curves are drawn at first: no regularisation and the recommended one."""
    indices = [setting.index for setting in results.settings]
    first_chosen = {arm.name: arm.best.chosen[0] for arm in results.arms}
    base = indices.index(first_chosen.get("none", indices[0]))
    wanted = [results.verdict.recommended.setting, first_chosen.get("dropout"), *indices]
    others = (indices.index(s) for s in wanted if s in indices and s != indices[base])
    return ShownCurves(base, next(others, base))


def _column_kinds(data: DataSummary) -> list[ColumnKind]:
    kinds = []
    for kind, title in _COLUMN_KINDS.items():
        names = [name for name, read_as in data.read_as.items() if read_as == kind]
        rest = len(names) - _MOST_COLUMNS
        if names:
            kinds.append(ColumnKind(title, names[:_MOST_COLUMNS], f" and {rest} more" if rest > 0 else ""))
    return kinds


def _readings_in_words(data: DataSummary) -> list[ColumnReading]:
    readings = data.readings if isinstance(data.readings, dict) else {}
    marked = [ColumnReading(name, words) for name, words in readings.items() if " with " in words or ":" in words]
    return marked[:_MOST_COLUMNS]


def group_warnings(warnings: Iterable[StudyWarning]) -> list[WarningGroup]:
    """The warnings, those of one kind together."""
    groups: dict[str, WarningGroup] = {}
    for warning in warnings:
        group = groups.setdefault(warning.code, WarningGroup(warning.title, [], warning.next_step))
        group.messages.append(warning.message)
    return list(groups.values())


def column_decimals(results: Results) -> dict[str, int]:
    """Decimal places by score, of "loss" and of "difference": the same all the way down a column."""
    readings: Sequence[LossSummary] = [
        reading for setting in results.settings for reading in (setting.best, setting.end)
    ]
    losses = [loss.mean for reading in readings for loss in reading.losses.values()]
    differences = [value for c in results.comparisons for value in (c.difference, c.low, c.high)]
    scores = {name: wording.decimals_for(reading.scores[name].mean for reading in readings) for name in results.metrics}
    return {"loss": wording.decimals_for(losses), "difference": wording.decimals_for(differences), **scores}
