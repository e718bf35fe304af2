"""Records and plans of studies that were never trained, with what is true about them known."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

NOTHING: dict[str, Any] = {
    "dropout": 0.0,
    "where": "hidden",
    "weight_decay": 0.0,
    "max_norm": None,
    "batch_norm": None,
    "one_mask": False,
    "schedule": "constant",
    "embedding": None,
    "label": "nothing",
}
RATES = (0.1, 0.3, 0.5)
LABELS = {"none": "no regularisation", "dropout": "dropout on all hidden layers", "weight_decay": "weight decay"}


def dropout(rate: float, where: str = "hidden") -> dict[str, Any]:
    return {**NOTHING, "dropout": rate, "where": where, "label": f"dropout {rate:g}"}


def decay(strength: float) -> dict[str, Any]:
    return {**NOTHING, "weight_decay": strength, "label": f"weight decay {strength:g}"}


def question(
    arm: str, against: str = "none", when: str = "best", against_when: str = "", *, primary: bool = False
) -> dict:
    return {
        "arm": arm,
        "when": when,
        "against": against,
        "against_when": against_when or when,
        "text": f"Is {arm} better than {against}?",
        "primary": primary,
    }


def make_plan(
    rates: Sequence[float] = RATES,
    decays: Sequence[float] = (0.01,),
    questions: Sequence[Any] | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """No regularisation, dropout at some rates, weight decay at some strengths."""
    settings = [NOTHING, *map(dropout, rates), *map(decay, decays)]
    places = list(range(len(settings)))
    arms = {"none": places[:1], "dropout": places[1 : 1 + len(rates)], "weight_decay": places[1 + len(rates) :]}
    asked = [
        question("dropout", primary=True),
        question("dropout", when="end"),
        question("weight_decay"),
        question("none", when="best", against_when="end"),
    ]
    return {
        "arms": [
            {"name": name, "label": LABELS[name], "warning": None, "settings": own} for name, own in arms.items() if own
        ],
        "settings": settings,
        "questions": asked if questions is None else list(questions),
        "folds": 5,
        "seeds": 2,
        "epochs": 20,
        "task": "binary",
        "rows": 5000,
        **changes,
    }


def make_records(plan: Mapping[str, Any], of: Callable[[int, int, int], Mapping[str, Any]]) -> list[dict[str, Any]]:
    """``of(repeat, fold, setting)`` tells what differs from a network whose losses are all 1."""
    records = []
    for repeat in range(plan["seeds"]):
        for fold in range(plan["folds"]):
            for setting in range(len(plan["settings"])):
                told = {**of(repeat, fold, setting)}
                at = {"train": told.pop("train", 0.5), "validation": told.pop("validation", 1.0)}
                at["test"] = told.pop("test", 1.0)
                name = "rmse" if plan["task"] == "regression" else "log_loss"
                record = {
                    "repeat": repeat,
                    "fold": fold,
                    "setting": setting,
                    "size": 0,
                    "best_epoch": 10,
                    **{when: {**at, "scores": {name: at["test"], "roc_auc": 0.8}} for when in ("best", "end")},
                    "curves": {"train": [1.0] * plan["epochs"], "validation": [1.0] * plan["epochs"]},
                }
                records.append(record | told)
    return records


def noisy(
    plan: Mapping[str, Any], gains: Sequence[float], noise: float, seed: int, shared: float = 0.0
) -> list[dict[str, Any]]:
    """Each setting takes its gain off a test and validation loss of 1, give or take independent normal noise.

    ``shared`` is the noise of a split, common to all of its settings.
    """
    rng = np.random.default_rng(seed)
    drawn = {
        (repeat, fold): 1 - np.array(gains) + noise * rng.normal(size=len(gains)) + shared * rng.normal()
        for repeat in range(plan["seeds"])
        for fold in range(plan["folds"])
    }

    def of(repeat: int, fold: int, setting: int) -> dict[str, float]:
        return {"test": float(drawn[repeat, fold][setting]), "validation": 1 - gains[setting]}

    return make_records(plan, of)
