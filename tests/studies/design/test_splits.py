"""Splits: by groups none is on two sides, by time nothing is trained on what comes later."""

import itertools
import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import TimeSeriesSplit
from typer.testing import CliRunner

import thinned
from thinned.errors import InputError
from thinned.studies.design.make_plan import make_plan
from thinned.studies.design.plan import Plan
from thinned.studies.design.splits import Split, make_splits, refit_parts, test_share
from thinned.studies.model.model import fit
from thinned.studies.table.load import Table, load
from thinned.studies.training.config import TrainingConfig
from thinned_cli.app import app

test_share.__test__ = False  # type: ignore[attr-defined]
SMALL: dict[str, Any] = {"arms": ["dropout"], "rates": (0.5,), "folds": 3, "seeds": 2, "hidden": (4,), "epochs": 2}


def planned(frame: pd.DataFrame, folds: int = 3, seeds: int = 2, seed: int = 0, **by: str) -> tuple[Plan, Table]:
    table = load(frame, "y", folds=folds, **by)
    return make_plan(table, folds=folds, seeds=seeds, seed=seed), table


def grouped_frame(groups: int, rows: int, seed: int, task: str = "binary") -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    group = np.concatenate([np.arange(groups), rng.choice(groups, rows - groups, p=rng.dirichlet(np.full(groups, 2)))])
    y = rng.normal(size=rows) if task == "regression" else rng.permutation(np.arange(rows) % 2)
    return pd.DataFrame({"x": rng.normal(size=rows), "site": [f"s{g}" for g in group], "y": y})


@given(st.integers(8, 40), st.integers(100, 300), st.integers(2, 4), st.integers(0, 99), st.booleans())
@settings(max_examples=60)
def test_no_group_is_on_two_sides(groups: int, rows: int, folds: int, seed: int, regression: bool) -> None:
    frame = grouped_frame(groups, rows, seed, "regression" if regression else "binary")
    plan, table = planned(frame, folds, seed=seed, group="site")
    try:
        splits = make_splits(plan, table)
    except InputError as error:  # a group may hold so many rows that a class, or another group, is missing elsewhere
        assert re.match("each fold must hold each class|training and validation need groups", str(error))  # noqa: PT017
        return
    site = frame["site"].to_numpy()
    for split in splits:
        parts = [set(site[rows]) for rows in (split.train, split.validation, split.test)]
        assert all(parts)
        assert sum(map(len, parts)) == len(set().union(*parts)) == groups
        assert sorted(np.concatenate(split[2:])) == list(range(rows))
    for repeat in (0, 1):
        assert sorted(np.concatenate([s.test for s in splits if s.repeat == repeat])) == list(range(rows))


def test_groups_are_dealt_evenly_and_anew() -> None:
    plan, table = planned(grouped_frame(40, 400, 1), folds=4, seeds=3, group="site")
    splits = make_splits(plan, table)
    for s in splits:
        assert 80 <= len(s.test) <= 120
        assert 40 <= len(s.validation) <= 80
        assert abs(table.target[s.test].mean() - 0.5) < 0.05
    tests = [tuple(sorted(s.test)) for s in splits]
    assert len(set(tests)) == len(tests)
    again = make_splits(plan, table)
    assert all((a[i] == b[i]).all() for a, b in zip(splits, again, strict=True) for i in (2, 3, 4))


def test_thousands_of_groups_are_dealt_by_number() -> None:
    plan, table = planned(grouped_frame(3000, 9000, 1), seeds=1, group="site")
    for s in make_splits(plan, table):
        assert not np.intersect1d(table.groups[s.test], table.groups[np.r_[s.train, s.validation]]).size  # type: ignore[index]
        assert len(np.unique(table.groups[s.test])) == 1000  # type: ignore[index]


