"""The scikit-learn estimators."""

import pickle
import re
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_diabetes, load_iris
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import thinned
from thinned.errors import InputError
from thinned.estimators import ThinnedClassifier, ThinnedRegressor, UnlikeStudyWarning
from thinned.studies.design.arm import Arm
from thinned.studies.design.make_plan import make_plan
from thinned.studies.design.setting import Setting
from thinned.studies.model import model
from thinned.studies.table.load import load
from thinned.studies.training import cohort, native_cohort
from thinned.studies.training.config import TrainingConfig

FAST: dict[str, Any] = {"hidden": (8,), "epochs": 10, "members": 2, "random_state": 0, "learning_rate": 1e-2}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@parametrize_with_checks([ThinnedClassifier(members=2, epochs=30), ThinnedRegressor(members=2, epochs=30)])
def test_scikit_learns_checks(estimator: Any, check: Any) -> None:
    """All of them; fewer networks and epochs than the defaults, for the time that 100 fits take."""
    check(estimator)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@parametrize_with_checks([ThinnedClassifier(), ThinnedRegressor()])
def test_scikit_learns_checks_with_the_defaults(estimator: Any, check: Any) -> None:
    check(estimator)


def frame() -> tuple[pd.DataFrame, pd.Series]:
    """Columns of many types, with missing values, and a target that they tell."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(120, 3))
    names = pd.Series(np.where(x[:, 1] > 0, "north", "south"))
    rows = pd.DataFrame(
        {
            "float32": x[:, 0].astype(np.float32),
            "int8": (10 * x[:, 1]).astype(np.int8),
            "bool": x[:, 2] > 0,
            "nullable": pd.array((10 * x[:, 2]).astype(int), dtype="Int64"),
            "category": pd.Categorical(names),
            "text": names.astype("string"),
            "object": names.astype(object),
            "date": pd.Timestamp("2026-01-01") + pd.to_timedelta((100 * x[:, 0]).astype(int), unit="D"),
        }
    )
    for column in ("float32", "nullable", "category", "text", "object", "date"):
        rows.loc[rng.choice(120, 10, replace=False), column] = None
    return rows, pd.Series(np.where(x[:, 1] + 0.3 * rng.normal(size=120) > 0, "up", "down"))


def test_data_frames_of_many_types() -> None:
    rows, y = frame()
    before = rows.copy()
    found = ThinnedClassifier(**FAST).fit(rows, y)
    assert found.classes_.tolist() == ["down", "up"]
    assert found.score(rows, y) > 0.8
    assert found.feature_names_in_.tolist() == rows.columns.tolist()
    pd.testing.assert_frame_equal(rows, before)
    polars = pytest.importorskip("polars")
    from_polars = ThinnedClassifier(**FAST).fit(polars.from_pandas(rows), y.to_numpy())
    np.testing.assert_allclose(from_polars.predict_proba(polars.from_pandas(rows)), found.predict_proba(rows))
    with pytest.raises(ValueError, match="must be in the same order"):
        found.predict(rows[rows.columns[::-1]])
    with pytest.raises(ValueError, match="seen at fit time, yet now missing"):
        found.predict(rows.drop(columns="bool"))
    unseen = rows.assign(category="west", text=None)
    with pytest.warns(UserWarning, match="a level that the training rows did not have.*is empty") as caught:
        np.testing.assert_allclose(found.predict_proba(unseen).sum(1), 1)
    assert len(caught) == 1
    assert "Column 'category'" in str(caught[0].message)
    assert caught[0].filename == __file__


def test_cross_validation_gives_one_warning_a_fold_that_can_be_silenced() -> None:
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({name: rng.choice([f"{name}{i}" for i in range(40)], 90) for name in ("city", "shop")})
    rows["n"] = rng.normal(size=90)
    y = rng.integers(0, 2, 90)
    with pytest.warns(UnlikeStudyWarning) as caught:
        cross_val_score(ThinnedClassifier(**FAST), rows, y, cv=3)
    assert len(caught) == 3
    for warning in caught:
        assert re.match(r"Column 'city' has .* Column 'shop' has \d+ levels", str(warning.message))
        assert "sklearn" in warning.filename
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted = ThinnedClassifier(**FAST).fit(rows, y)  # the rows that members hold out are no other table
        fitted.predict(rows)
        warnings.simplefilter("ignore", UnlikeStudyWarning)
        cross_val_score(ThinnedClassifier(**FAST), rows, y, cv=3)


def test_arrays_of_many_types() -> None:
    x, y = load_iris(return_X_y=True)
    expected = ThinnedClassifier(**FAST).fit(x, y).predict_proba(x)
    assert (expected.argmax(1) == y).mean() > 0.9
    for other in (x.tolist(), np.asfortranarray(x), x.astype(object), pd.DataFrame(x).to_numpy()):
        assert ThinnedClassifier(**FAST).fit(other, y).predict_proba(x).tobytes() == expected.tobytes()
    missing = x.copy()
    missing[::7, 2] = np.nan
    assert ThinnedClassifier(**FAST).fit(missing, y).score(missing, y) > 0.9
    for rows in ([["a", "b"]] * 20, x + np.inf, x.astype(complex)):
        with pytest.raises(ValueError, match=r"string|infinity|Complex"):
            ThinnedClassifier(**FAST).fit(rows, y[: len(rows)])


@pytest.mark.parametrize("labels", [[False, True, True], [3, -1, 7], ["b", "a", "ç"], [1.0, 2.0, 5.0]])
def test_classes_of_any_type(labels: list[Any]) -> None:
    x, y = load_iris(return_X_y=True)
    classes = np.array(labels)[y]
    found = ThinnedClassifier(**FAST).fit(x, classes)
    assert found.classes_.tolist() == sorted(set(labels))
    assert found.predict(x).dtype == classes.dtype
    assert found.score(x, classes) > 0.8
    expected = ThinnedClassifier(**FAST).fit(x, np.unique(classes, return_inverse=True)[1]).predict_proba(x)
    assert expected.tobytes() == found.predict_proba(x).tobytes()


def test_a_class_of_one_row() -> None:
    x, y = load_iris(return_X_y=True)
    found = ThinnedClassifier(**FAST).fit(x[49:], y[49:])  # one row of class 0
    assert found.predict_proba(x).shape == (150, 3)
    assert found.score(x[50:], y[50:]) > 0.75


def test_they_work_in_pipelines_searches_and_cross_validation() -> None:
    rows, y = frame()
    mixed = make_column_transformer(
        (StandardScaler(), ["int8"]), (OneHotEncoder(handle_unknown="ignore"), ["category", "bool"])
    )
    pipeline = make_pipeline(mixed, ThinnedClassifier(**FAST))
    assert cross_val_score(pipeline, rows, y, cv=3, error_score="raise").mean() > 0.7
    assert cross_val_score(ThinnedClassifier(**FAST), rows, y, cv=3, scoring="roc_auc").mean() > 0.8
    grid = {"dropout": [0.0, 0.4], "members": np.array([1, 3]), "hidden": [(4,), (4, 4)]}
    search = GridSearchCV(ThinnedClassifier(**FAST), grid, cv=2, error_score="raise").fit(rows, y)
    assert search.best_estimator_.model_.metadata.members == search.best_params_["members"]
    again = clone(search.best_estimator_)
    assert not hasattr(again, "model_")
    assert again.get_params() == search.best_estimator_.get_params()


def test_a_fitted_estimator_can_be_pickled_by_its_user() -> None:
    x, y = load_iris(return_X_y=True)
    found = ThinnedClassifier(**FAST, batch_norm="after").fit(x, y)
    again = pickle.loads(pickle.dumps(found))
    assert again.predict_proba(x).tobytes() == found.predict_proba(x).tobytes()
    assert again.model_.uncertainty(pd.DataFrame(x, columns=["x0", "x1", "x2", "x3"])).total.shape == (150,)


def test_the_random_state_settles_everything() -> None:
    x, y = load_diabetes(return_X_y=True)
    first, second, other = (
        ThinnedRegressor(**FAST | {"random_state": state}).fit(x, y).predict(x)
        for state in (3, np.random.RandomState(np.random.MT19937(0)), 4)
    )
    again = ThinnedRegressor(**FAST | {"random_state": 3}).fit(x, y).predict(x)
    assert first.tobytes() == again.tobytes()
    assert not np.allclose(first, other)
    assert not np.allclose(first, second)


def test_it_is_the_studys_model() -> None:
    """The same table, plan and setting by the study's own way."""
    x, y = load_diabetes(return_X_y=True)
    found = ThinnedRegressor(dropout=0.3, weight_decay=0.1, **FAST).fit(x, y)
    names = ["x0", "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9"]
    table = load(pd.DataFrame(x, columns=names).assign(y=y), "y", "regression")
    setting = Setting(0.3, weight_decay=0.1)
    seed = int(np.random.RandomState(0).randint(2**31 - 1))
    arms = [Arm("own", setting.label, (setting,))]
    plan = make_plan(table, arms=arms, seeds=2, hidden=(8,), epochs=10, learning_rate=1e-2, seed=seed)
    expected = model.fit(table, TrainingConfig.of_plan(plan), setting, members=2)
    assert found.predict(x).tobytes() == expected.predict(table.features).tobytes()
    assert found.model_.metadata.setting == setting


