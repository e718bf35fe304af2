"""The trained networks by split, and nested selection: validation rows choose a setting, test rows score it."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from thinned.errors import InputError, sentence
from thinned.studies.analysis.crossed import crossed, crossed_draws
from thinned.studies.analysis.statistics import Spread, nadeau_bengio, resampled
from thinned.studies.design.plan import Plan
from thinned.studies.design.setting import Setting
from thinned.studies.design.splits import VALIDATION
from thinned.studies.metrics import SELECTION
from thinned.studies.results import Interval, OptionalInterval, Reading
from thinned.studies.training.records import Evaluation, TrainedNetwork

__all__ = ["PARTS", "READINGS", "Array", "Part", "TrainedNetworks"]

Array = npt.NDArray[np.float64]
Part = Literal["train", "validation", "test"]
READINGS: tuple[Reading, ...] = ("best", "end")
PARTS: tuple[Part, ...] = ("train", "validation", "test")
_LAST_EPOCHS = 0.95  # of the budget


class TrainedNetworks:
    """The networks of a finished study that were trained on one number of rows, by split and setting.

    Attributes:
        plan: the plan, restricted to what was finished.
        splits: for each test fold of each repeat, in order, the network of every setting.
        settings: indices of the settings whose networks stayed finite on every split; only these are ever chosen.
        diverged: number of networks that did not stay finite, for each of the other settings.
        arms: settings of each arm that has any left, by its name, in the plan's order.
        repeats: number of repeats; each has the same number of folds.
        has_given_test: the networks of all repeats are scored on one given test set. The losses on it that
            :meth:`scores` and :meth:`losses` give are then those of its examples.
        test_train_ratio: n_test / n_train of a split. Rows that validate count as training rows.
        selection: score by which networks are compared; lower is better.
        noun: what one entry of the data is called in words.
        clusters: ``(examples,)`` the cluster of each example of a given test set, or None.

    Args:
        networks: records of trained networks.
        plan: see above.
        test_train_ratio: see above; None stands for k-fold splits, 1 / (folds − 1).
        size: number of training rows of the networks to take; 0 stands for all rows of a split.
        clusters: see above; None where each example is drawn by itself.

    Raises:
        InputError: no arm is left.
    """

    def __init__(
        self,
        networks: Iterable[TrainedNetwork],
        plan: Plan,
        test_train_ratio: float | None = None,
        *,
        size: int = 0,
        clusters: npt.NDArray[np.int64] | None = None,
    ) -> None:
        by_split: dict[tuple[int, int], dict[int, TrainedNetwork]] = defaultdict(dict)
        for network in networks:
            if network.size == size:
                by_split[network.repeat, network.fold][network.setting] = network
        self.plan, self.clusters = plan, clusters
        self._settings = plan.settings
        self.repeats = len({repeat for repeat, _ in by_split})
        self.splits = [by_split[place] for place in sorted(by_split)]
        self.test_train_ratio = 1 / max(1, plan.folds - 1) if test_train_ratio is None else test_train_ratio
        self.has_given_test = plan.own is not None and plan.own.test_examples > 0
        self.noun = "row" if plan.own is None else "example"
        self.selection = SELECTION[plan.task] if plan.own is None else "loss"
        trained = sorted({setting for split in self.splits for setting in split})
        broken = {s: sum(not self._is_finite(split[s]) for split in self.splits) for s in trained}
        self.settings = [s for s in trained if not broken[s]]
        self.diverged = {s: count for s, count in broken.items() if count}
        arms = {arm.name: [s for s in plan.setting_indices(arm) if s in self.settings] for arm in plan.arms}
        self.arms = {name: settings for name, settings in arms.items() if settings}
        if not self.arms:
            value = f"none of {len(trained)} settings has finite losses on every split"
            remedy = "look for extreme values in the target, or lower the learning rate"
            raise InputError(sentence("losses must stay finite", value, remedy))

    def setting(self, index: int) -> Setting:
        """The setting of this index."""
        return self._settings[index]

    def arm_label(self, name: str) -> str:
        """The label of an arm."""
        return self.plan.arm(name).label

    @property
    def split_noun(self) -> str:
        """What the splits are called: with one test set for all, they differ by their seeds alone."""
        return "seeds" if self.plan.folds == 1 else "splits"

    def choose(self, settings: Sequence[int], reading: Reading) -> list[int]:
        """The setting of least validation loss on each split; test rows have no part in the choice."""
        return [min(settings, key=lambda s: _loss(split[s].evaluation(reading), "validation")) for split in self.splits]

    def scores(self, chosen: Sequence[int], reading: Reading, metric: str | None = None) -> Array:
        """Test score of the setting chosen on each split, ``(splits,)``; by default the one that selects.

        That one is ``(seeds, examples)`` on a given test set. A score is NaN where it is undefined, as ROC-AUC on a
        test fold of one class.
        """
        name = metric or self.selection
        if self.has_given_test and name == self.selection:
            return self._example_losses(chosen, reading)
        pairs = zip(self.splits, chosen, strict=True)
        return np.array([split[s].evaluation(reading).scores[name] for split, s in pairs], dtype=np.float64)

    def losses(self, setting: int, reading: Reading, part: Part) -> Array:
        """Loss of one setting on the training, validation or test rows of each split, ``(splits,)``.

        On a given test set it is that of each example, ``(seeds, examples)``.
        """
        if self.has_given_test and part == "test":
            return self._example_losses([setting] * len(self.splits), reading)
        return np.array([_loss(split[setting].evaluation(reading), part) for split in self.splits])

    def _example_losses(self, chosen: Sequence[int], reading: Reading) -> Array:
        kept = [split[s].example_losses for split, s in zip(self.splits, chosen, strict=True)]
        if any(losses is None for losses in kept):
            raise ValueError("a network without losses of the given test set")
        return np.stack([losses.values(reading) for losses in kept if losses is not None]).astype(np.float64)

    def arm_scores(self, arm: str, reading: Reading) -> Array:
        """Selection score of an arm on each split, ``(splits,)``, its setting chosen by validation loss."""
        return self.scores(self.choose(self.arms[arm], reading), reading)

    def late_splits(self, chosen: Sequence[int]) -> int:
        """Splits on which the chosen setting was at its best in the last 5 % of the budget."""
        pairs = zip(self.splits, chosen, strict=True)
        return sum(self._is_late(split[setting]) for split, setting in pairs)

    def _is_finite(self, network: TrainedNetwork) -> bool:
        """Whether a network's losses, and the score that selects, are finite numbers.

        NaN is an unknown training loss where a function of the user's trains.
        """
        values: list[float | None] = []
        for evaluation in (network.best, network.end):
            values += [evaluation.validation, evaluation.test, evaluation.scores[self.selection]]
            if self.trains_itself or evaluation.train is None or not math.isnan(evaluation.train):
                values.append(evaluation.train)
        return all(value is not None and math.isfinite(value) for value in values)

    def _is_late(self, network: TrainedNetwork) -> bool:
        epochs = self.plan.epochs
        if self.trains_itself:
            return network.best_epoch > _LAST_EPOCHS * epochs
        epochs = len(network.curves.validation)  # as many as the training function reported; nothing is known of one
        return epochs > 1 and network.best_epoch > _LAST_EPOCHS * epochs

    @property
    def trains_itself(self) -> bool:
        """True where the study trained the networks, false where a function of the user's did."""
        return self.plan.own is None or self.plan.own.trains_itself

    def is_budget_limited(self, chosen: Sequence[int]) -> bool:
        """Whether the chosen setting was still improving on most splits when the budget ended."""
        return self.late_splits(chosen) > len(self.splits) / 2

    @property
    def metrics(self) -> list[str]:
        """Names of all scores."""
        return list(self.splits[0][self.settings[0]].best.scores)

    def least_loss(self, settings: Iterable[int]) -> int:
        """The setting of least mean validation loss at the best epoch, over all splits."""
        return min(settings, key=lambda s: float(self.losses(s, "best", "validation").mean()))

    def spread(self, values: Array, part: Part = "test") -> Spread:
        """Mean over splits and its standard error, of ``(splits,)`` values in the order of :attr:`splits`.

        Values ``(seeds, examples)`` of a given test set vary with both: :func:`crossed`. Folds of a repeat share no
        test row, but they share training and validation rows: for those the correlation of Nadeau & Bengio is assumed.
        """
        if values.ndim == 2:
            return crossed(values, self.clusters)
        if part == "test":
            return resampled(values.reshape(self.repeats, -1))
        return nadeau_bengio(values[np.isfinite(values)], VALIDATION / (1 - VALIDATION))

    def conservative_spread(self, values: Array) -> Spread:
        """The same with the correlation of Nadeau & Bengio, which is too large for cross-validation."""
        if values.ndim == 2:
            return crossed(values, self.clusters)
        return nadeau_bengio(values, self.test_train_ratio)

    def interval(self, values: Array, part: Part = "test") -> Interval:
        """Mean over the splits, all of which have a value, with its interval."""
        return self.spread(values, part).interval()

    def optional_interval(self, values: Array, part: Part = "test") -> OptionalInterval:
        """Mean over the splits that have a value; None where fewer than two of a repeat have one."""
        known = np.isfinite(values).reshape(1 if self.has_given_test else self.repeats, -1).sum(1)
        if known.max() < 2:
            return OptionalInterval(mean=None, low=None, high=None)
        interval = self.spread(values, part).interval()
        return OptionalInterval(mean=interval.mean, low=interval.low, high=interval.high)

    def score_interval(self, chosen: Sequence[int], reading: Reading, metric: str) -> OptionalInterval:
        """Mean test score of the setting chosen on each split, with its interval: that of seeds and test examples.

        On a given test set a score besides the one that selects has one where samples of the test set were drawn.
        """
        values = self.scores(chosen, reading, metric)
        if not self.has_given_test or metric == self.selection:
            return self.optional_interval(values)
        if not np.isfinite(values).all():
            return OptionalInterval(mean=None, low=None, high=None)
        kept = [split[s].drawn_scores for split, s in zip(self.splits, chosen, strict=True)]
        drawn = [scores.values(reading, metric) for scores in kept if scores is not None]
        draws = [values for values in drawn if values is not None]
        units = self.plan.network_design.test_examples if self.clusters is None else len(np.unique(self.clusters))
        try:
            interval = crossed_draws(values, draws, units).interval() if len(draws) == len(values) else None
        except InputError:  # hardly a draw holds all classes
            interval = None
        if interval is None:
            return OptionalInterval(mean=float(values.mean()), low=None, high=None)
        return OptionalInterval(mean=interval.mean, low=interval.low, high=interval.high)

    @property
    def baseline(self) -> str:
        """The reference arm of charts: ``none`` if trained, otherwise that of the first comparison."""
        references = [q.against for q in sorted(self.plan.questions, key=lambda q: not q.primary)]
        return next(name for name in ("none", *references, *self.arms) if name in self.arms)


def _loss(evaluation: Evaluation, part: Part) -> float:
    """The loss on these rows; NaN where the network diverged."""
    loss = {"train": evaluation.train, "validation": evaluation.validation, "test": evaluation.test}[part]
    return math.nan if loss is None else loss
