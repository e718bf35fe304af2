"""Options of a study that say how its table is read and split."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import thinned
from thinned.errors import InputError
from thinned_cli.app import app

SMALL = {"arms": ["dropout"], "rates": (0.5,), "folds": 2, "seeds": 1, "hidden": (4,), "epochs": 1}
WORDS = ["--arms", "dropout", "--rates", "0.5", "--folds", "2", "--seeds", "1", "--hidden", "4", "--epochs", "1"]


def make_frame(rows: int = 120) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"x": rng.normal(size=rows), "zip": rng.integers(100, 110, rows), "note": rng.normal(size=rows)}
    )
    frame["seen"] = [f"{1 + i % 12:02}/{1 + i // 12:02}/2024" for i in range(rows)]  # fits day and month first
    frame["y"] = np.where(frame["x"] + rng.normal(size=rows) > 0, "yes", "no")
    return frame


@pytest.fixture
def path(tmp_path: Path) -> Path:
    make_frame().to_csv(tmp_path / "table.csv", index=False)
    return tmp_path / "table.csv"


def run(path: Path, *words: str) -> tuple[int, str]:
    result = CliRunner().invoke(
        app, ["study", str(path), "--target", "y", "--out", str(path.parent / "out"), *WORDS, *words]
    )
    return result.exit_code, " ".join(result.output.split())


def test_columns_are_read_as_the_user_says(path: Path, tmp_path: Path) -> None:
    plain = thinned.study(path, "y", out=tmp_path / "plain", **SMALL)
    assert plain.results.data.read_as["zip"] == "number"
    code, text = run(path, "--column", "zip=level", "--column", "note=drop", "--column", "seen=date:day-first")
    assert code == 0, text
    results = thinned.Study.load(path.parent / "out").results
    assert results.data.read_as["zip"] == "level"
    assert results.data.read_as["seen"] == "date"
    assert results.data.read_as.get("note") in (None, "left out")
    assert results.plan.columns == (("note", "drop"), ("seen", "date:day-first"), ("zip", "level"))
    assert plain.model.predict(path).shape == thinned.Study.load(path.parent / "out").model.predict(path).shape


def test_a_study_continues_only_with_the_same_columns(path: Path) -> None:
    options = {"out": path.parent / "out", **SMALL}
    first = thinned.study(path, "y", columns={"zip": "level"}, **options)
    again = thinned.study(path, "y", columns={"zip": "level"}, **options)
    assert first.results.settings == again.results.settings
    with pytest.raises(InputError, match=r"columns was \[\['zip', 'level'\]\] and is None"):
        thinned.study(path, "y", **options)


def test_times_that_fit_both_orders_need_an_answer(path: Path, tmp_path: Path) -> None:
    """All splits would follow from the wrong order: without an answer there is no study by time."""
    code, text = run(path, "--time", "seen")
    assert code == 2
    assert "day" in text
    assert "month" in text
    code, text = run(path, "--time", "seen", "--column", "seen=date:month-first")
    assert code == 0, text
    assert thinned.Study.load(path.parent / "out").results.plan.time == "seen"


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("zip", "give it as NAME=KIND, as zip=level; got 'zip'"),
        ("=level", "give it as NAME=KIND"),
        ("zip=integer", "integer"),
        ("absent=level", "absent"),
    ],
)
def test_columns_that_cannot_be_read_so(word: str, sentence: str, path: Path) -> None:
    code, text = run(path, "--column", word)
    assert code == 2
    assert sentence in text
    assert not (path.parent / "out").exists()


def test_options_of_earlier_plans_keep_their_digest(path: Path, tmp_path: Path) -> None:
    """A store that was made before these options came is still the same plan's."""
    plan = thinned.study(path, "y", out=tmp_path / "plain", **SMALL).results.plan
    assert not isinstance(plan.columns, tuple)
    assert plan.group_duplicates is not False


def test_misspelt_options_are_refused(path: Path) -> None:
    with pytest.raises(TypeError, match="foldz"):
        thinned.study(path, "y", foldz=3)
