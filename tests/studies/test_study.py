"""The study from a table to a verdict: statistics, store, model and command line."""

import itertools
import json
import math
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import thinned
from thinned.errors import InputError
from thinned.studies import finished_networks
from thinned.studies.design.arm import Arm
from thinned.studies.design.arms import ARMS
from thinned.studies.design.choose_arms import choose_arms
from thinned.studies.design.make_plan import make_plan
from thinned.studies.design.plan import Plan
from thinned.studies.design.questions import declare
from thinned.studies.design.setting import Setting
from thinned.studies.design.splits import make_splits
from thinned.studies.metrics import predictions, score
from thinned.studies.model.model import Model
from thinned.studies.results import read as read_results
from thinned.studies.table.load import load
from thinned.studies.training import drive as drive_module
from thinned.studies.training import jobs as run_module
from thinned.studies.training import store as store_module
from thinned.studies.training.records import TrainedNetwork
from thinned.studies.training.store import Store
from thinned_cli.app import app

SMALL: dict[str, Any] = {"arms": ("dropout",), "rates": (0.2, 0.6), "folds": 2, "seeds": 2, "hidden": (8,), "epochs": 4}
OPTIONS = ["--arms", "dropout", "--rates", "0.2,0.6", "--folds", 2, "--seeds", 2, "--hidden", 8, "--epochs", 4]


def make_frame(rows: int = 150, task: str = "binary") -> pd.DataFrame:
    rng = np.random.default_rng(3)
    frame = pd.DataFrame(
        {"age": rng.normal(40, 9, rows), "plan": rng.choice(["basic", "plus"], rows), "calls": rng.poisson(3, rows)}
    )
    signal = (frame["age"] - 40) / 9 + (frame["plan"] == "plus") + rng.normal(0, 0.5, rows)
    frame["y"] = {
        "binary": np.where(signal > 0.5, "yes", "no"),
        "multiclass": np.select([signal < 0, signal < 1], ["low", "mid"], "high"),
        "regression": signal * 10 + 100,
    }[task]
    return frame


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    path = tmp_path / "customers.csv"
    make_frame().to_csv(path, index=False)
    return path


def invoke(*args: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(a) for a in args])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, " ".join(result.output.split())


# --- the whole way -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_from_a_table_to_predictions(task: str, tmp_path: Path) -> None:
    frame = make_frame(task=task)
    study = thinned.study(frame, "y", out=tmp_path / "run", **SMALL)
    results = read_results(tmp_path / "run")
    assert results == study.results
    assert results["data"]["task"] == task
    assert results["data"]["read_as"] == {"age": "number", "plan": "level", "calls": "number"}
    assert "Categories: <bdi>plan</bdi>." in " ".join(study.report().read_text().split())
    assert results["run"]["networks"] == 12 == sum(setting["networks"] for setting in results["settings"])
    assert [setting["label"] for setting in results["settings"]] == ["no regularisation", "dropout 0.2", "dropout 0.6"]
    assert [arm["name"] for arm in results["arms"]] == ["none", "dropout"]
    assert study.verdict.startswith(results["verdict"]["headline"])
    assert study.table.shape[0] == 3
    assert study.report().read_text().lstrip().lower().startswith("<!doctype html>")
    predicted = study.model.predict(frame.drop(columns="y"))
    if task == "regression":
        assert np.corrcoef(predicted, frame["y"])[0, 1] > 0.5
    else:
        assert predicted.shape == (150, len(results["data"]["classes"]))
        np.testing.assert_allclose(predicted.sum(1), 1, rtol=1e-12)


def test_every_setting_reports_what_its_networks_did(tmp_path: Path) -> None:
    """The report's numbers are means over the store's records, found again here by another way."""
    study = thinned.study(make_frame(), "y", out=tmp_path, **SMALL)
    with closing(sqlite3.connect(tmp_path / "study.sqlite")) as connection:
        records = pd.DataFrame([json.loads(row[0]) for row in connection.execute("SELECT record FROM network")])
    for setting in study.results["settings"]:
        own = records[records["setting"] == setting["index"]]
        assert setting["best"]["test"]["mean"] == pytest.approx(own["best"].map(lambda r: r["test"]).mean())
        assert setting["end"]["scores"]["roc_auc"]["mean"] == pytest.approx(
            own["end"].map(lambda r: r["scores"]["roc_auc"]).mean()
        )
    log_loss = records["best"].map(lambda r: r["scores"]["log_loss"])
    cross_entropy = records["best"].map(lambda r: r["test"])
    np.testing.assert_allclose(log_loss, cross_entropy, rtol=1e-9)  # scikit-learn's and torch's


