"""scikit-learn estimators: networks with dropout as :class:`ThinnedClassifier` and :class:`ThinnedRegressor`.

They are the networks of a study: several (``members``), trained together as one batched program, each stopped early
by another fifth of the rows, and averaged. ``pip install 'thinned[study]'``.
"""

import math
import operator
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import assert_all_finite, check_consistent_length, check_random_state, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from thinned._checks import InputError, sentence
from thinned.studies import model
from thinned.studies.plan import make_plan
from thinned.studies.table import LARGEST, Table, Task, read_frame

__all__ = ["ThinnedClassifier", "ThinnedRegressor"]

_STEPS = 2000  # of training, at least, where ``epochs`` is None


class _Thinned(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """What both estimators share."""

    def __init__(
        self,
        *,
        dropout: float = 0.2,
        weight_decay: float = 0.0,
        hidden: Sequence[int] | None = None,
        epochs: int | None = None,
        batch_size: int | None = None,
        learning_rate: float = 1e-3,
        members: int = 5,
        random_state: Any = None,
    ) -> None:
        self.dropout = dropout
        self.weight_decay = weight_decay
        self.hidden = hidden
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.members = members
        self.random_state = random_state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def _rows(self, X: Any, *, reset: bool) -> pd.DataFrame:  # noqa: N803 (scikit-learn's name for it)
        """The rows as a frame: a data frame keeps its columns' types, anything else must be an array of numbers."""
        if hasattr(X, "columns"):
            validate_data(self, X, reset=reset, skip_check_array=True)
            return read_frame(X)
        values = validate_data(self, X, reset=reset, dtype="numeric", ensure_all_finite="allow-nan")
        return pd.DataFrame(values, columns=[f"x{i}" for i in range(values.shape[1])])

    def _target(self, y: Any, rows: int) -> npt.NDArray[Any]:
        if y is None:
            raise InputError(sentence(f"{type(self).__name__} requires y to be passed", "but the target y is None"))
        values = column_or_1d(y, warn=True)
        assert_all_finite(values, input_name="y")
        if len(values) != rows:
            raise InputError(sentence("X and y must have as many rows", f"got {rows} and {len(values)}"))
        if rows < 2:
            raise InputError(sentence("fitting needs at least 2 rows", f"got n_samples = {rows}"))
        return values

    def _fit(self, frame: pd.DataFrame, target: npt.NDArray[Any], task: Task, classes: tuple[str, ...]) -> Self:
        """Fit ``model_`` with the parameters of this estimator."""
        table = Table(frame, target, task, classes, "y", "data frame", "")
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        plan = make_plan(
            table,
            folds=5,
            seeds=1,
            hidden=None if self.hidden is None else tuple(self.hidden),
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            seed=seed,
        )
        import dataclasses
        import os
        if self.epochs is None:
            steps = len(target) * 0.8 // plan.batch_size
            plan = dataclasses.replace(plan, epochs=max(plan.epochs, math.ceil(int(os.environ.get("STEPS", 2000)) / steps)))
        self.model_ = model.fit(table, plan, self.dropout, members=self.members)
        return self


class ThinnedClassifier(ClassifierMixin, _Thinned):  # type: ignore[misc]
    """Classifier."""

    def fit(self, X: Any, y: Any) -> Self:  # noqa: N803
        frame = self._rows(X, reset=True)
        y = self._target(y, len(frame))
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise InputError(sentence("a classifier needs at least two classes", f"y has one class, {self.classes_[0]!r}"))
        task: Task = "binary" if len(self.classes_) == 2 else "multiclass"
        return self._fit(frame, codes.astype(np.int64), task, tuple(map(str, self.classes_)))

    def predict_proba(self, X: Any) -> npt.NDArray[np.float64]:  # noqa: N803
        check_is_fitted(self)
        return self.model_.predict(self._rows(X, reset=False))

    def predict(self, X: Any) -> npt.NDArray[Any]:  # noqa: N803
        check_is_fitted(self)
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


class ThinnedRegressor(RegressorMixin, _Thinned):  # type: ignore[misc]
    """Regressor."""

    def fit(self, X: Any, y: Any) -> Self:  # noqa: N803
        frame = self._rows(X, reset=True)
        y = self._target(y, len(frame)).astype(np.float64)
        return self._fit(frame, y, "regression", ())

    def predict(self, X: Any) -> npt.NDArray[np.float64]:  # noqa: N803
        check_is_fitted(self)
        return self.model_.predict(self._rows(X, reset=False))
