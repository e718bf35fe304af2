"""``results.json``: the structure of the whole file, and how it is read, checked and written."""

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from thinned.errors import InputError, sentence
from thinned.studies.results.claims import Claims
from thinned.studies.results.entries import (
    ArmResult,
    Comparison,
    DataSummary,
    Entry,
    MetricSummary,
    Positive,
    RunSummary,
    SettingResult,
    StudyWarning,
    Verdict,
)
from thinned.studies.results.network import NetworkSummary
from thinned.studies.results.pilot import PilotSummary
from thinned.studies.results.plan_summary import PlanSummary

__all__ = ["SCHEMA", "Results", "parse", "read", "serialise"]

SCHEMA = 3
_RENEW = "run the study's command again in its folder: it takes over the trained networks and writes the file anew"


class Results(Entry, frozen=True, kw_only=True):
    """The content of ``results.json``. ``test_train_ratio`` (in the file: ``share``) is n_test / n_train of a split."""

    schema: int
    data: DataSummary
    plan: PlanSummary
    run: RunSummary
    metrics: Annotated[dict[str, MetricSummary], Meta(min_length=1)]
    selection: str
    settings: Annotated[tuple[SettingResult, ...], Meta(min_length=1)]
    arms: Annotated[tuple[ArmResult, ...], Meta(min_length=1)]
    comparisons: tuple[Comparison, ...]
    verdict: Verdict
    test_train_ratio: Positive = msgspec.field(name="share")
    warnings: tuple[StudyWarning, ...]
    claims: Claims
    pilot: PilotSummary | msgspec.UnsetType = msgspec.UNSET
    network: NetworkSummary | msgspec.UnsetType = msgspec.UNSET

    def __repr__(self) -> str:
        """One line: how much there is, and the answer."""
        parts = {"arms": self.arms, "settings": self.settings, "comparisons": self.comparisons}
        counts = ", ".join(f"{len(part)} {name}" for name, part in parts.items())
        return f"Results({counts}, {len(self.warnings)} warnings: {self.verdict.headline})"

    @property
    def score(self) -> MetricSummary:
        """The score by which networks are compared."""
        return self.metrics[self.selection]

    @property
    def primary(self) -> Comparison | None:
        """The answer to the main question, or None if it was not asked."""
        return next((comparison for comparison in self.comparisons if comparison.primary), None)


def serialise(results: Results) -> str:
    """The text of ``results.json``; no number in it is NaN or infinite."""
    return json.dumps(msgspec.to_builtins(results), indent=1, allow_nan=False)


def read(folder: str | os.PathLike[str]) -> Results:
    """The results of a finished study.

    Raises:
        InputError: there are none, they are of another schema, or an entry is not as a study writes it.
    """
    path = Path(folder) / "results.json"
    try:
        content: object = json.loads(
            path.read_text(encoding="utf-8"), parse_constant=_finite_number, parse_float=_finite_number
        )
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            sentence(f"{folder} must be the folder of a finished study", f"reading {path} failed: {error}")
        ) from None
    return parse(content, str(path))


def parse(content: object, name: str = "results.json") -> Results:
    """Results from the objects of a JSON parser.

    Args:
        content: dictionaries, lists, strings, numbers and None.
        name: name of the file in error messages.

    Raises:
        InputError: the content is of another schema, an entry has a wrong type or value, or two entries contradict
            each other. The message names the entry's JSON path.
    """
    version = content.get("schema") if isinstance(content, dict) else None
    if type(version) is not int:
        raise InputError(sentence(f"{name} must hold the results of a study", "it holds something else"))
    if version != SCHEMA:
        remedy = _RENEW if version < SCHEMA else "use the version of thinned that wrote it"
        raise InputError(sentence(f"results must be of schema {SCHEMA}", f"{name} is of schema {version}", remedy))
    requirement = f"{name} must be as a study writes it"
    try:
        results = msgspec.convert(content, Results)
    except msgspec.ValidationError as error:
        raise InputError(sentence(requirement, str(error), _RENEW)) from None
    for fault in _contradictions(results):
        raise InputError(sentence(requirement, fault, _RENEW))
    return results


def _finite_number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]} is not a finite number")
    return value


def _contradictions(results: Results) -> Iterator[str]:
    """Entries that refer to what does not exist, or that belong together and differ in length."""
    plan, verdict = results.plan, results.verdict
    indices = {setting.index for setting in results.settings}
    planned = set(range(len(plan.settings)))
    if results.selection not in results.metrics:
        yield "unknown metric - at `$.selection`"
    if not indices <= planned:
        yield "index of a setting that the plan does not have - at `$.settings`"
    for name, choice in (("recommended", verdict.recommended), ("best_on_validation", verdict.best_on_validation)):
        if choice.setting not in indices:
            yield f"index of a setting without results - at `$.verdict.{name}.setting`"
    if len({len(curve) for setting in results.settings for curve in setting.curves.parts.values()}) != 1:
        yield "curves of different lengths - at `$.settings`"
    for position, arm in enumerate(results.arms):
        for reading in (arm.best, arm.end):
            if len(reading.chosen) != plan.splits or not {*reading.chosen} <= indices:
                yield f"other splits or settings than the plan's - at `$.arms[{position}]`"
    scores = [entry.scores for setting in results.settings for entry in (setting.best, setting.end)]
    scores += [entry.scores for arm in results.arms for entry in (arm.best, arm.end)]
    if any(entry.keys() != results.metrics.keys() for entry in scores):
        yield "names of other scores than those of the arms and settings - at `$.metrics`"
    yield from _uneven_claims(results.claims)


def _uneven_claims(claims: Claims) -> Iterator[str]:
    paired: list[tuple[str, int, list[int]]] = []
    if rate := claims.rate:
        curves = [*rate.best.losses.values(), *rate.end.losses.values()]
        paired.append(("rate", len(rate.rates), [len(curve) for curve in curves]))
    if sizes := claims.sizes:
        paired.append(("sizes", len(sizes.sizes), [len(gain) for gain in sizes.gain.values()]))
    if units := claims.coadaptation:
        paired.append(("coadaptation", len(units.rates), [len(units.dependence)]))
        removal = [len(losses) for losses in units.removal.loss.values()]
        paired.append(("coadaptation", len(units.removal.fractions), removal))
    for name, length, others in paired:
        if any(other != length for other in others):
            yield f"lists of different lengths - at `$.claims.{name}`"
