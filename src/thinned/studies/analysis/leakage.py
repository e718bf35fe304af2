"""Detection of leaking columns, and the loss of a constant prediction."""

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import entr
from sklearn.metrics import r2_score, roc_auc_score
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from thinned.errors import InputError
from thinned.studies.design.splits import Split
from thinned.studies.metrics import score
from thinned.studies.table.encoding import Encoder
from thinned.studies.table.load import Table

__all__ = ["LeakingColumn", "baseline_loss", "leaking_columns", "lookup_score"]

_LEAKING = 0.99
_MOST_ROWS = 20_000
_LEAF_ROWS = 3  # a tree with smaller leaves repeats single rows


class LeakingColumn(NamedTuple):
    """A column that predicts the target by itself, with its held-out ROC-AUC or R²."""

    name: str
    score: float


def leaking_columns(table: Table) -> Iterator[LeakingColumn]:
    """Columns from which a decision tree predicts the target on held-out rows with ROC-AUC or R² above 0.99.

    The tree takes the column encoded as for the networks. It is grown on one half of the rows (of at most 20,000) and
    scored on the other half. The ROC-AUC of several classes is that of each class against the others, a mean weighted
    by the rows of the class: a rare class that nothing predicts hides no column that gives the others away. A class too
    rare to be in both halves takes no part.
    """
    order = np.random.default_rng(0).permutation(len(table.target))[:_MOST_ROWS]
    grown, scored = np.array_split(order, 2)
    if table.task != "regression" and len({*table.target[grown]} & {*table.target[scored]}) < 2:
        return
    for name in table.features.columns:
        column = table.features[[name]]
        try:
            encoder = Encoder(readings=table.readings).fit(column.iloc[grown])
        except InputError:  # the column has the same value in all of these rows
            continue
        x, held_out = encoder.transform(column.iloc[grown]), encoder.transform(column.iloc[scored])
        column_score = _held_out_score(table, x, held_out, grown, scored)
        if column_score > _LEAKING:
            yield LeakingColumn(str(name), column_score)


def _held_out_score(
    table: Table,
    x: npt.NDArray[np.floating],
    held_out: npt.NDArray[np.floating],
    grown: npt.NDArray[np.integer],
    scored: npt.NDArray[np.integer],
) -> float:
    if table.task == "regression":
        regressor = DecisionTreeRegressor(min_samples_leaf=_LEAF_ROWS, random_state=0).fit(x, table.target[grown])
        return float(r2_score(table.target[scored], regressor.predict(held_out)))
    classifier = DecisionTreeClassifier(min_samples_leaf=_LEAF_ROWS, random_state=0).fit(x, table.target[grown])
    of_class = dict(zip(classifier.classes_, classifier.predict_proba(held_out).T, strict=True))
    truth = table.target[scored]
    common = sorted(of_class.keys() & {*truth})
    aucs = [float(roc_auc_score(truth == label, of_class[label])) for label in common]
    return float(np.average(aucs, weights=[(truth == label).sum() for label in common]))


def lookup_score(
    table: Table, codes: npt.NDArray[np.int64], splits: Sequence[Split]
) -> tuple[float, Literal["roc_auc", "r2"]]:
    """Score a prediction by lookup: a test row gets the mean target of its copies outside the test fold.

    Args:
        table: the studied table.
        codes: number of each distinct row; copies have the same, ``(rows,)``.
        splits: the splits of the study.

    Returns:
        ROC-AUC or R², mean over the splits, and the name of the score. A row without a copy gets the mean of all.
    """
    regression = table.task == "regression"
    truth = table.target.reshape(-1, 1).astype(float) if regression else np.eye(len(table.classes))[table.target]
    name: Literal["roc_auc", "r2"] = "r2" if regression else "roc_auc"
    scores = []
    for split in splits:
        rows = np.concatenate([split.train, split.validation])
        known, positions = np.unique(codes[rows], return_inverse=True)
        sums = np.zeros((len(known), truth.shape[1]))
        np.add.at(sums, positions.reshape(-1), truth[rows])
        means = sums / np.bincount(positions.reshape(-1))[:, None]
        nearest = np.minimum(np.searchsorted(known, codes[split.test]), len(known) - 1)
        is_known = (known[nearest] == codes[split.test])[:, None]
        predicted = np.where(is_known, means[nearest], truth[rows].mean(axis=0))
        values = predicted[:, 0] if regression else predicted
        scores.append(score(table.task, values, table.target[split.test], len(table.classes))[name])
    return float(np.nanmean(scores)), name


def baseline_loss(table: Table) -> float:
    """Loss of the best constant prediction: the target's entropy in nats, or 1, the variance of a standardised one."""
    if table.task == "regression":
        return 1.0
    shares = np.bincount(table.target) / len(table.target)
    return float(entr(shares).sum())
