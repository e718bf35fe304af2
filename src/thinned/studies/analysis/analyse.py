"""What the numbers of a finished study say: settings, arms, comparisons, a verdict in words, and warnings."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from thinned.studies.analysis.comparisons import answers
from thinned.studies.analysis.selection import PARTS, WHENS, Array, Record, Trained
from thinned.studies.analysis.verdict import verdict
from thinned.studies.analysis.warnings import cautions
from thinned.studies.table.load import Table

__all__ = ["analyse"]


def analyse(
    records: Iterable[Record], plan: Mapping[str, Any], table: Table | None = None, *, share: float | None = None
) -> dict[str, Any]:
    """Settings, arms, comparisons, verdict and warnings of ``results.json``.

    Every arm is read twice: ``best`` takes each network at its best validation epoch (early stopping), ``end`` after
    the full budget of epochs. Its setting is chosen on each split by validation loss, and scored on the test rows.

    Args:
        records: one a network, as :meth:`Store.records` gives them.
        plan: :meth:`Plan.to_dict`.
        table: what was studied, for the warnings that need to look at it.
        share: n_test / n_train of a split; None stands for k-fold splits, 1 / (folds − 1).

    Raises:
        InputError: the networks of every setting diverged.
    """
    trained = Trained(records, plan, share)
    comparisons = answers(trained)
    return {
        "settings": [_setting(trained, setting) for setting in trained.settings],
        "arms": [_arm(trained, arm) for arm in plan["arms"] if arm["name"] in trained.arms],
        "comparisons": comparisons,
        "verdict": verdict(trained, comparisons),
        "share": trained.share,
        "warnings": [caution.to_dict() for caution in cautions(trained, comparisons, table)],
    }


def _setting(trained: Trained, setting: int) -> dict[str, Any]:
    records = [split[setting] for split in trained.splits]
    fixed = [setting] * len(records)

    def at(when: str) -> dict[str, Any]:
        return {
            **{part: trained.interval(trained.losses(setting, when, part), part) for part in PARTS},
            "scores": {name: trained.interval(trained.scores(fixed, when, name)) for name in trained.metrics()},
        }

    return {
        "index": setting,
        "label": trained.setting(setting)["label"],
        "networks": len(records),
        "best_epoch": float(np.median([record["best_epoch"] for record in records])),
        **{when: at(when) for when in WHENS},
        "curves": {
            part: np.mean([record["curves"][part] for record in records], axis=0).tolist()
            for part in ("train", "validation")
        },
        "improvement": {
            when: trained.interval(trained.nested(trained.baseline, when) - trained.scores(fixed, when))
            for when in WHENS
        },
    }


def _arm(trained: Trained, arm: Record) -> dict[str, Any]:
    baseline: Array = trained.nested(trained.baseline, "best")

    def at(when: str) -> dict[str, Any]:
        chosen = trained.choose(trained.arms[arm["name"]], when)
        return {
            "scores": {name: trained.interval(trained.scores(chosen, when, name)) for name in trained.metrics()},
            "chosen": chosen,
            "test": trained.scores(chosen, when).tolist(),
            "improvement": trained.interval(baseline - trained.scores(chosen, when)),
        }

    return {**{name: arm[name] for name in ("name", "label", "warning")}, **{when: at(when) for when in WHENS}}
