"""A study whose networks train as stacks: the verdict and the numbers of one whose networks train one by one."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from example_networks import blobs
from torch import nn

import thinned
from thinned import Study
from thinned.studies import network_api
from thinned.studies.training.records import TrainedNetwork
from thinned.studies.training.stack import trial
from thinned.studies.training.stack.trial import StackSize
from thinned.studies.training.store import Store

SMALL: dict[str, Any] = {
    "arms": ["dropout", "weight_decay"],
    "rates": (0.2, 0.5),
    "epochs": 2,
    "folds": 2,
    "seeds": 1,
    "jobs": 1,
    "device": "cpu",
    "optimizer": "sgd",
    "learning_rate": 0.1,
}


def build() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Dropout(0.5), nn.Linear(16, 3))


class Branching(nn.Module):
    """Its code looks at an activation."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.drop = nn.Linear(3, 3), nn.Dropout(0.5)

    def forward(self, x: Any) -> Any:
        z = self.drop(self.linear(x))
        return z if z.sum() > 0 else 2 * z


def study(out: Path, network: Callable[[], nn.Module] = build) -> Study:
    return thinned.study(blobs(60), network=network, out=out, **SMALL)


def records(folder: Path) -> list[TrainedNetwork]:
    with closing(sqlite3.connect(folder / "study.sqlite")) as connection:
        rows = connection.execute("SELECT record FROM network ORDER BY repeat, fold, setting").fetchall()
    return [TrainedNetwork.from_json(row[0]) for row in rows]


def members_of(folder: Path) -> int:
    return int(json.loads((folder / "timing.json").read_text())["timing"][4])


@pytest.fixture
def stacked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every study has a trial, which finds every stack twice as fast."""
    monkeypatch.setattr(network_api, "_TRIED_SECONDS", 0.0)
    monkeypatch.setattr(trial, "_speedup", lambda trial, settings: 2.0)
    monkeypatch.setattr(trial, "_LONGEST_STEP", np.inf)


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of networks of each job that was finished."""
    sizes: list[int] = []
    add = Store.add

    def noted(store: Store, networks: list[TrainedNetwork], seconds: float) -> None:
        sizes.append(len(networks))
        add(store, networks, seconds)

    monkeypatch.setattr(Store, "add", noted)
    return sizes


def assert_same_verdict(one: Study, other: Study) -> None:
    assert one.results.verdict.headline == other.results.verdict.headline
    for folder in ("", "pilot"):
        for ours, theirs in zip(records(one.folder / folder), records(other.folder / folder), strict=True):
            assert ours.member == theirs.member
            assert ours.end.test == pytest.approx(theirs.end.test, rel=1e-4)
            assert ours.curves.validation == pytest.approx(theirs.curves.validation, rel=1e-4)


@pytest.mark.usefixtures("stacked")
def test_stacks_lead_to_the_same_verdict(tmp_path: Path, jobs: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    together = study(tmp_path / "together")
    assert members_of(tmp_path / "together") > 1
    assert max(jobs) > 1
    assert sum(jobs) == len(records(tmp_path / "together")) + len(records(tmp_path / "together" / "pilot"))
    jobs.clear()
    monkeypatch.setattr(network_api, "choose_size", lambda *args: StackSize())
    alone = study(tmp_path / "alone")
    assert set(jobs) == {1}
    assert_same_verdict(together, alone)


@pytest.mark.usefixtures("stacked")
def test_an_interrupted_study_goes_on_with_its_stacks_bit_for_bit(
    tmp_path: Path, jobs: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = study(tmp_path / "whole")
    pilot_jobs = jobs[:2]
    counted = Store.add

    class KilledError(BaseException):
        """The process ends."""

    def die(store: Store, networks: list[TrainedNetwork], seconds: float) -> None:
        if len(jobs) == 1:
            raise KilledError
        counted(store, networks, seconds)

    jobs.clear()
    with monkeypatch.context() as patch:
        patch.setattr(Store, "add", die)
        with pytest.raises(KilledError):
            study(tmp_path / "run")
    assert jobs == pilot_jobs[:1]

    def refuse(*args: object) -> dict[int, float]:
        raise AssertionError("a finished trial was made again")

    monkeypatch.setattr(network_api, "measure_speedups", refuse)
    assert study(tmp_path / "run").results.verdict == whole.results.verdict
    for folder in ("", "pilot"):
        assert records(tmp_path / "run" / folder) == records(tmp_path / "whole" / folder)


@pytest.mark.usefixtures("stacked")
def test_a_folder_from_before_stacks_goes_on_one_by_one(tmp_path: Path, jobs: list[int]) -> None:
    study(tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "network")
    kept = json.loads((tmp_path / "run" / "timing.json").read_text())
    (tmp_path / "run" / "timing.json").write_text(json.dumps(kept | {"timing": kept["timing"][:4]}))
    with closing(sqlite3.connect(tmp_path / "run" / "study.sqlite")) as connection, connection:
        connection.execute("DELETE FROM network WHERE fold = 1")
    jobs.clear()
    study(tmp_path / "run")
    assert set(jobs) == {1}


@pytest.mark.usefixtures("stacked")
def test_a_network_that_can_not_be_one_program_trains_alone(tmp_path: Path, jobs: list[int]) -> None:
    study(tmp_path / "run", Branching)
    assert members_of(tmp_path / "run") == 1
    assert set(jobs) == {1}


def test_a_short_study_has_no_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> dict[int, float]:
        raise AssertionError("a short study was tried")

    monkeypatch.setattr(network_api, "measure_speedups", refuse)
    study(tmp_path / "run")
    assert members_of(tmp_path / "run") == 1
