"""Which rows train, validate and test: dealt at random by class, by groups that stay together, or by time."""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold, train_test_split

from thinned.errors import InputError, sentence
from thinned.studies.design.plan import Plan
from thinned.studies.design.streams import stream
from thinned.studies.table.load import Table
from thinned.studies.table.names import quote

__all__ = ["VALIDATION", "Split", "SplitData", "ValidationDeal", "halves", "make_splits", "refit_parts", "test_share"]

Rows = npt.NDArray[np.int64]
#: fraction of the rows outside the test fold that validate
VALIDATION = 0.2
_MANY = 2000  # groups that are dealt by number alone: so many are alike in size and classes, and greed takes minutes


class SplitData(Protocol):
    """The properties of a table, or of a set of examples, that splits follow from."""

    @property
    def task(self) -> str:
        """The rows of "binary" and "multiclass" are dealt by class."""
        ...

    @property
    def classes(self) -> Sequence[str]:
        """Names of the classes; empty where there are none."""
        ...

    @property
    def target(self) -> npt.NDArray[Any]:
        """Class codes, or values, ``(rows,)``."""
        ...

    @property
    def groups(self) -> Rows | None:
        """Number of the group of each row, whose rows stay together."""
        ...

    @property
    def times(self) -> Rows | None:
        """Place of each row in time."""
        ...


class Split(NamedTuple):
    """Row numbers of one outer fold of one repeat; the three sets are disjoint."""

    repeat: int
    fold: int
    train: Rows
    validation: Rows
    test: Rows

    def first(self, size: int) -> "Split":
        """The same with so many training rows only; 0 leaves all."""
        return self._replace(train=self.train[:size]) if size else self


def make_splits(plan: Plan, data: SplitData, tested: Rows | None = None) -> list[Split]:
    """The outer folds of each repeat, each with a validation fifth of the rows that are not tested.

    - Without groups and times: folds stratified by class. Every repeat shuffles anew, so that the spread over repeats
      holds the noise of the split as well as that of initialisation and data order (Bouthillier et al. 2021).
    - ``plan.group``: no group is in two of the three sets; folds as even in rows and classes as the groups allow.
      Every repeat deals them anew.
    - ``plan.time``: rows in the order of time are cut into folds + 1 stretches of nearly equal length. Fold i tests on
      stretch i + 1, trains on the older four fifths of all before it and validates on the rest. Rows of one time
      stay together. There is one such order: repeats have the same rows, and differ in initial weights, data order
      and masks.

    Args:
        plan: folds, repeats and seed.
        data: a table, or a set of examples.
        tested: the rows that test folds are cut from; None takes all. By time they are the latest, cut into as many
            stretches as there are folds.

    Raises:
        InputError: groups or times are too few, or a set would be empty or without a class.
    """
    splits = []
    for repeat in range(plan.seeds):
        deal = ValidationDeal(plan, data, repeat)
        for fold, (rest, test) in enumerate(_test_folds(plan, data, repeat, tested)):
            splits.append(Split(repeat, fold, *deal(rest, fold), test))
    for split in splits:
        _check(split, plan, data)
    return splits


def halves(data: SplitData, seed: int) -> tuple[Rows, Rows]:
    """Divide the rows once into two halves, each class in both; groups stay whole, and by time the first is earlier.

    Args:
        data: a set of examples.
        seed: seed of the study.

    Raises:
        InputError: there is one group, or all rows have the same time.
    """
    rows, classes = len(data.target), _classes(data)
    state = int(stream(seed, "halves").integers(2**31))
    if data.groups is not None:
        if len(np.unique(data.groups)) < 2:
            raise InputError(sentence("a pilot and a confirmation need groups of their own", "there is one group"))
        return _deal(data.groups, classes, 2, state)[0]
    if data.times is not None:
        order, starts = _order(data.times)
        middle = _cut(starts, 0, rows, rows / 2, "time=")
        return order[:middle], order[middle:]
    strata = None if classes is None else _enough(classes, 2)
    first, second = train_test_split(np.arange(rows), test_size=0.5, random_state=state, stratify=strata)
    return np.sort(first), np.sort(second)


def test_share(splits: Sequence[Split]) -> float:
    """n_test / n_train of the corrected resampled t, mean over the splits; validation rows count as training rows."""
    return float(np.mean([len(s.test) / (len(s.train) + len(s.validation)) for s in splits]))