@pytest.mark.parametrize(
    "change",
    [
        {"dropout": 0.6},
        {"where": "input"},
        {"weight_decay": 5.0},
        {"max_norm": 0.2},
        {"batch_norm": "before"},
        {"embedding": "piecewise"},
        {"hidden": (4, 4)},
        {"epochs": 2},
        {"batch_size": 50},
        {"learning_rate": 1e-3},
        {"patience": 1, "learning_rate": 0.1},
        {"members": 3},
    ],
    ids=str,
)
def test_every_parameter_has_an_effect(change: dict[str, Any]) -> None:
    x, y = load_diabetes(return_X_y=True)
    plain = ThinnedRegressor(**FAST).fit(x, y)
    changed = ThinnedRegressor(**FAST | change).fit(x, y)
    assert not np.allclose(plain.predict(x), changed.predict(x))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dropout": 1.0}, r"rates must lie in \[0, 1\); got 1.0"),
        ({"where": "everywhere"}, "where must be one of"),
        ({"weight_decay": -1}, "weight decay must be a number of at least 0; got -1"),
        ({"batch_norm": True}, "batch_norm must be one of None, 'before', 'after'; got True"),
        ({"hidden": (0,)}, "hidden widths must lie between 1 and 65,536"),
        ({"epochs": 0}, "epochs must be a whole number of at least 1; got 0"),
        ({"patience": 0}, "patience must be a whole number of at least 1; got 0"),
        ({"batch_size": 2.5}, "batch_size must be a whole number of at least 1; got 2.5"),
        ({"members": 0}, "members must be a whole number of at least 1; got 0"),
        ({"learning_rate": 0}, "the learning rate must be a number above 0; got 0"),
    ],
)
def test_parameters_that_cannot_be_used(change: dict[str, Any], words: str) -> None:
    x, y = load_iris(return_X_y=True)
    with pytest.raises(InputError, match=words):
        ThinnedClassifier(**FAST | change).fit(x, y)


