"""scikit-learn estimators: :class:`ThinnedClassifier` and :class:`ThinnedRegressor`.

They fit the networks of a study: several are trained, each stops by validation rows of its own and keeps its best epoch
on them, and predictions are averaged. ``pip install 'thinned[study]'`` installs what they need.
"""

import operator
from collections.abc import Sequence
from typing import Any, Literal, Self, TypeVar, cast

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import assert_all_finite, check_random_state, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from thinned.errors import InputError, sentence
from thinned.studies.design.budget import choose_budget
from thinned.studies.design.options import StudyOptions
from thinned.studies.design.setting import Setting
from thinned.studies.design.splits import VALIDATION
from thinned.studies.model import model
from thinned.studies.model.unlike_study import UnlikeStudyWarning
from thinned.studies.table.load import LARGEST, Table, Task, read_frame
from thinned.studies.table.settle import settle
from thinned.studies.training.config import TrainingConfig

__all__ = ["ThinnedClassifier", "ThinnedRegressor", "UnlikeStudyWarning"]

Value = TypeVar("Value")
Rows = object  # a data frame of pandas or polars, or an array
Target = npt.NDArray[np.generic]

# A few hundred rows make few steps an epoch, and Adam's are small: what an epoch counts for elsewhere takes many there.
_PATIENT_EPOCHS, _PATIENT_STEPS = 10, 800