def refit_parts(table: Table, seed: int, members: int) -> list[tuple[Rows, Rows]]:
    """For each member of the final model, the rows that train it and those that stop it early.

    Each member holds out another part of the rows, or of the groups. By time, all hold out the latest fifth.

    Args:
        table: the rows.
        seed: seed of the study.
        members: number of networks; there are fewer where the groups or the rows are too few.
    """
    rows = len(table.target)
    state = int(stream(seed, "refit").integers(2**31))
    if table.times is not None:
        order, starts = _order(table.times)
        cut = _cut(starts, 0, rows, (1 - VALIDATION) * rows, f"column {quote(table.time)}")
        return [(order[:cut], order[cut:])] * members
    if table.groups is not None:
        number = min(members, len(np.unique(table.groups)))
        shuffle = stream(seed, "refit", "order").permutation
        parts = _deal(table.groups, _classes(table), number, state)
        return [(shuffle(train), shuffle(stopping)) for train, stopping in parts]
    classes = _classes(table)
    most = rows if classes is None else int(np.bincount(classes).max())
    number = max(2, min(members, most))
    make = KFold if classes is None or most < 2 else StratifiedKFold
    strata = None if classes is None else _enough(classes, number)
    everything = np.arange(rows)
    parts = list(make(number, shuffle=True, random_state=state).split(everything, strata))
    least = min(len(train) for train, _ in parts), min(len(stopping) for _, stopping in parts)
    # of one length, so that all members are one batched program
    return [
        _with_every_class(train[: least[0]], stopping[: least[1]], everything, classes) for train, stopping in parts
    ]


def _test_folds(plan: Plan, data: SplitData, repeat: int, tested: Rows | None) -> list[tuple[Rows, Rows]]:
    """For each fold, the rows that may train and validate, and those that are tested."""
    everything = np.arange(plan.rows)
    if data.times is not None and data.groups is None:
        return _timed_folds(plan, data.times, 0 if tested is None else plan.rows - len(tested))
    rows, classes, state = everything if tested is None else tested, _classes(data), _state(plan, repeat)
    strata = None if classes is None else classes[rows]
    if data.groups is not None:
        _check_groups(plan, data.groups[rows])
        folds = [test for _, test in _deal(data.groups[rows], strata, plan.folds, state)]
    else:
        if strata is not None and tested is not None:
            strata = _enough(strata, plan.folds)
        make = KFold if strata is None else StratifiedKFold
        folds = [test for _, test in make(plan.folds, shuffle=True, random_state=state).split(rows, strata)]
    return [(np.setdiff1d(everything, rows[fold], assume_unique=True), rows[fold]) for fold in folds]


def _timed_folds(plan: Plan, times: Rows, begin: int) -> list[tuple[Rows, Rows]]:
    order, starts = _order(times)
    stretch = (plan.rows - begin) / (plan.folds + (begin == 0))
    cuts = [begin] if begin else []
    for fold in range(len(cuts), plan.folds):
        low, wanted = (cuts[-1], begin + fold * stretch) if begin else (cuts[-1] if cuts else 0, (fold + 1) * stretch)
        cuts.append(_cut(starts, low, plan.rows, wanted, _source(plan, plan.time)))
    return [(order[:start], order[start:end]) for start, end in itertools.pairwise([*cuts, plan.rows])]


def _state(plan: Plan, repeat: int) -> int:
    return int(stream(plan.seed, "split", repeat).integers(2**31))


class ValidationDeal:
    """Deals rows that are not tested into those that train and those that validate.

    Args:
        plan: seed, and names in messages.
        data: a table, or a set of examples.
        repeat: number of the repeat; another one deals anew, but for rows in the order of time.
    """

    def __init__(self, plan: Plan, data: SplitData, repeat: int) -> None:
        self._plan, self._data, self._state = plan, data, _state(plan, repeat)
        self._classes = _classes(data)
        self._shuffle = stream(plan.seed, "split", repeat, "order").permutation

    def __call__(self, rows: Rows, fold: int = 0) -> tuple[Rows, Rows]:
        """Training and validation rows.

        Raises:
            InputError: groups or times are too few.
        """
        if self._data.groups is not None:
            return self._by_group(self._data.groups, rows, fold)
        if self._data.times is not None:
            order, starts = _order(self._data.times[rows])
            middle = _cut(starts, 0, len(rows), (1 - VALIDATION) * len(rows), _source(self._plan, self._plan.time))
            older, latest = rows[order[:middle]], rows[order[middle:]]
            return stream(self._plan.seed, "split", 0, fold).permutation(older), latest
        train, validation = train_test_split(
            rows,
            test_size=VALIDATION,
            random_state=self._state + 1 + fold,
            stratify=_strata(self._classes, rows),
        )
        return _with_every_class(train, validation, rows, self._classes)

    def _by_group(self, groups: Rows, rows: Rows, fold: int) -> tuple[Rows, Rows]:
        own, classes = groups[rows], self._classes
        parts = min(round(1 / VALIDATION), len(np.unique(own)))
        if parts < 2:
            value = f"all rows that fold {fold + 1} does not test are of one group of {_grouped_by(self._plan)}"
            raise InputError(sentence("training and validation need groups of their own", value, "use more folds"))
        strata = None if classes is None else classes[rows]
        train, validation = _deal(own, strata, parts, self._state + 1 + fold)[0]
        # in a new order, since the training loss is measured on the first of the training rows
        return self._shuffle(rows[train]), rows[validation]


