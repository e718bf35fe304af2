"""Nested selection: a setting is chosen by validation loss on each split, and scored on rows that had no part in it."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from thinned.errors import InputError, sentence
from thinned.studies.analysis.statistics import Spread, nadeau_bengio, resampled
from thinned.studies.design.splits import VALIDATION
from thinned.studies.metrics import SELECTION

__all__ = ["PARTS", "WHENS", "Record", "Trained"]

Record = Mapping[str, Any]
Array = npt.NDArray[np.float64]
WHENS = ("best", "end")  # the best validation epoch, and the last one
PARTS = ("train", "validation", "test")


class Trained:
    """The networks of a finished study, by split and setting.

    Attributes:
        splits: of each test fold of each repeat, in order, the record of every setting.
        settings: indices of the settings whose networks stayed finite on every split; no other is ever chosen.
        diverged: of every other setting, the number of networks that did not.
        arms: settings of each arm that has any left, by its name, in the plan's order.
        repeats: of the splits; each has the same number of folds.
        share: n_test / n_train of a split, rows that stop the training or choose a setting among those of training.
        selection: the score by which networks are compared; lower is better.

    Args:
        records: one a network; those trained on a part of the rows (``size``) are left aside.
        plan: :meth:`Plan.to_dict`.
        share: None stands for k-fold splits, 1 / (folds − 1).

    Raises:
        InputError: no arm is left.
    """

    def __init__(self, records: Iterable[Record], plan: Record, share: float | None = None) -> None:
        by_split: dict[tuple[int, int], dict[int, Record]] = defaultdict(dict)
        for record in records:
            if not record.get("size"):
                by_split[record["repeat"], record["fold"]][record["setting"]] = record
        self.plan = plan
        self.repeats = len({repeat for repeat, _ in by_split})
        self.splits = [by_split[place] for place in sorted(by_split)]
        self.share = 1 / (plan["folds"] - 1) if share is None else share
        self.selection = SELECTION[plan["task"]]
        trained = sorted({setting for split in self.splits for setting in split})
        broken = {s: sum(not _finite(split[s], self.selection) for split in self.splits) for s in trained}
        self.settings = [s for s in trained if not broken[s]]
        self.diverged = {s: count for s, count in broken.items() if count}
        arms = {arm["name"]: [s for s in arm["settings"] if s in self.settings] for arm in plan["arms"]}
        self.arms = {name: settings for name, settings in arms.items() if settings}
        if not self.arms:
            seen = f"of {len(trained)} settings none has only networks whose losses are"
            remedy = "look for extreme values in the target, or lower the learning rate"
            raise InputError(sentence("losses must stay finite", seen, remedy))

    def setting(self, index: int) -> Record:
        """The setting as the plan holds it."""
        return self.plan["settings"][index]  # type: ignore[no-any-return]

    def choose(self, settings: Sequence[int], when: str) -> list[int]:
        """On each split the setting of least validation loss; the test rows have no part in the choice."""
        return [min(settings, key=lambda s: split[s][when]["validation"]) for split in self.splits]

    def scores(self, chosen: Sequence[int], when: str, metric: str | None = None) -> Array:
        """Test score of the setting chosen on each split, ``(splits,)``; by default the one that selects.

        NaN where another score is not defined, as ROC-AUC on a test fold of one class.
        """
        name = metric or self.selection
        pairs = zip(self.splits, chosen, strict=True)
        return np.array([split[s][when]["scores"][name] for split, s in pairs], dtype=np.float64)

    def losses(self, setting: int, when: str, part: str) -> Array:
        """Loss of one setting on the training, validation or test rows of each split, ``(splits,)``."""
        return np.array([split[setting][when][part] for split in self.splits], dtype=np.float64)

    def nested(self, arm: str, when: str) -> Array:
        """Selection score of an arm on each split, ``(splits,)``, its setting chosen by validation loss."""
        return self.scores(self.choose(self.arms[arm], when), when)

    def metrics(self) -> list[str]:
        """Names of all scores."""
        return list(self.splits[0][self.settings[0]]["best"]["scores"])

    def least(self, settings: Iterable[int]) -> int:
        """The setting of least mean validation loss at the best epoch, over all splits."""
        return min(settings, key=lambda s: float(self.losses(s, "best", "validation").mean()))

    def spread(self, values: Array, part: str = "test") -> Spread:
        """Mean over splits and its error, of ``(splits,)`` values in the order of :attr:`splits`.

        Folds of a repeat share no test row, but training and validation rows: of those the correlation is supposed.
        """
        if part == "test":
            return resampled(values.reshape(self.repeats, -1))
        return nadeau_bengio(values[np.isfinite(values)], VALIDATION / (1 - VALIDATION))

    def supposed_spread(self, values: Array) -> Spread:
        """The same by Nadeau & Bengio's supposition, which is on the safe side."""
        return nadeau_bengio(values, self.share)

    def interval(self, values: Array, part: str = "test") -> dict[str, float | None]:
        """Mean over the splits that have a value, with its interval; None where fewer than two of a repeat have one."""
        known = np.isfinite(values).reshape(self.repeats, -1).sum(1)
        if known.max() < 2:
            return {"mean": None, "low": None, "high": None}
        return {**self.spread(values, part).interval()}

    @property
    def baseline(self) -> str:
        """The arm that the others are pictured against: none where it was trained, else what is asked about first."""
        asked = [q["against"] for q in sorted(self.plan["questions"], key=lambda q: not q["primary"])]
        return next(str(name) for name in ("none", *asked, *self.arms) if name in self.arms)


def _finite(record: Record, selection: str) -> bool:
    """Whether a network's losses, and the score that selects, are numbers; JSON may hold None for one that is not."""
    values = [record[when][part] for when in WHENS for part in PARTS]
    values += [record[when]["scores"][selection] for when in WHENS]
    return all(value is not None and math.isfinite(value) for value in values)