def test_training_stops_where_the_patience_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the default, 10 epochs of many steps, or 800 steps."""
    lengths: list[tuple[int, int]] = []
    train = native_cohort.train

    def watch(*arguments: Any, **named: Any) -> list[cohort.Outcome]:
        outcomes = train(*arguments, **named)
        lengths.extend((len(outcome.validation_loss), outcome.best_epoch) for outcome in outcomes)
        return outcomes

    monkeypatch.setattr(native_cohort, "train", watch)
    x, y = load_diabetes(return_X_y=True)  # 354 rows train a member: 22 steps of 16
    cases = [({"patience": 3}, 3), ({}, 37), ({"batch_size": 3}, 10)]
    for change, patience in cases:
        lengths.clear()
        ThinnedRegressor(**FAST | {"epochs": 500, "learning_rate": 0.03} | change).fit(x, y)
        assert [length - 1 - best for length, best in lengths] == [patience] * 2
        assert max(length for length, _ in lengths) < 500
    lengths.clear()
    ThinnedRegressor(hidden=(4,), members=1, random_state=0, patience=10**9).fit(x, y)
    assert [length for length, _ in lengths] == [295]  # 5,000 steps of 17 an epoch, as a study of so many rows has


def test_targets_that_cannot_be_used() -> None:
    x, y = load_diabetes(return_X_y=True)
    with pytest.raises(InputError, match="at least two classes"):
        ThinnedClassifier(**FAST).fit(x, np.ones(len(x)))
    with pytest.raises(InputError, match=r"y must lie within ±1e\+30"):
        ThinnedRegressor(**FAST).fit(x, y * 1e30)
    with pytest.raises(InputError, match="same number of rows; got 442 and 5"):
        ThinnedRegressor(**FAST).fit(x, y[:5])
    with pytest.raises(ValueError, match="Unknown label type"):
        ThinnedClassifier(**FAST).fit(x, y + 0.5)
    with pytest.raises(NotFittedError):
        ThinnedRegressor().predict(x)


def test_thinned_estimators_is_loaded_at_first_use() -> None:
    assert thinned.estimators.ThinnedClassifier is ThinnedClassifier


def test_no_number_depends_on_the_number_of_processes() -> None:
    """Of 203 rows three members hold out 41 and two 40, which makes two batched programs."""
    rows, y = (np.concatenate([part, part[:53]]) for part in load_iris(return_X_y=True))
    fitted = [ThinnedClassifier(hidden=(4,), epochs=2, random_state=0, n_jobs=jobs).fit(rows, y) for jobs in (None, 2)]
    one, two = (estimator.predict_proba(rows) for estimator in fitted)
    assert np.array_equal(one, two)
    with pytest.raises(InputError, match="n_jobs must be a whole number other than 0, or None; got 0"):
        ThinnedClassifier(n_jobs=0).fit(rows, y)
