"""Which rows train, validate and test: dealt at random by class, by groups that stay together, or by time."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold, train_test_split

from thinned.errors import InputError, sentence
from thinned.studies.design.plan import Plan
from thinned.studies.design.streams import stream
from thinned.studies.table.load import Table
from thinned.studies.table.names import quote

__all__ = ["VALIDATION", "Split", "make_splits", "refit_parts", "test_share"]

Rows = npt.NDArray[np.int64]
#: fraction of the rows outside the test fold that validate
VALIDATION = 0.2
_MANY = 2000  # groups that are dealt by number alone: so many are alike in size and classes, and greed takes minutes


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


def make_splits(plan: Plan, table: Table) -> list[Split]:
    """The outer folds of each repeat, each with a validation fifth of the rows that are not tested.

    - Without groups and times: folds stratified by class. Every repeat shuffles anew, so that the spread over repeats
      holds the noise of the split as well as that of initialisation and data order (Bouthillier et al. 2021).
    - ``plan.group``: no group is in two of the three sets; folds as even in rows and classes as the groups allow.
      Every repeat deals them anew.
    - ``plan.time``: rows in the order of time are cut into folds + 1 stretches of nearly equal length. Fold i tests on
      stretch i + 1, trains on the older four fifths of all before it and validates on the rest. Rows of one time
      stay together. There is one such order: repeats have the same rows, and differ in initial weights, data order
      and masks.

    Raises:
        InputError: groups or times are too few, or a set would be empty or without a class.
    """
    splits = []
    for repeat in range(plan.seeds):
        if table.groups is not None:
            splits += _grouped(plan, _classes(table), table.groups, repeat)
        elif table.times is not None:
            splits += _timed(plan, table.times, repeat)
        else:
            splits += _shuffled(plan, _classes(table), repeat)
    for split in splits:
        _check(split, plan, table)
    return splits


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
        cut = _cut(starts, 0, rows, (1 - VALIDATION) * rows, table.time)
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


def _shuffled(plan: Plan, classes: Rows | None, repeat: int) -> list[Split]:
    state = int(stream(plan.seed, "split", repeat).integers(2**31))
    make = KFold if classes is None else StratifiedKFold
    splits = []
    for fold, (rest, test) in enumerate(
        make(plan.folds, shuffle=True, random_state=state).split(np.zeros(plan.rows), classes)
    ):
        train, validation = train_test_split(
            rest, test_size=VALIDATION, random_state=state + 1 + fold, stratify=_strata(classes, rest)
        )
        train, validation = _with_every_class(train, validation, rest, classes)
        splits.append(Split(repeat, fold, train, validation, test))
    return splits


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


def _grouped(plan: Plan, classes: Rows | None, groups: Rows, repeat: int) -> list[Split]:
    least = max(plan.folds, 3)
    if len(np.unique(groups)) < least:
        value = f"{_grouped_by(plan)} has {len(np.unique(groups))}"
        remedy = "use fewer folds, or group by another column"
        raise InputError(sentence(f"{plan.folds} folds need at least {least} groups", value, remedy))
    state = int(stream(plan.seed, "split", repeat).integers(2**31))
    shuffle = stream(plan.seed, "split", repeat, "order").permutation
    splits = []
    for fold, (rest, test) in enumerate(_deal(groups, classes, plan.folds, state)):
        own = groups[rest]
        parts = min(round(1 / VALIDATION), len(np.unique(own)))
        if parts < 2:
            value = f"all rows that fold {fold + 1} does not test are of one group of {_grouped_by(plan)}"
            raise InputError(sentence("training and validation need groups of their own", value, "use more folds"))
        train, validation = _deal(own, None if classes is None else classes[rest], parts, state + 1 + fold)[0]
        # in a new order, since the training loss is measured on the first of the training rows
        splits.append(Split(repeat, fold, shuffle(rest[train]), rest[validation], test))
    return splits


def _grouped_by(plan: Plan) -> str:
    return "the table without copies" if plan.group is None else f"column {quote(plan.group)}"


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


def _timed(plan: Plan, times: Rows, repeat: int) -> list[Split]:
    order, starts = _order(times)
    stretch = plan.rows / (plan.folds + 1)
    cuts = [0]
    for fold in range(plan.folds):
        cuts.append(_cut(starts, cuts[-1], plan.rows, (fold + 1) * stretch, plan.time))
    cuts.append(plan.rows)
    splits = []
    for fold, (begin, end) in enumerate(itertools.pairwise(cuts[1:])):
        middle = _cut(starts, 0, begin, (1 - VALIDATION) * begin, plan.time)
        train = stream(plan.seed, "split", 0, fold).permutation(order[:middle])
        splits.append(Split(repeat, fold, train, order[middle:begin], order[begin:end]))
    return splits


def _order(times: Rows) -> tuple[Rows, Rows]:
    """Row numbers by time, and the positions among them at which a new time starts."""
    order = np.argsort(times, kind="stable")
    return order, np.flatnonzero(np.diff(times[order])) + 1


def _cut(starts: Rows, low: int, high: int, wanted: float, column: str | None) -> int:
    """The position nearest to ``wanted``, strictly between ``low`` and ``high``, at which a new time starts."""
    between = starts[(starts > low) & (starts < high)]
    if not len(between):
        value = f"too many rows of column {quote(column)} have the same time"
        remedy = "use fewer folds, or a column of finer times"
        raise InputError(sentence("train, validation and test rows must lie at different times", value, remedy))
    return int(between[np.abs(between - wanted).argmin()])


def _classes(table: Table) -> Rows | None:
    return None if table.task == "regression" else table.target


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


def _check(split: Split, plan: Plan, table: Table) -> None:
    """Refuse a split by groups or time that can't be scored."""
    by, remedy = (
        (plan.time, "use fewer folds, or predict a class that occurs at all times")
        if plan.time
        else (plan.group, "use fewer folds, or group by another column")
    )
    if by is None and not plan.group_duplicates:
        return
    by_column = "without copies" if by is None else f"by column {quote(by)}"
    parts = {"training": split.train, "test": split.test}
    for name, rows in parts.items():
        if len(rows) < 2:
            value = f"fold {split.fold + 1} {by_column} has {len(rows)}"
            raise InputError(sentence(f"a fold needs at least two {name} rows", value, remedy))
        absent = np.setdiff1d(np.arange(len(table.classes)), table.target[rows] if table.classes else [])
        if len(absent):
            value = f"fold {split.fold + 1} {by_column} has none of {quote(table.classes[absent[0]])}"
            raise InputError(sentence(f"the {name} rows of each fold must hold each class", value, remedy))