def test_dropout_is_found_to_hurt_where_it_must(tmp_path: Path) -> None:
    """A linear target, little noise and a rate of 0.9 on 4 units: dropout can only underfit."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(400, 3)), columns=list("abc"))
    frame["y"] = frame["a"] + frame["b"] - frame["c"]
    study = thinned.study(
        frame,
        "y",
        out=tmp_path,
        arms=["dropout"],
        rates=(0.9,),
        folds=4,
        seeds=2,
        hidden=(4, 4),
        epochs=20,
        learning_rate=1e-2,
    )
    assert study.results["verdict"]["outcome"] == "hurts"
    assert study.results["verdict"]["recommended"]["label"] == "no regularisation"


@pytest.fixture
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A smaller part of the rows trains for two epochs, and not for 5,000 steps."""
    monkeypatch.setattr("thinned.studies.design.plan.table_epochs", lambda training, batch_size: 2)


@pytest.mark.usefixtures("few_steps")
def test_every_arm_of_the_default_plan_is_studied(tmp_path: Path) -> None:
    study = thinned.study(make_frame(), "y", out=tmp_path, folds=2, seeds=1, hidden=(8, 8), epochs=2, sizes=[40])
    results = study.results
    assert len(results["arms"]) == len(ARMS) >= 18
    assert len(results["comparisons"]) == len(declare(choose_arms())) >= 20
    assert [c["arm"] for c in results["comparisons"] if c["primary"]] == ["dropout"]
    sized = 1 + 8 + 4  # none, dropout, weight decay
    assert results["run"]["networks"] == 2 * (len(results["settings"]) + sized)
    assert all(c["difference"] is not None for c in results["comparisons"])


def test_arms_of_ones_own(tmp_path: Path) -> None:
    mine = Arm("mine", "a little of both", (Setting(dropout=0.1, weight_decay=0.1),))
    results = thinned.study(make_frame(), "y", out=tmp_path, **{**SMALL, "arms": [mine]}).results
    assert [arm["label"] for arm in results["arms"]] == ["no regularisation", "a little of both"]
    assert results["comparisons"][-1]["question"] == "Does a little of both help, when both stop early?"


