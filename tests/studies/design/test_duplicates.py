"""Rows that occur several times: found, told from rows that repeat by nature, and kept together."""

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import thinned
from thinned.errors import InputError
from thinned.studies.analysis.leakage import lookup_score
from thinned.studies.design.duplicates import find_duplicates, group_duplicates
from thinned.studies.design.make_plan import make_plan
from thinned.studies.design.splits import make_splits, refit_parts
from thinned.studies.table.load import Table, load
from thinned_cli.app import app

SMALL = {"arms": ["dropout"], "rates": (0.5,), "folds": 3, "seeds": 1, "hidden": (8,), "epochs": 2}


def single(rows: int = 150, task: str = "binary") -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(rows, 4)).round(4), columns=list("abcd"))
    frame["y"] = rng.choice(["no", "yes"], rows) if task == "binary" else rng.normal(size=rows)
    return frame


def copied(copies: int = 5, task: str = "binary") -> pd.DataFrame:
    frame = pd.concat([single(task=task)] * copies, ignore_index=True)
    return frame.iloc[np.random.default_rng(1).permutation(len(frame))].reset_index(drop=True)


def read(frame: pd.DataFrame, **options: str) -> Table:
    return load(frame, "y", folds=3, **options)


@pytest.mark.parametrize(
    ("frame", "options", "rows", "apart_from"),
    [
        (copied(), {}, 750, None),
        (copied(task="regression"), {}, 750, None),
        (copied().assign(seen=pd.date_range("2020", periods=750, freq="37min")), {}, 750, "seen"),
        (copied().assign(seen=pd.date_range("2020", periods=750, freq="37min")), {"time": "seen"}, 750, None),
        (copied().assign(weight=np.random.default_rng(2).permutation(750) / 7), {}, 750, "weight"),
        (pd.concat([single(), single().head(20)], ignore_index=True), {}, 40, None),
        (pd.concat([single()[["a", "y"]].assign(s=list("mf") * 75, t=list("xyz") * 50)] * 2), {}, 300, None),
    ],
)
def test_copies_are_counted(frame: pd.DataFrame, options: dict[str, str], rows: int, apart_from: str | None) -> None:
    found = find_duplicates(read(frame, **options))
    assert (0 if found is None else found.rows) == rows
    if found is not None:
        assert found.apart_from == apart_from
        assert len(np.unique(found.codes)) == len(frame) - rows + (20 if rows == 40 else 150)


def test_rows_that_repeat_by_nature_are_no_copies() -> None:
    rng = np.random.default_rng(0)
    label = np.where(rng.random(600) < 0.4, "no", "yes")
    binary = pd.DataFrame(rng.integers(0, 2, (600, 3)), columns=list("pqr")).assign(y=label)
    levels = pd.DataFrame({name: rng.choice(list("abcdef"), 600) for name in "pqr"}).assign(y=label)
    age = pd.DataFrame({"age": rng.integers(18, 80, 600), "sex": rng.choice(["f", "m"], 600), "y": label})
    keyed = pd.DataFrame({"zip": rng.integers(0, 40, 600)}).assign(city=lambda f: f["zip"] // 7, y=label)
    repeated = pd.concat([single()] * 3, ignore_index=True).assign(y=rng.normal(size=450))  # measured again
    for frame in (
        single(),
        binary,
        levels,
        age,
        keyed,
        repeated,
        thinned.datasets.churn().rename(columns={"churn": "y"}),
    ):
        assert find_duplicates(read(frame)) is None


def test_copies_within_a_group_stay_together_anyway() -> None:
    frame = copied().assign(patient=lambda f: f["a"].rank(method="dense").astype(int).map("p{}".format))
    assert find_duplicates(read(frame, group="patient")) is None
    other = frame.assign(patient=[f"p{i % 30}" for i in range(len(frame))])
    assert find_duplicates(read(other, group="patient")) is not None


@pytest.mark.parametrize("rows", [150, 3000])
def test_grouped_copies_are_on_one_side(rows: int) -> None:
    """Thousands of groups too, which are dealt by class."""
    frame = pd.concat([single(rows), single(rows).head(rows // 3)], ignore_index=True)
    table = group_duplicates(read(frame))
    plan = make_plan(table, folds=3, seeds=2, group_duplicates=True)
    text = frame.astype(str).agg("|".join, axis=1).to_numpy()
    for split in make_splits(plan, table):
        sides = [set(text[part]) for part in (split.train, split.validation, split.test)]
        assert sum(map(len, sides)) == len(set().union(*sides)) == rows
        assert abs((frame["y"][split.test] == "yes").mean() - (frame["y"] == "yes").mean()) < 0.1
    for train, stopping in refit_parts(table, 0, 5):
        assert not set(text[train]) & set(text[stopping])


def test_copies_join_groups() -> None:
    frame = copied(2).assign(patient=[f"p{i % 60}" for i in range(300)])
    table = group_duplicates(read(frame, group="patient"))
    groups = pd.Series(table.groups)
    assert (groups.groupby(frame["patient"]).nunique() == 1).all()
    assert (groups.groupby(frame["a"]).nunique() == 1).all()


def test_copies_are_not_kept_together_across_time() -> None:
    with pytest.raises(InputError, match="copies stay together only where rows are not split by time; time is 'when'"):
        group_duplicates(read(copied().assign(when=range(750)), time="when"))


@pytest.mark.parametrize(("task", "metric"), [("binary", "roc_auc"), ("regression", "r2")])
def test_the_score_of_a_lookup(task: str, metric: str) -> None:
    table = read(copied(task=task))
    found = find_duplicates(table)
    assert found is not None
    score, name = lookup_score(table, found.codes, make_splits(make_plan(table, folds=3, seeds=1), table))
    assert name == metric
    assert score > 0.95  # all but rows whose copies are all in the test fold
    together = group_duplicates(table)
    splits = make_splits(make_plan(together, folds=3, seeds=1, group_duplicates=True), together)
    chance, _ = lookup_score(table, found.codes, splits)
    assert chance == pytest.approx(0.5 if task == "binary" else 0, abs=0.05)


def test_a_study_warns_and_keeps_copies_together(tmp_path) -> None:
    path = tmp_path / "rows.csv"
    copied(3).to_csv(path, index=False)
    loose = thinned.study(path, "y", out=tmp_path / "loose", **SMALL)
    (warning,) = [w for w in loose.results.warnings if w.code == "duplicate_rows"]
    assert "450 of 450 rows occur several times, and copies fall on both sides of a split" in warning.message
    assert "--group-duplicates" in warning.next_step
    options = ["--arms", "dropout", "--rates", "0.5", "--folds", "3", "--seeds", "1", "--hidden", "8", "--epochs", "2"]
    command = ["study", str(path), "--target", "y", "--out", str(tmp_path / "run"), *options, "--group-duplicates"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    study = thinned.Study.load(tmp_path / "run")
    assert study.results.plan.group_duplicates is True
    assert "duplicate_rows" not in [w.code for w in study.results.warnings]
    with pytest.raises(InputError, match="group_duplicates was True and is None"):
        thinned.study(path, "y", out=tmp_path / "run", **SMALL)
    assert loose.results.plan.digest != study.results.plan.digest