class _Thinned(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Parameters of both estimators, and fitting a network with them."""

    def __init__(
        self,
        *,
        dropout: float = 0.2,
        where: Literal["input", "first", "last", "hidden", "output"] = "hidden",
        weight_decay: float = 0.0,
        max_norm: float | None = None,
        batch_norm: Literal["before", "after"] | None = None,
        embedding: Literal["piecewise"] | None = None,
        hidden: Sequence[int] | None = None,
        epochs: int | None = None,
        batch_size: int | None = None,
        learning_rate: float = 1e-3,
        patience: int | None = None,
        members: int = 5,
        random_state: int | np.random.RandomState | None = None,
        n_jobs: int | None = None,
    ) -> None:
        self.dropout = dropout
        self.where = where
        self.weight_decay = weight_decay
        self.max_norm = max_norm
        self.batch_norm = batch_norm
        self.embedding = embedding
        self.hidden = hidden
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.patience = patience
        self.members = members
        self.random_state = random_state
        self.n_jobs = n_jobs

    def __sklearn_tags__(self) -> Any:  # the tags of scikit-learn, which has no types
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def _rows(self, X: Rows, *, reset: bool) -> pd.DataFrame:  # noqa: N803 (scikit-learn's name for it)
        """Rows as a data frame; a given frame keeps the types of its columns, an array must hold numbers."""
        if hasattr(X, "columns"):
            validate_data(self, X, reset=reset, skip_check_array=True)
            return read_frame(X)
        values = validate_data(self, X, reset=reset, dtype="numeric", ensure_all_finite="allow-nan")
        return pd.DataFrame(values, columns=[f"x{i}" for i in range(values.shape[1])])

    def _target(self, y: object, rows: int) -> Target:
        """The target as an array, checked to have one value for each row."""
        if y is None:
            # scikit-learn checks for these very words
            raise InputError(f"{type(self).__name__} requires y to be passed, but the target y is None")
        values: Target = column_or_1d(y, warn=True)
        assert_all_finite(values, input_name="y")
        if len(values) != rows:
            raise InputError(sentence("X and y must have the same number of rows", f"got {rows} and {len(values)}"))
        if rows < 2:
            raise InputError(sentence("fitting needs at least 2 rows", f"got n_samples={rows}"))
        return values

    def _fit(self, frame: pd.DataFrame, target: Target, task: Task, classes: tuple[str, ...]) -> Self:
        """Fit ``model_`` with the parameters of this estimator."""
        setting = Setting(
            dropout=self.dropout,
            where=self.where,
            weight_decay=self.weight_decay,
            max_norm=self.max_norm,
            batch_norm=self.batch_norm,
            embedding=self.embedding,
        )
        settled = settle(frame)
        table = Table(
            settled.features,
            target,
            task,
            classes,
            target_name="y",
            name="data frame",
            sha256="",
            readings=settled.readings,
        )
        members = _python_int(self.members)
        if type(members) is not int or members < 1:
            raise InputError(sentence("members must be a whole number of at least 1", f"got {members!r}"))
        jobs = _python_int(self.n_jobs)
        if jobs is not None and (type(jobs) is not int or jobs == 0):
            raise InputError(sentence("n_jobs must be a whole number other than 0, or None", f"got {jobs!r}"))
        config = self._config(setting, task, len(target))
        self.model_ = model.fit(table, config, setting, members=members, jobs=jobs)
        return self

    def _config(self, setting: Setting, task: Task, rows: int) -> TrainingConfig:
        """The configuration of training, with what the user left open chosen by the number of rows."""
        counts = {name: _python_int(getattr(self, name)) for name in ("epochs", "batch_size")}
        hidden = None if self.hidden is None else tuple(map(_python_int, self.hidden))
        StudyOptions(hidden=hidden, learning_rate=self.learning_rate, **counts)  # checks them
        budget = choose_budget(rows, int(rows * (1 - VALIDATION) * (1 - VALIDATION)), hidden, **counts)
        steps = max(1, int(rows * (1 - VALIDATION)) // budget.batch_size)  # of an epoch
        patience = _python_int(self.patience)
        if patience is None:
            patience = max(_PATIENT_EPOCHS, -(-_PATIENT_STEPS // steps))
        elif type(patience) is not int or patience < 1:
            raise InputError(sentence("patience must be a whole number of at least 1", f"got {patience!r}"))
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        return TrainingConfig(
            task=task,
            settings=(setting,),
            learning_rate=self.learning_rate,
            seed=seed,
            patience=patience,
            **budget._asdict(),
        )


class ThinnedClassifier(ClassifierMixin, _Thinned):  # type: ignore[misc]
    """Classifier: a multilayer perceptron with dropout.

    Adam trains ``members`` networks of linear, ReLU and dropout layers. Each network holds out a different fifth of the
    rows (with more than five members, a different part of that many), stops when it gets no better on them, and keeps
    its best epoch; predictions are averaged. A data frame may hold numbers, categories, text, dates and missing values:
    the encoding of a study is fitted with the networks. An array must hold numbers, or NaN for missing values.

    Args:
        dropout: rate, in [0, 1).
        where: layers with dropout: "hidden" (all hidden layers), their "first" or "last", "input" or "output".
        weight_decay: decay of weight matrices, decoupled from the gradient (AdamW).
        max_norm: largest norm of a hidden unit's incoming weights; None is no limit.
        batch_norm: position of dropout around batch norm on the hidden layers, "before" or "after" it; None is no
            batch norm.
        embedding: "piecewise" adds the piecewise-linear encoding of numbers (Gorishniy et al. 2022).
        hidden: widths of the hidden layers; None takes two of the power of two nearest to √rows, from 16 to 256.
        epochs: most epochs of training; None takes 50, fewer from 5,000 training rows on, but at least 5,000 steps.
        batch_size: rows of a step; None takes about a hundredth of the training rows, from 16 to 512.
        learning_rate: learning rate of Adam.
        patience: a network's training stops after so many epochs without a lower loss on the rows that it holds out
            (scikit-learn's ``n_iter_no_change``); None takes 10, but at least 800 steps.
        members: number of networks.
        random_state: as in all of scikit-learn; an int makes fits repeat bit for bit.
        n_jobs: number of processes, as in all of scikit-learn. Members whose parts of the rows are equal in size share
            a process and its threads; those of different sizes are fitted at a time. No number depends on it.

    Attributes:
        model_: the fitted :class:`thinned.studies.model.Model`, for uncertainties, intervals and ONNX.
        n_features_in_: number of columns.
        feature_names_in_: names of the columns, where the rows had names.
        classes_: the classes, sorted.

    Example:
        >>> from sklearn.datasets import load_iris
        >>> from thinned.estimators import ThinnedClassifier
        >>> X, y = load_iris(return_X_y=True)
        >>> ThinnedClassifier(hidden=(16,), epochs=30, learning_rate=0.01, random_state=0).fit(X, y).score(X, y) > 0.9
        True
    """

    def fit(self, X: Rows, y: object) -> Self:  # noqa: N803
        """Fit to rows and their classes.

        Args:
            X: data frame (pandas or polars), or array of numbers, ``(rows, columns)``.
            y: classes of any type that can be sorted, ``(rows,)``; at least two.

        Raises:
            InputError: a parameter, a column or the target cannot be used; a ``ValueError``.
        """
        frame = self._rows(X, reset=True)
        target = self._target(y, len(frame))
        check_classification_targets(target)
        self.classes_, codes = np.unique(target, return_inverse=True)
        if len(self.classes_) < 2:
            raise InputError(sentence("a classifier needs at least two classes", "y has one class only"))
        task: Task = "binary" if len(self.classes_) == 2 else "multiclass"
        return self._fit(frame, codes.astype(np.int64), task, tuple(map(str, self.classes_)))

    def predict_proba(self, X: Rows) -> npt.NDArray[np.float64]:  # noqa: N803
        """Probabilities, ``(rows, classes)``, in the order of ``classes_``."""
        check_is_fitted(self)
        return self.model_.predict(self._rows(X, reset=False))

    def predict(self, X: Rows) -> Target:  # noqa: N803
        """The most probable class, ``(rows,)``."""
        probability = self.predict_proba(X)
        return np.asarray(self.classes_[probability.argmax(axis=1)])


class ThinnedRegressor(RegressorMixin, _Thinned):  # type: ignore[misc]
    """Regressor: a multilayer perceptron with dropout.

    Parameters and fitted attributes are those of :class:`ThinnedClassifier`, except ``classes_``. Members stop
    by the squared error on the standardised target, and keep the epoch of the smallest.

    Example:
        >>> from sklearn.datasets import load_diabetes
        >>> from thinned.estimators import ThinnedRegressor
        >>> X, y = load_diabetes(return_X_y=True)
        >>> ThinnedRegressor(hidden=(16,), epochs=30, learning_rate=0.01, random_state=0).fit(X, y).score(X, y) > 0.4
        True
    """

    def fit(self, X: Rows, y: object) -> Self:  # noqa: N803
        """Fit to rows and their values.

        Args:
            X: data frame (pandas or polars), or array of numbers, ``(rows, columns)``.
            y: values, ``(rows,)``, within ±1e30.

        Raises:
            InputError: a parameter, a column or the target cannot be used; a ``ValueError``.
        """
        frame = self._rows(X, reset=True)
        target = self._target(y, len(frame)).astype(np.float64)
        largest = float(np.abs(target).max())
        if largest > LARGEST:
            raise InputError(sentence(f"y must lie within ±{LARGEST:g}", f"got {largest:g}", "change its unit"))
        return self._fit(frame, target, "regression", ())

    def predict(self, X: Rows) -> npt.NDArray[np.float64]:  # noqa: N803
        """The predicted value, ``(rows,)``."""
        check_is_fitted(self)
        return self.model_.predict(self._rows(X, reset=False))


def _python_int(value: Value) -> Value:
    """Python's integer for one of NumPy's, which a search over parameters gives; any other value as it is."""
    return cast("Value", operator.index(value)) if isinstance(value, np.integer) else value