def timed_frame(rows: int, distinct: int, seed: int, kind: str = "number") -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    time = np.concatenate([np.arange(distinct), rng.integers(0, distinct, rows - distinct)])
    time = time[rng.permutation(rows)]
    shown: Any = {
        "number": time * 0.25 - 7,
        "date": pd.Timestamp("2020-01-01") + pd.to_timedelta(time, "D"),
        "text": [f"{d:%d.%m.%Y}" for d in pd.Timestamp("2020-01-01") + pd.to_timedelta(time, "D")],
    }[kind]
    return pd.DataFrame({"x": rng.normal(size=rows), "when": shown, "y": rng.normal(size=rows), "_t": time})


@given(
    st.integers(60, 300),
    st.integers(20, 60),
    st.integers(2, 5),
    st.integers(0, 99),
    st.sampled_from(["number", "date", "text"]),
)
@settings(max_examples=60)
def test_the_past_trains_and_the_future_tests(rows: int, distinct: int, folds: int, seed: int, kind: str) -> None:
    frame = timed_frame(rows, distinct, seed, kind)
    plan, table = planned(frame.drop(columns="_t"), folds, time="when")
    t = frame["_t"].to_numpy()
    assert (np.argsort(table.times, kind="stable") == np.argsort(t, kind="stable")).all()
    splits = make_splits(plan, table)
    for s in splits:
        assert t[s.train].max() < t[s.validation].min() <= t[s.validation].max() < t[s.test].min()
    first = splits[:folds]
    for before, after in itertools.pairwise(first):  # windows grow by what was tested
        seen = np.concatenate(before[2:])
        assert sorted(np.r_[after.train, after.validation]) == sorted(seen)
    assert sorted(np.concatenate(first[-1][2:])) == list(range(rows))
    for a, b in zip(first, splits[folds:], strict=True):  # repeats have the same rows
        assert [sorted(part) for part in a[2:]] == [sorted(part) for part in b[2:]]


def test_without_ties_the_test_rows_are_those_of_scikit_learn() -> None:
    frame = timed_frame(120, 120, 3).drop(columns="_t")
    plan, table = planned(frame, folds=5, seeds=1, time="when")
    order = np.argsort(frame["when"].to_numpy())
    expected = [order[test] for _, test in TimeSeriesSplit(5).split(order)]
    found = [s.test for s in make_splits(plan, table)]
    assert all((a == b).all() for a, b in zip(found, expected, strict=True))


def test_share_of_test_rows() -> None:
    plan, table = planned(timed_frame(120, 120, 3).drop(columns="_t"), folds=5, time="when")
    assert test_share(make_splits(plan, table)) == pytest.approx(np.mean([1 / i for i in range(1, 6)]))
    plan, table = planned(grouped_frame(8, 100, 0), folds=4)
    assert test_share(make_splits(plan, table)) == pytest.approx(1 / 3)
    rows = np.arange
    assert test_share([Split(0, 0, rows(6), rows(2), rows(2)), Split(0, 1, rows(3), rows(1), rows(3))]) == 0.5


def test_the_final_model_respects_groups_and_times() -> None:
    plan, table = planned(grouped_frame(12, 200, 0), group="site")
    parts = refit_parts(table, plan.seed, 5)
    assert table.groups is not None
    for train, held in parts:
        assert not np.intersect1d(table.groups[train], table.groups[held]).size
    assert sorted(np.concatenate([held for _, held in parts])) == list(range(200))
    plan, table = planned(timed_frame(100, 100, 0), time="when")
    assert table.times is not None
    for train, held in refit_parts(table, plan.seed, 5):
        assert (len(train), len(held)) == (80, 20)
        assert table.times[train].max() < table.times[held].min()
    plan, table = planned(grouped_frame(12, 103, 0))
    assert {(len(train), len(held)) for train, held in refit_parts(table, plan.seed, 5)} == {(82, 20)}


def test_a_model_of_groups_of_unequal_size(tmp_path: Path) -> None:
    """Members of several shapes, trained in several programs, are one model."""
    frame = grouped_frame(7, 150, 5)
    plan, table = planned(frame, group="site")
    assert len({len(train) for train, _ in refit_parts(table, plan.seed, 5)}) > 1
    model = fit(table, TrainingConfig.of_plan(plan), plan.settings[0])
    assert model.metadata.members == 5
    assert model.predict(frame[["x"]]).shape == (150, 2)


