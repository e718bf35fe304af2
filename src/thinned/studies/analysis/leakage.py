"""How much of the target a single column tells, and how little can be known without any."""

from collections.abc import Iterator

import numpy as np
from scipy.special import entr
from sklearn.metrics import r2_score, roc_auc_score
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from thinned.errors import InputError
from thinned.studies.table.encoding import Encoder
from thinned.studies.table.load import Table

__all__ = ["chance", "telling_columns"]

_TELLING = 0.99
_ROWS = 20_000  # looked at
_LEAF = 3  # rows: a tree with smaller leaves repeats single rows


def telling_columns(table: Table) -> Iterator[tuple[str, float]]:
    """Columns from each of which a decision tree predicts the target on held-out rows with ROC-AUC or R² above 0.99.

    The tree sees the column as the networks do, is grown on one half of the rows (of at most 20,000) and scored on the
    other.
    """
    order = np.random.default_rng(0).permutation(len(table.target))[:_ROWS]
    grown, scored = np.array_split(order, 2)
    if table.task != "regression" and len({*table.target[grown]} & {*table.target[scored]}) < len(table.classes):
        return  # a class too rare to be in both halves
    for name in table.features.columns:
        column = table.features[[name]]
        try:
            encoder = Encoder(readings=table.readings).fit(column.iloc[grown])
        except InputError:  # it has the same value in all of these rows
            continue
        x, unseen = encoder.transform(column.iloc[grown]), encoder.transform(column.iloc[scored])
        value = _held_out(table, x, unseen, grown, scored)
        if value > _TELLING:
            yield str(name), value


def _held_out(
    table: Table,
    x: np.ndarray,
    unseen: np.ndarray,
    grown: np.ndarray,
    scored: np.ndarray,
) -> float:
    if table.task == "regression":
        regressor = DecisionTreeRegressor(min_samples_leaf=_LEAF, random_state=0).fit(x, table.target[grown])
        return float(r2_score(table.target[scored], regressor.predict(unseen)))
    classifier = DecisionTreeClassifier(min_samples_leaf=_LEAF, random_state=0).fit(x, table.target[grown])
    probability = classifier.predict_proba(unseen)
    probability = probability[:, 1] if table.task == "binary" else probability
    return float(roc_auc_score(table.target[scored], probability, multi_class="ovr"))


def chance(table: Table) -> float:
    """Loss of the best constant prediction: the target's entropy in nats, or 1, the variance of a standardised one."""
    if table.task == "regression":
        return 1.0
    shares = np.bincount(table.target) / len(table.target)
    return float(entr(shares).sum())
