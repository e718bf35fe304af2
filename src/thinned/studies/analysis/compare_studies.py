"""Two finished studies side by side, and what their numbers allow to be said about the difference."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from thinned.studies.analysis.statistics import resampled

__all__ = ["side_by_side"]

Results = Mapping[str, Any]
#: what the rows of a split follow from
_SPLITS = ("data", "rows", "task", "folds", "seeds", "seed", "group", "time")
_MANY = 10  # settings of an arm are counted from here on
_ASIDE = {"arms", "settings", "questions", "digest", "data"}


def side_by_side(first: Results, second: Results) -> dict[str, Any]:
    """What two studies have in common, and how they differ.

    Args:
        first: the content of a ``results.json``.
        second: of another.

    Returns:
        ``same_data``, ``same_splits`` and ``same_score``; ``plan``, the differences of the plans (name, first,
        second); ``arms``, for each arm of either its label, and for each study (None: it has no such arm) the score and
        the improvement over early stopping alone at the best epoch with their intervals, and ``difference``: what the
        second takes off the first one's loss, paired by split, where the splits are the same, else None; ``reading``,
        what may be concluded.
    """
    studies = first, second
    same = {
        "same_data": first["data"]["sha256"] == second["data"]["sha256"],
        "same_splits": all(first["plan"][name] == second["plan"][name] for name in _SPLITS),
        "same_score": first["selection"] == second["selection"],
    }
    held = [{arm["name"]: arm for arm in study["arms"]} for study in studies]
    arms = []
    for name in dict.fromkeys([*held[0], *held[1]]):
        pair = [of.get(name) for of in held]
        shown = [None if arm is None else _arm(study, arm) for study, arm in zip(studies, pair, strict=True)]
        difference = _paired(first, pair) if same["same_splits"] and all(pair) else None
        label = next(arm["label"] for arm in pair if arm is not None)
        arms.append({"name": name, "label": label, "studies": shown, "difference": difference})
    return {**same, "plan": list(_differences(*studies)), "arms": arms, "reading": _reading(**same)}


def _arm(study: Results, arm: Mapping[str, Any]) -> dict[str, Any]:
    return {"score": arm["best"]["scores"][study["selection"]], "improvement": arm["best"]["improvement"]}


def _paired(study: Results, pair: list[Any]) -> dict[str, float]:
    before, after = (np.array(arm["best"]["test"]) for arm in pair)
    return resampled((before - after).reshape(study["plan"]["seeds"], -1)).interval()


def _differences(first: Results, second: Results) -> Iterator[tuple[str, str, str]]:
    """Everything that a study follows from and that is not the same in both, in words."""
    for name in ("name", "target", "rows", "columns"):
        if first["data"][name] != second["data"][name]:
            yield f"data: {name}", str(first["data"][name]), str(second["data"][name])
    for name, value in first["plan"].items():
        if name not in _ASIDE and name != "rows" and value != second["plan"].get(name):
            yield name.replace("_", " "), _words(value), _words(second["plan"].get(name))
    grids = [_grids(study) for study in (first, second)]
    only = [[name for name in mine if name not in other] for mine, other in (grids, grids[::-1])]
    if any(only):
        yield "arms of one study only", _words(only[0]), _words(only[1])
    for name in (name for name in grids[0] if name in grids[1]):
        if grids[0][name] != grids[1][name]:
            yield f"settings of {name}", _few(grids[0][name]), _few(grids[1][name])
    for name, version in first["run"]["versions"].items():
        if version != second["run"]["versions"].get(name):
            yield f"version of {name}", version, _words(second["run"]["versions"].get(name))


def _grids(study: Results) -> dict[str, list[str]]:
    labels = [setting["label"] for setting in study["plan"]["settings"]]
    return {arm["name"]: [labels[s] for s in arm["settings"]] for arm in study["plan"]["arms"]}


def _few(labels: list[str]) -> str:
    return "; ".join(labels) if len(labels) <= _MANY else f"{len(labels)} settings"


def _words(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)


def _reading(*, same_data: bool, same_splits: bool, same_score: bool) -> str:
    if not same_data:
        return (
            "The two tables are not the same: the scores can't be compared, only what each study says of its own data."
        )
    if not same_score:
        return "The studies compare networks by different scores, which can't be set against each other."
    if not same_splits:
        return (
            "The studies are about the same data, but not the same splits: every interval holds the luck of its own. "
            "Intervals that lie apart show a difference; intervals that overlap show nothing either way."
        )
    return (
        "Both studies score the same rows of the same splits, so that differences are taken split by split. These were "
        "not declared before the runs, and there are as many as arms: an interval without 0 is a hint, and no test."
    )