@pytest.mark.parametrize("by", ["group", "time"])
def test_a_study_by_groups_or_time(by: str, tmp_path: Path) -> None:
    frame = grouped_frame(12, 200, 0).assign(when=np.arange(200) // 2)
    column = {"group": "site", "time": "when"}[by]
    other = {"group": "when", "time": "site"}[by]
    study = thinned.study(frame, "y", out=tmp_path / "run", **{by: column}, **SMALL)
    assert study.results["plan"][by] == column
    assert set(study.results["data"]["read_as"]) == {"x", other}
    text = " ".join(study.report().read_text().split())
    assert f"<bdi>{column}</bdi>" in text
    new = frame.drop(columns=["y", column])
    assert study.model.predict(new).shape == (200, 2)
    with closing(sqlite3.connect(tmp_path / "run" / "study.sqlite")) as connection:
        records = [json.loads(row[0]) for row in connection.execute("SELECT record FROM network")]
    assert len(records) == 12
    losses = {(r["repeat"], r["fold"], r["setting"]): r["best"]["test"] for r in records}
    assert len(set(losses.values())) == 12  # repeats differ by time, too


def test_groups_and_times_are_part_of_the_plan(tmp_path: Path) -> None:
    frame = grouped_frame(12, 200, 0)
    thinned.study(frame, "y", out=tmp_path / "run", group="site", **SMALL)
    with pytest.raises(InputError, match="group was 'site' and is None"):
        thinned.study(frame, "y", out=tmp_path / "run", **SMALL)


def test_options_of_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    grouped_frame(12, 200, 0).to_csv(path, index=False)
    options = ["--arms", "dropout", "--rates", 0.5, "--folds", 3, "--seeds", 1, "--hidden", 4, "--epochs", 1]
    command = ["study", str(path), "--target", "y", "--out", str(tmp_path / "run"), *map(str, options)]
    result = CliRunner().invoke(app, [*command, "--group", "site"])
    assert result.exit_code == 0
    assert json.loads((tmp_path / "run" / "results.json").read_text())["plan"]["group"] == "site"
    result = CliRunner().invoke(app, [*command, "--group", "site", "--time", "x"])
    assert result.exit_code == 2


def test_a_first_window_of_less_than_a_batch_is_trained_on() -> None:
    """By time the first fold may have fewer rows than a batch: it then takes them all at once."""
    frame = timed_frame(60, 60, 0).drop(columns="_t")
    study = thinned.study(frame, "y", time="when", **{**SMALL, "folds": 5, "batch_size": 32, "epochs": 5})
    curves = study.results["settings"][0]["curves"]["train"]
    assert curves[0] != curves[-1]


@pytest.mark.parametrize(
    ("change", "by", "pattern"),
    [
        ({}, {"group": "nobody"}, r"the group column must be a column of the table; there is no column 'nobody'; it"),
        ({}, {"time": "whem"}, r"the time column must be a column of the table; .*; perhaps 'when'; it has"),
        ({}, {"group": "y"}, r"the group column must not be the target; both are 'y'; choose another column"),
        ({}, {"time": "y"}, r"the time column must not be the target"),
        ({}, {"group": "site", "time": "when"}, r"split by groups or by time; got group='site' and time='when'"),
        ({"site": "one"}, {"group": "site"}, r"3 folds need at least 3 groups; column 'site' has 1; use fewer folds"),
        ({"site": [None, *["a"] * 199]}, {"group": "site"}, r"the group must be known in every row; 'site' is missing"),
        ({"when": [np.nan, *range(199)]}, {"time": "when"}, r"the time must be known in every row; 'when' is missing"),
        ({"when": "soon"}, {"time": "when"}, r"the time column must hold numbers or dates; 'when' has 'soon'; write"),
        ({"when": ["2020-01-01", "2020-13-45"] * 100}, {"time": "when"}, r"or dates; 'when' has '2020-13-45'"),
        ({"when": [np.inf, *range(199)]}, {"time": "when"}, r"numbers must be finite; column 'when' has infinite"),
        ({"when": [0] * 150 + [1] * 50}, {"time": "when"}, r"must lie at different times; too many rows of col"),
        ({"when": range(200), "y": [0] * 100 + [1] * 100}, {"time": "when"}, r"rows of each fold must hold each class"),
        ({"y": ["s0"] * 6 + ["b"] * 194, "site": ["s0"] * 6 + [f"s{i % 9}" for i in range(1, 195)]},
         {"group": "site"}, r"must hold each class; fold \d by column 'site' has none of 's0'; use fewer folds"),
        ({"site": ["a", "b", "c"] + ["a"] * 197}, {"group": "site", "folds": 2}, r"need"),
    ],
)  # fmt: skip
def test_groups_and_times_that_cannot_be_used(change: dict[str, Any], by: dict[str, Any], pattern: str) -> None:
    frame = grouped_frame(12, 200, 0).assign(when=np.arange(200)).assign(**change)
    by = {"folds": 3, **by}
    with pytest.raises(InputError, match=pattern) as caught:
        make_splits(*planned(frame, **by))
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_the_splitting_column_may_be_the_only_other(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"needs feature columns; 'y' is the only column besides 'site'; check the"):
        load(grouped_frame(12, 200, 0).drop(columns="x"), "y", group="site")


@pytest.mark.parametrize("rare", [(1,), (2,), (4,), (1, 1), (3, 2, 1)])
def test_a_rare_class_leaves_the_final_networks_as_they_are(rare: tuple[int, ...]) -> None:
    """Five networks on four fifths of the rows, each of which has seen every class."""
    rng = np.random.default_rng(0)
    labels = [*rng.choice(["ash", "birch", "cedar"], 120), *(f"rare {i}" for i, n in enumerate(rare) for _ in range(n))]
    codes = np.unique(labels, return_inverse=True)[1].astype(np.int64)
    features, classes = pd.DataFrame({"x": rng.normal(size=len(labels))}), tuple(sorted(set(labels)))
    table = Table(features, codes, "multiclass", classes, target_name="y", name="", sha256="")
    parts = refit_parts(table, 0, 5)
    assert len(parts) == 5
    for train, stopping in parts:
        assert not set(train) & set(stopping)
        assert len(train) >= 0.8 * len(labels) - 2
        assert len(stopping) <= 0.2 * len(labels) + 1
        assert set(codes[train]) == set(codes)
    assert len(np.unique(np.concatenate([stopping for _, stopping in parts]))) >= 0.95 * len(labels)


@pytest.mark.parametrize("rare", [2, 3, 5])
def test_a_rare_class_leaves_the_splits_stratified(rare: int) -> None:
    """With two folds, one or two rows of it are left for training and validation: the others stay even."""
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"x": rng.normal(size=200 + rare), "y": [*["a", "b", "c", "d"] * 50, *["rare"] * rare]})
    plan, table = planned(frame, folds=2, seeds=3)
    code = table.classes.index("rare")
    for split in make_splits(plan, table):
        counts = np.bincount(table.target[split.validation], minlength=5)
        common = np.delete(counts, code)
        assert common.max() - common.min() <= 2
        assert code in table.target[split.train]


def test_as_many_classes_as_validation_rows() -> None:
    """Some are then counted with the most frequent one, instead of none being even."""
    frame = pd.DataFrame({"x": np.arange(120.0), "y": [*["often"] * 60, *(f"c{i % 15}" for i in range(60))]})
    plan, table = planned(frame, folds=4, seeds=1)
    often = table.classes.index("often")
    for split in make_splits(plan, table):
        assert abs((table.target[split.validation] == often).mean() - 0.5) < 0.2
        assert set(table.target[split.train]) == set(range(16))