def test_a_network_of_ones_own(tmp_path: Path, csv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a module of the working directory, as somebody has it who writes one for the study."""
    (tmp_path / "mynetwork.py").write_text(
        "from torch import nn\n"
        "def build(inputs, outputs):\n"
        "    return nn.Sequential(nn.Linear(inputs, 6), nn.GELU(), nn.Dropout(0.5), nn.Linear(6, outputs))\n"
    )
    monkeypatch.chdir(tmp_path)
    options = [*OPTIONS, "--network", "mynetwork:build"]
    code, text = invoke("study", csv, "--target", "y", "--out", tmp_path / "run", *options)
    assert code == 0, text
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["plan"]["network"] == "mynetwork:build"
    assert len({setting["end"]["train"]["mean"] for setting in results["settings"]}) == 3
    code, text = invoke("predict", tmp_path / "run", csv)
    assert code == 2


def test_a_study_repeats_bit_for_bit_and_follows_its_seed(tmp_path: Path) -> None:
    first, second, other = (
        thinned.study(make_frame(), "y", out=tmp_path / name, seed=seed, **SMALL).results
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert first["arms"] == second["arms"] != other["arms"]
    assert (tmp_path / "a/model/weights.safetensors").read_bytes() == (
        tmp_path / "b/model/weights.safetensors"
    ).read_bytes()


# --- statistics --------------------------------------------------------------------------------------------------


@given(st.integers(60, 400), st.integers(2, 6), st.integers(0, 5))
def test_splits_are_disjoint_and_cover_every_row_once(rows: int, folds: int, seed: int) -> None:
    table = load(make_frame(rows), "y", folds=folds)
    plan = make_plan(table, folds=folds, seeds=2, seed=seed)
    splits = make_splits(plan, table)
    for repeat in (0, 1):
        tests = np.concatenate([s.test for s in splits if s.repeat == repeat])
        assert sorted(tests) == list(range(rows))
    for s in splits:
        assert sorted(np.concatenate([s.train, s.validation, s.test])) == list(range(rows))
    assert any(a.test.tolist() != b.test.tolist() for a, b in zip(splits[:folds], splits[folds:], strict=True))


def test_scores_against_hand_computed_ones() -> None:
    probability = predictions("binary", np.array([[0.0], [math.log(3)]]))
    np.testing.assert_allclose(probability[:, 1], [0.5, 0.75])
    found = score("binary", probability, np.array([0, 1]), 2)
    assert found["log_loss"] == pytest.approx(-(math.log(0.5) + math.log(0.75)) / 2)
    assert found["brier"] == pytest.approx((0.25 + 0.0625) / 2)
    values = predictions("regression", np.array([[0.0], [1.0]]), 10.0, 2.0)
    assert values.tolist() == [10.0, 12.0]
    assert score("regression", values, np.array([10.0, 11.0]))["rmse"] == pytest.approx(math.sqrt(0.5))


# --- the store ---------------------------------------------------------------------------------------------------


class InterruptionError(Exception):
    """Stands for an interruption."""


def test_an_interrupted_study_goes_on_to_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = thinned.study(make_frame(), "y", out=tmp_path / "whole", **SMALL).results

    monkeypatch.setattr(run_module, "_MEMBERS", 6)
    monkeypatch.setattr(run_module, "_FEWEST_MEMBERS", 6)

    stored = []
    add = Store.add

    def keep(store: Store, networks: Iterable[TrainedNetwork], seconds: float) -> None:
        add(store, networks := list(networks), seconds)
        stored.append(len(networks))

    def keep_and_stop(*args: Any) -> None:
        keep(*args)
        raise InterruptionError

    monkeypatch.setattr(Store, "add", keep)
    with monkeypatch.context() as interrupted:
        interrupted.setattr(Store, "add", keep_and_stop)
        with pytest.raises(InterruptionError):
            thinned.study(make_frame(), "y", out=tmp_path / "parts", jobs=1, **SMALL)
    assert stored == [6]
    resumed = thinned.study(make_frame(), "y", out=tmp_path / "parts", **SMALL).results
    assert stored == [6, 6]
    assert resumed["arms"] == whole["arms"]
    assert resumed["comparisons"] == whole["comparisons"]


def test_an_interruption_of_the_default_design_keeps_what_was_finished(tmp_path: Path) -> None:
    """Cohorts of the default plan end at different times, so that most of a study's time there is something to keep."""
    sizes = []

    def stop(step: drive_module.Progress, plan: Plan) -> None:
        if (done := finished_networks(tmp_path / "run")) and step.networks < plan.networks:
            sizes.append(done)
            raise InterruptionError

    with pytest.raises(InterruptionError):
        thinned.study(make_frame(), "y", out=tmp_path / "run", hidden=(4,), epochs=40, progress=stop)
    assert 0 < sizes[0] <= 400
    assert finished_networks(tmp_path / "run") == sizes[0]


def test_a_finished_study_is_not_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = thinned.study(make_frame(), "y", out=tmp_path, **SMALL).results
    monkeypatch.setattr(Store, "add", lambda *a: pytest.fail("trained again"))
    assert thinned.study(make_frame(), "y", out=tmp_path, **SMALL).results["arms"] == first["arms"]


def test_arms_that_are_not_finished_in_time_are_left_out_and_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = SMALL | {"arms": ("dropout", "batch_norm")}
    with pytest.raises(InputError, match="must be finished in time; 0 of 16 networks are; run it again"):
        thinned.study(make_frame(), "y", out=tmp_path / "a", minutes=1e-9, **options)
    with monkeypatch.context() as patch:  # as if time were up after two cohorts, which have no batch norm
        run_jobs = drive_module.run_jobs
        patch.setattr(drive_module, "run_jobs", lambda *args, **kwargs: itertools.islice(run_jobs(*args, **kwargs), 2))
        part = thinned.study(make_frame(), "y", out=tmp_path / "a", jobs=1, **options).results
    assert [arm["name"] for arm in part["arms"]] == ["none", "dropout"]
    assert part["run"]["left_out"] == ("batch norm",)
    went_on = thinned.study(make_frame(), "y", out=tmp_path / "a", **options).results
    straight = thinned.study(make_frame(), "y", out=tmp_path / "b", **options).results
    assert went_on["run"]["left_out"] == ()
    for part in ("settings", "arms", "comparisons", "verdict"):
        assert went_on[part] == straight[part]


def test_other_versions_look_at_a_study_but_do_not_go_on_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They may train other networks: half of a study by each would be the study of neither."""
    thinned.study(make_frame(), "y", out=tmp_path, **SMALL)
    monkeypatch.setattr(store_module, "_versions", lambda plan: {"torch": "99"})
    thinned.study(make_frame(), "y", out=tmp_path, **SMALL)
    with closing(sqlite3.connect(tmp_path / "study.sqlite")) as connection, connection:
        connection.execute("DELETE FROM network WHERE fold = 1")
    with pytest.raises(InputError, match=r"same plan, data and versions can continue; versions was .* and is .*99"):
        thinned.study(make_frame(), "y", out=tmp_path, **SMALL)


def test_the_model_is_that_of_the_recommended_setting(tmp_path: Path) -> None:
    """Also where another was recommended while arms were missing."""
    study = thinned.study(make_frame(), "y", out=tmp_path, **SMALL)
    held = (tmp_path / "model" / "weights.safetensors").read_bytes()
    card = json.loads((tmp_path / "model" / "model.json").read_text())
    card["setting"]["dropout"] = 0.35
    (tmp_path / "model" / "model.json").write_text(json.dumps(card))
    again = thinned.study(make_frame(), "y", out=tmp_path, **SMALL)
    plan, recommended = again.results["plan"], again.results["verdict"]["recommended"]
    assert again.model.metadata.setting.dropout == plan["settings"][recommended["setting"]]["dropout"]
    assert (tmp_path / "model" / "weights.safetensors").read_bytes() == held
    assert again.results["verdict"] == study.results["verdict"]


def test_an_arm_that_diverged_did_finish_in_time(tmp_path: Path) -> None:
    wild = Arm("wild", "wild", (Setting(weight_decay=1e30),))
    results = thinned.study(make_frame(), "y", out=tmp_path, **SMALL | {"arms": ("dropout", wild)}).results
    assert [arm["name"] for arm in results["arms"]] == ["none", "dropout"]
    assert results["run"]["left_out"] == ()


@pytest.mark.usefixtures("few_steps")
def test_sizes_of_an_arm_of_several_structures(tmp_path: Path) -> None:
    """Each is trained as what it is, though all are of one arm."""
    both = Setting(dropout=0.5), Setting(dropout=0.5, one_mask=True), Setting(batch_norm="after")
    own = Arm("dropout", "dropout", both)
    thinned.study(make_frame(), "y", out=tmp_path, **SMALL | {"arms": (own,)}, sizes=(40,))
    with closing(sqlite3.connect(tmp_path / "study.sqlite")) as connection:
        records = [json.loads(row[0]) for row in connection.execute("SELECT record FROM network WHERE size = 40")]
    ends = {(r["repeat"], r["fold"], r["setting"]): r["end"]["test"] for r in records}
    assert len(ends) == len(set(ends.values())) == 4 * 4


@pytest.mark.slow
def test_ctrl_c_says_what_is_left_and_kill_loses_no_finished_cohort(tmp_path: Path, csv: Path) -> None:
    out = tmp_path / "run"
    command = [sys.executable, "-m", "thinned", "study", str(csv), "--target", "y", "--out", str(out)]
    command += ["--arms", "batch_norm,batch_dropout,dropout_before_bn", "--rates", "0.5", "--folds", "2"]
    command += ["--seeds", "20", "--hidden", "8", "--epochs", "60"]  # several jobs: some are left after two stops

    def start_and(number: int, enough: int) -> tuple[int, str]:
        with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
            deadline = time.monotonic() + 120
            while process.poll() is None and networks(out) < enough and time.monotonic() < deadline:
                time.sleep(0.02)
            process.send_signal(number)
            text = process.communicate(timeout=60)[1]
        return process.returncode, text

    assert start_and(signal.SIGKILL, 1)[0] == -signal.SIGKILL
    assert networks(out) >= 1
    code, text = start_and(signal.SIGINT, networks(out) + 1)
    assert code == 130, text
    assert "the same command continues there" in " ".join(text.split())
    assert subprocess.run(command, check=False, capture_output=True).returncode == 0
    assert networks(out) == 40 * 8


def networks(folder: Path) -> int:
    try:
        with closing(sqlite3.connect(f"file:{folder / 'study.sqlite'}?mode=ro", uri=True)) as connection:
            return int(connection.execute("SELECT count(*) FROM network").fetchone()[0])
    except sqlite3.OperationalError:
        return 0


# --- bad input: one sentence, exit code 2, nothing lost -----------------------------------------------------------


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_an_output_folder_that_holds_something_else(tmp_path: Path, csv: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    code, text = invoke("study", csv, "--target", "y", "--out", out, *OPTIONS)
    assert (code, files(out)) == (2, {"thesis.txt": b"years of work"})
    assert "holds 'thesis.txt'; choose another folder with --out" in text


def test_an_output_folder_with_a_model_but_no_store(tmp_path: Path, csv: Path) -> None:
    (tmp_path / "out" / "model").mkdir(parents=True)
    (tmp_path / "out" / "model" / "mine.bin").write_text("x")
    code, _ = invoke("study", csv, "--target", "y", "--out", tmp_path / "out", *OPTIONS)
    assert code == 2
    assert (tmp_path / "out" / "model" / "mine.bin").read_text() == "x"


def test_an_output_that_is_a_file(tmp_path: Path, csv: Path) -> None:
    code, text = invoke("study", csv, "--target", "y", "--out", csv, *OPTIONS)
    assert code == 2
    assert "the output must be a folder" in text


CHANGES = {
    "options": (["--seed", 7], "seed was 0 and is 7"),
    "data": ([], "the table has changed since"),
    "rates": (["--rates", "0.2,0.7"], "settings differ: no longer dropout 0.6, now dropout 0.7;"),
    "arms": (
        ["--arms", "dropout,batch_norm,input"],
        "differ: now batch norm, now dropout 0.1 on the input, ",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_another_study_in_the_folder_is_kept(change: str, tmp_path: Path, csv: Path) -> None:
    out = tmp_path / "out"
    assert invoke("study", csv, "--target", "y", "--out", out, *OPTIONS)[0] == 0
    before = files(out)
    more, words = CHANGES[change]
    if change == "data":
        make_frame(160).to_csv(csv, index=False)
    code, text = invoke("study", csv, "--target", "y", "--out", out, *OPTIONS, *more)
    assert code == 2
    assert words in text
    assert files(out) == before


def test_two_runs_in_one_folder(tmp_path: Path, csv: Path) -> None:
    from filelock import FileLock

    out = tmp_path / "out"
    assert invoke("study", csv, "--target", "y", "--out", out, *OPTIONS)[0] == 0
    with FileLock(out / ".lock"):
        code, text = invoke("study", csv, "--target", "y", "--out", out, *OPTIONS)
    assert code == 2
    assert "another run is writing" in text


def test_a_folder_of_our_names_with_another_programs_database(tmp_path: Path, csv: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "results.json").write_text("precious")
    with closing(sqlite3.connect(out / "study.sqlite")) as connection:
        connection.execute("CREATE TABLE patients (name TEXT)")
    before = files(out)
    code, text = invoke("study", csv, "--target", "y", "--out", out, *OPTIONS)
    assert code == 2
    assert "it is another program's database" in text
    assert {name: content for name, content in files(out).items() if name != ".lock"} == before


def test_a_study_that_kept_nothing_does_not_claim_the_folder(tmp_path: Path, csv: Path) -> None:
    out = tmp_path / "out"
    frame = make_frame()
    frame.assign(age=1, plan="a", calls=2).to_csv(csv, index=False)
    code, text = invoke("study", csv, "--target", "y", "--out", out, *OPTIONS)
    assert code == 2
    assert "a feature must vary" in text
    frame.to_csv(csv, index=False)
    assert invoke("study", csv, "--target", "y", "--out", out, *OPTIONS)[0] == 0


def test_a_store_that_is_none(tmp_path: Path, csv: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "study.sqlite").write_bytes(b"not a database" * 100)
    code, text = invoke("study", csv, "--target", "y", "--out", out, *OPTIONS)
    assert code == 2
    assert "must be a study's store" in text
    assert (out / "study.sqlite").read_bytes() == b"not a database" * 100


def test_an_output_whose_name_is_too_long(csv: Path) -> None:
    code, text = invoke("study", csv, "--target", "y", "--out", "x" * 300, *OPTIONS)
    assert code == 2
    assert "the output folder must be writable" in text


@pytest.mark.parametrize(
    "options",
    [
        {"folds": 2.5},
        {"epochs": "3"},
        {"rates": 0.3},
        {"rates": [None]},
        {"hidden": 64},
        {"seed": -1},
        {"seeds": True},
        {"minutes": 0},
        {"minutes": "1"},
    ],
)
def test_python_options_that_cannot_be_used(options: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InputError):
        thinned.study(make_frame(), "y", out=tmp_path / "out", **{**SMALL, **options})
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(os.name == "nt", reason="folders have no such mode on Windows")
def test_a_folder_that_cannot_be_made(csv: Path) -> None:
    code, text = invoke("study", csv, "--target", "y", "--out", "/proc/nothing/here", *OPTIONS)
    assert code == 2
    assert "the output folder must be writable" in text


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--rates", "0.2,1.5"], "rates must lie in [0, 1)"),
        (["--rates", "0"], "one must be above 0"),
        (["--rates", "a,b"], "give rates separated by commas, got 'a,b'"),
        (["--hidden", "64;64"], "give widths separated by commas"),
        (["--hidden", "0"], "hidden widths must lie between 1 and 65,536; got (0,)"),
        (["--hidden", "10000000,10000000"], "hidden widths must lie between 1 and 65,536"),
        (["--hidden", ""], "give widths separated by commas"),
        (["--rates", ""], "give rates separated by commas"),
        (["--folds", "1"], "folds must be a whole number of at least 2; got 1"),
        (["--seeds", "0"], "seeds must be a whole number of at least 1; got 0"),
        (["--epochs", "0"], "epochs must be a whole number of at least 1; got 0"),
        (["--target", "z"], "'z'"),
        (["--task", "ranking"], "ranking"),
    ],
)
def test_options_that_cannot_be_used(args: list[str], words: str, tmp_path: Path, csv: Path) -> None:
    code, text = invoke("study", csv, "--out", tmp_path / "out", "--target", "y", *args)
    assert code == 2
    assert words in text
    assert "Traceback" not in text
    assert not (tmp_path / "out").exists()


def test_a_missing_file(tmp_path: Path) -> None:
    code, text = invoke("study", tmp_path / "no.csv", "--target", "y", "--out", tmp_path / "out")
    assert code == 2
    assert "no.csv" in text
    assert not (tmp_path / "out").exists()


def test_diverged_networks_are_an_error_not_a_verdict(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="losses must stay finite"):
        thinned.study(make_frame(task="regression"), "y", out=tmp_path, learning_rate=1e30, **SMALL)


# --- predictions and the saved model -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished") / "run"
    thinned.study(make_frame(), "y", out=folder, **SMALL)
    return folder


def test_predict_writes_a_column_of_probabilities(finished: Path, csv: Path, tmp_path: Path) -> None:
    code, text = invoke("predict", finished, csv)
    assert code == 0
    written = pd.read_csv(tmp_path / "customers-predicted.csv")
    new = ["probability_no", "probability_yes", "predicted"]
    new += ["uncertainty", "uncertainty_aleatoric", "uncertainty_epistemic"]
    assert written.columns.tolist() == ["age", "plan", "calls", "y", *new]
    np.testing.assert_allclose(
        written["probability_yes"], Model.load(finished / "model").predict(make_frame())[:, 1], rtol=1e-9
    )
    before = (tmp_path / "customers-predicted.csv").read_bytes()
    code, text = invoke("predict", finished, csv)
    assert code == 2
    assert "the output must not exist yet" in text
    assert (tmp_path / "customers-predicted.csv").read_bytes() == before


def test_predict_leaves_the_users_cells_as_they_are(finished: Path, tmp_path: Path) -> None:
    file = tmp_path / "new.csv"
    file.write_text("id;age;plan;calls;country;note\n05258;38,80;basic;3;NA;9007199254740993\n007;41,5;plus;2;DE;\n")
    code, _ = invoke("predict", finished, file)
    assert code == 0
    header, *rows = (tmp_path / "new-predicted.csv").read_text().splitlines()
    uncertainty = "uncertainty;uncertainty_aleatoric;uncertainty_epistemic"
    assert header == f"id;age;plan;calls;country;note;probability_no;probability_yes;predicted;{uncertainty}"
    assert rows[0].startswith("05258;38,80;basic;3;NA;9007199254740993;0,")
    assert rows[1].startswith("007;41,5;plus;2;DE;;0,")


def test_a_model_predicts_from_polars_and_files(finished: Path, csv: Path) -> None:
    polars = pytest.importorskip("polars")
    model = Model.load(finished / "model")
    expected = model.predict(make_frame())
    np.testing.assert_array_equal(model.predict(polars.from_pandas(make_frame())), expected)
    np.testing.assert_allclose(model.predict(csv), expected, rtol=1e-6)


def test_a_rare_class_changes_no_number_of_members(tmp_path: Path) -> None:
    frame = make_frame()
    frame["y"] = np.where(np.arange(150) < 3, "rare", frame["y"])
    study = thinned.study(frame, "y", out=tmp_path, **SMALL)
    assert study.model.metadata.members == 5


def test_the_order_of_columns_and_rows_does_not_matter(finished: Path) -> None:
    model, frame = Model.load(finished / "model"), make_frame().drop(columns="y")
    expected = model.predict(frame)
    np.testing.assert_array_equal(model.predict(frame[["calls", "plan", "age"]]), expected)
    np.testing.assert_allclose(model.predict(frame.iloc[::-1])[::-1], expected, rtol=1e-5)
    assert model.predict(frame.iloc[:0]).shape == (0, 2)


def test_predicting_needs_the_columns_of_the_study(finished: Path, csv: Path) -> None:
    make_frame().drop(columns=["age", "y"]).to_csv(csv, index=False)
    code, text = invoke("predict", finished, csv)
    assert code == 2
    assert "'age'" in text


def test_predicting_from_a_folder_without_a_study(tmp_path: Path, csv: Path) -> None:
    code, text = invoke("predict", tmp_path, csv)
    assert code == 2
    assert "run `thinned study` first" in text


def test_predictions_do_not_replace_a_column(finished: Path, csv: Path, tmp_path: Path) -> None:
    make_frame().assign(predicted=1).to_csv(csv, index=False)
    code, text = invoke("predict", finished, csv)
    assert code == 2
    assert "the file has 'predicted'" in text


@pytest.mark.parametrize("name", ["weights.safetensors", "encoder.skops", "model.json"])
@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "missing"])
def test_a_damaged_model_is_refused(name: str, damage: str, finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(finished / "model", folder)
    path = folder / name
    content = path.read_bytes()
    match damage:
        case "flip":
            path.write_bytes(bytes([content[0] ^ 0xFF]) + content[1:])
        case "truncate":
            path.write_bytes(content[: len(content) // 2])
        case "empty":
            path.write_bytes(b"")
        case "missing":
            path.unlink()
    with pytest.raises(InputError):
        Model.load(folder)


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        ("task", "ranking"),
        ("inputs", -1),
        ("inputs", 10**12),
        ("hidden", [1_000_000, 1_000_000]),
        ("center", float("nan")),
        ("classes", []),
        ("hidden", []),
        ("hidden", [8.5]),
        ("members", True),
        ("setting", {"dropout": 1.0}),
        ("setting", {"depth": 1}),
        ("setting", None),
        ("spread", 0),
        ("classes", [1, 2]),
        ("files", {"../../etc/passwd": ""}),
        ("schema", 9),
        ("hidden", [9]),
    ],
)
def test_a_tampered_description_is_refused(entry: str, value: object, finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(finished / "model", folder)
    card = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps({**card, entry: value}))
    with pytest.raises(InputError, match=r"model\.json"):
        Model.load(folder)


@pytest.mark.slow
def test_the_demo_and_python_m(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "thinned", "demo", "--out", str(tmp_path / "demo"), "--epochs", "1"]
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "540 networks" in result.stdout
    assert result.stdout.rstrip().endswith("report.html")
    assert (tmp_path / "demo" / "report.html").exists()


def test_threads_do_not_leak(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither in this thread nor in one started later, whose number torch keeps apart."""

    def counts() -> tuple[int, int]:
        seen: list[int] = []
        thread = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        return torch.get_num_threads(), seen[0]

    before = counts()
    thinned.study(make_frame(), "y", out=tmp_path, **SMALL)
    assert counts() == before
