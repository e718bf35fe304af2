"""Callbacks of a study: what they are told, and what MLflow's file store holds afterwards."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import thinned
from thinned.studies.callbacks import StudyCallback, open_callbacks
from thinned.studies.design.plan import Plan
from thinned.studies.training.drive import Progress

SMALL: dict[str, Any] = {"arms": ("dropout",), "rates": (0.5,), "folds": 2, "seeds": 1, "hidden": (4,), "epochs": 2}


class Listener(StudyCallback):
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.heard: list[object] = []

    def on_progress(self, progress: Progress, plan: Plan) -> None:
        self.heard.append((progress.networks, plan.networks))

    def on_end(self, study: thinned.Study) -> None:
        self.heard.append(study)

    def on_error(self, error: BaseException) -> None:
        self.heard.append(error)


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 2))
    return pd.DataFrame({"a": x[:, 0], "b": x[:, 1], "y": np.where(x[:, 0] > 0, "yes", "no")})


@pytest.fixture
def mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # later versions ask for it
    mlflow = pytest.importorskip("mlflow")
    mlflow.set_tracking_uri((tmp_path / "runs").as_uri())
    yield mlflow
    mlflow.end_run()


def test_callbacks_hear_of_progress_and_end_in_that_order(frame: pd.DataFrame, tmp_path: Path) -> None:
    first, second = Listener(), Listener()
    study = thinned.study(frame, "y", out=tmp_path / "out", progress=False, callbacks=[first, second], **SMALL)
    *steps, end = first.heard
    assert end is study
    assert second.heard == first.heard
    networks = [number for number, _ in steps]  # type: ignore[misc]
    assert all(a <= b for a, b in itertools.pairwise(networks))
    assert steps[-1] == (4, 4)


def test_callbacks_hear_of_an_error_and_it_goes_on() -> None:
    listener = Listener()
    with pytest.raises(thinned.InputError) as caught:
        thinned.study(pd.DataFrame({"y": [0, 1]}), "z", callbacks=[listener])
    assert listener.heard == [caught.value]
    with pytest.raises(KeyboardInterrupt), open_callbacks([listener], lambda step, plan: None):
        raise KeyboardInterrupt
    assert isinstance(listener.heard[1], KeyboardInterrupt)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")
def test_mlflow_holds_the_design_the_scores_the_verdict_and_the_report(
    frame: pd.DataFrame, tmp_path: Path, mlflow: Any
) -> None:
    study = thinned.study(
        frame, "y", out=tmp_path / "out", progress=False, callbacks=[thinned.mlflow_callback()], **SMALL
    )
    assert mlflow.active_run() is None  # the run that it started is ended
    client = mlflow.MlflowClient()
    (run,) = client.search_runs(["0"])
    assert run.info.status == "FINISHED"
    assert run.data.params["arms"] == "none,dropout"
    assert run.data.params["folds"] == "2"
    assert run.data.tags["verdict"] == study.results.verdict.headline
    by_name = {arm.name: arm for arm in study.results.arms}
    score = by_name["dropout"].best.scores[study.results.selection].mean
    assert run.data.metrics["test/dropout"] == pytest.approx(score)
    assert run.data.metrics["networks"] == 4
    kept = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert kept == {"results.json", "report.html"}


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")
def test_mlflow_keeps_a_failed_run_and_leaves_an_active_one_open(mlflow: Any) -> None:
    callback = thinned.mlflow_callback()
    client = mlflow.MlflowClient()
    step = Progress("training", 0.5)

    def run() -> None:
        with open_callbacks([callback], lambda *_: None) as report:
            report(step, None)  # type: ignore[arg-type]
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        run()
    (failed,) = client.search_runs(["0"])
    assert failed.info.status == "FAILED"
    with mlflow.start_run() as own:
        callback.on_progress(step, None)  # type: ignore[arg-type]
        callback.on_error(KeyboardInterrupt())
        assert mlflow.active_run().info.run_id == own.info.run_id
    assert client.get_run(own.info.run_id).data.metrics["networks"] == 0