def _with_every_class(train: Rows, validation: Rows, rows: Rows, classes: Rows | None) -> tuple[Rows, Rows]:
    """Exchange rows so that every class of ``rows`` is in the training rows; one row of a rare class is enough."""
    if classes is None:
        return train, validation
    train, validation = train.copy(), validation.copy()
    for code in np.setdiff1d(classes[rows], classes[train]):
        frequent = int(np.bincount(classes[train]).argmax())
        position = np.flatnonzero(classes[train] == frequent)[0]
        row = rows[classes[rows] == code][0]
        validation[validation == row] = train[position]
        train[position] = row
    return train, validation


def _check_groups(plan: Plan, groups: Rows) -> None:
    least = max(plan.folds, 3)
    if len(np.unique(groups)) < least:
        value = f"{_grouped_by(plan)} has {len(np.unique(groups))}"
        remedy = "use fewer folds, or group by another column"
        raise InputError(sentence(f"{plan.folds} folds need at least {least} groups", value, remedy))


def _grouped_by(plan: Plan) -> str:
    return "the table without copies" if plan.group is None else _source(plan, plan.group)


def _source(plan: Plan, name: str | None) -> str:
    """Where groups or times come from: a column of the table, or an argument."""
    return f"column {quote(name)}" if plan.own is None else f"{name}="


def _deal(groups: Rows, classes: Rows | None, parts: int, state: int) -> list[tuple[Rows, Rows]]:
    """Deal groups into parts: for each part, the rows outside it and those in it."""
    strata = np.zeros(len(groups), dtype=np.int64) if classes is None else classes
    _, first, members = np.unique(groups, return_index=True, return_inverse=True)
    if len(first) > max(_MANY, len(groups) / 2) and (strata == strata[first][members.reshape(-1)]).all():
        # nearly all groups are single rows, as where copies stay together: they are dealt as rows are, by class
        make = StratifiedKFold(parts, shuffle=True, random_state=state)
        dealt = [part for _, part in make.split(first, _enough(strata[first], parts))]
        inside = [np.isin(members.reshape(-1), part) for part in dealt]
        return [(np.flatnonzero(~rows), np.flatnonzero(rows)) for rows in inside]
    # greedy: each group, the most uneven first, goes where it evens out most; of one class this evens out sizes
    make = StratifiedGroupKFold if len(np.unique(groups)) <= _MANY else GroupKFold
    return list(make(parts, shuffle=True, random_state=state).split(strata, _enough(strata, parts), groups))


def _enough(strata: Rows, parts: int) -> Rows:
    """Classes of fewer rows than parts as one with the most frequent: scikit-learn can't spread them, and warns."""
    counts = np.bincount(strata)
    return np.where(counts[strata] < parts, counts.argmax(), strata)


def _order(times: Rows) -> tuple[Rows, Rows]:
    """Row numbers by time, and the positions among them at which a new time starts."""
    order = np.argsort(times, kind="stable")
    return order, np.flatnonzero(np.diff(times[order])) + 1


def _cut(starts: Rows, low: int, high: int, wanted: float, name: str) -> int:
    """The position nearest to ``wanted``, strictly between ``low`` and ``high``, at which a new time starts."""
    between = starts[(starts > low) & (starts < high)]
    if not len(between):
        value = f"too many rows of {name} have the same time"
        remedy = "use fewer folds, or finer times"
        raise InputError(sentence("train, validation and test rows must lie at different times", value, remedy))
    return int(between[np.abs(between - wanted).argmin()])


def _classes(data: SplitData) -> Rows | None:
    return data.target if data.task in ("binary", "multiclass") else None


def _strata(classes: Rows | None, rows: Rows) -> Rows | None:
    """The classes of the rows; those too rare to be in both parts count as the most frequent one."""
    if classes is None:
        return None
    strata = _enough(classes[rows], 2)
    while len(codes := np.unique(strata)) > max(1, len(rows) * VALIDATION):
        counts = np.bincount(strata)
        rarest = codes[counts[codes].argmin()]
        strata = np.where(strata == rarest, counts.argmax(), strata)
    return strata if len(codes) > 1 else None


def _check(split: Split, plan: Plan, data: SplitData) -> None:
    """Refuse a split by groups or time that can't be scored."""
    by, remedy = (
        (plan.time, "use fewer folds, or predict a class that occurs at all times")
        if plan.time
        else (plan.group, "use fewer folds, or group by another column")
    )
    if by is None and not plan.group_duplicates:
        return
    by_column = "without copies" if by is None else f"by {_source(plan, by)}"
    parts = {"training": split.train, "test": split.test}
    for name, rows in parts.items():
        if len(rows) < 2:
            value = f"fold {split.fold + 1} {by_column} has {len(rows)}"
            raise InputError(sentence(f"a fold needs at least two {name} rows", value, remedy))
        absent = np.setdiff1d(np.arange(len(data.classes)), data.target[rows] if data.classes else [])
        if len(absent):
            value = f"fold {split.fold + 1} {by_column} has none of {quote(data.classes[absent[0]])}"
            raise InputError(sentence(f"the {name} rows of each fold must hold each class", value, remedy))
