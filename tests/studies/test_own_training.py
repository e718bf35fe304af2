"""The study of a network that a training function of the user's trains, from examples to a verdict."""

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from example_networks import blobs, build
from own_training import losses, train
from torch import nn

import thinned
from thinned import Study, TrainingRun
from thinned.errors import InputError
from thinned.studies import finished_networks
from thinned.studies.design.plan import Plan
from thinned.studies.results import NetworkSummary, PlannedNetwork, Results
from thinned.studies.training.drive import Progress
from thinned.studies.training.store import Store

SMALL: dict[str, Any] = {"arms": ["dropout"], "rates": (0.2, 0.5), "folds": 2, "seeds": 1, "jobs": 1, "device": "cpu"}
PILOT_NETWORKS, NETWORKS = 3 * 2, 2 * 2


def study(out: Path, function: str | Callable[..., object] = train, data: object = None, **options: Any) -> Study:
    examples = blobs(60) if data is None else data
    return thinned.study(examples, network=build, train=function, out=out, **{**SMALL, **options})


def numbers(results: Results) -> tuple[object, ...]:
    """What must not depend on how a study was run."""
    return results.plan.digest, results.settings, results.arms, results.comparisons, results.verdict, results.pilot


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """An uninterrupted study; no test writes into its folder."""
    return study(tmp_path_factory.mktemp("study") / "whole")


def test_from_a_function_to_a_verdict(whole: Study) -> None:
    results = whole.results
    assert results.run.networks == NETWORKS == finished_networks(whole.folder) - PILOT_NETWORKS
    assert isinstance(results.plan.own, PlannedNetwork)
    assert results.plan.own.training == (("train", "own_training:train"),)
    assert isinstance(results.plan.own.identities.train, str)
    assert [q.text for q in results.plan.questions] == ["Does dropout help?"]
    for setting in results.settings:
        assert setting.best == setting.end
        assert (len(setting.curves.train), len(setting.curves.validation)) == (0, 3)
        assert 1 <= setting.best_epoch <= 3
        assert setting.best.train.mean is not None
    assert "unreported" not in {warning.code for warning in results.warnings}
    assert whole.verdict.startswith(results.verdict.headline)
    assert sorted(path.name for path in whole.folder.iterdir()) == [
        *(".lock", "network", "pilot", "report.html", "results.json", "study.sqlite", "timing.json")
    ]


def test_the_function_trains_the_network_that_is_left(tmp_path: Path) -> None:
    """It gets four fifths of all examples, and the others to validate; of a given test set it sees nothing."""
    sizes: list[tuple[int, int, int]] = []

    def noting(network: nn.Module, run: TrainingRun) -> None:
        sizes.append((len(run.training), len(run.validation), len(run.test)))
        train(network, run)

    done = study(tmp_path / "run", noting, (blobs(60), blobs(18, seed=1)), seeds=5)
    assert sizes[-1] == (48, 12, 12)
    left = done.results.network
    assert isinstance(left, NetworkSummary)
    assert (left.failure, left.epochs, left.examples) == (None, None, 48)
    assert left.lines is not None
    assert "noting on 48 examples, while the others validated" in left.lines.splitlines()[0]
    loaded = thinned.load_network(tmp_path / "run/network", build)
    x, y = blobs(60)
    assert float((loaded(x).argmax(1) == y).float().mean()) > 0.5  # chance is 1/3
    count = len(sizes)
    weights = (tmp_path / "run/network/weights.safetensors").read_bytes()
    shutil.rmtree(tmp_path / "run/network")
    study(tmp_path / "run", noting, (blobs(60), blobs(18, seed=1)), seeds=5)
    assert len(sizes) == count + 1
    assert (tmp_path / "run/network/weights.safetensors").read_bytes() == weights
    assert not (tmp_path / "run/.checkpoints").exists()


def test_a_report_says_nothing_of_early_stopping(whole: Study, tmp_path: Path) -> None:
    page = whole.report(tmp_path / "report.html").read_text()
    assert whole.results.verdict.headline[:30] in page
    assert "own_training:train" in page
    text = page[page.index("<body>") : page.index("<script")].lower()
    for words in ("early stopping", "stop early", "full budget", "best epoch,"):
        assert words not in text
    assert "early stopping" not in whole.verdict
    assert "best epoch" not in whole.verdict


def test_the_same_call_again_trains_nothing(whole: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("a network was trained")

    monkeypatch.setattr(Store, "add", refuse)
    shutil.copytree(whole.folder, tmp_path / "run")
    assert numbers(study(tmp_path / "run").results) == numbers(whole.results)


@pytest.mark.slow
def test_two_processes_find_the_same_numbers(whole: Study, tmp_path: Path) -> None:
    assert numbers(study(tmp_path / "run", jobs=2).results) == numbers(whole.results)


class InterruptionError(BaseException):
    """Stands for a process that is killed."""


@pytest.mark.parametrize("calls", [1, 4, 9])
def test_a_killed_study_goes_on_to_the_same_numbers(calls: int, whole: Study, tmp_path: Path) -> None:
    """It ends in the middle of a network; finished ones are never trained again."""
    begun: list[int] = []

    def killed(network: nn.Module, run: TrainingRun) -> None:
        begun.append(run.seed)
        if len(begun) > 2 + calls:  # two measure the time
            train(network, run, epochs=1)
            raise InterruptionError
        train(network, run)

    with pytest.raises(InterruptionError):
        study(tmp_path / "run", _alike(killed))
    finished = finished_networks(tmp_path / "run")
    assert finished == calls
    begun.clear()

    def counted(network: nn.Module, run: TrainingRun) -> None:
        begun.append(run.seed)
        train(network, run)

    assert numbers(study(tmp_path / "run", _alike(counted)).results)[1:] == numbers(whole.results)[1:]
    assert len(begun) == PILOT_NETWORKS + NETWORKS - finished + 1  # the one that is left


def _alike(function: Callable[..., object]) -> Callable[..., object]:
    """Functions of one source and one name: for a study the same one."""

    def alike(network: nn.Module, run: TrainingRun) -> object:
        return function(network, run)

    return alike


def test_a_changed_function_is_refused(whole: Study, tmp_path: Path) -> None:
    module = tmp_path / "changed_training.py"
    module.write_text("from own_training import train as original\ndef train(network, run): original(network, run)\n")
    shutil.copytree(whole.folder, tmp_path / "run")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        with pytest.raises(InputError, match="the source of the training function has changed since"):
            study(tmp_path / "run", "changed_training:train")
    with pytest.raises(InputError, match="only the same plan"):
        thinned.study(blobs(60), network=build, out=tmp_path / "run", **SMALL)


def test_two_folds_know_no_reports(tmp_path: Path) -> None:
    def silent(network: nn.Module, run: TrainingRun) -> None:
        run.report = lambda epoch, loss: None  # type: ignore[method-assign]
        train(network, run)

    results = study(tmp_path / "run", silent, rates=(0.5,)).results
    (warning,) = [warning for warning in results.warnings if warning.code == "unreported"]
    assert "no validation losses of 4 of 4 networks" in warning.message
    assert results.verdict.outcome != "budget too small"
    page = (tmp_path / "run" / "report.html").read_text()
    assert "reported no validation losses" in page


def test_losses_of_the_users_own_decide(tmp_path: Path) -> None:
    """Validation and test losses are the function's: here the rate itself, so that the choice and the gap are known."""

    def scored(network: nn.Module, run: TrainingRun) -> np.ndarray[Any, Any]:
        train(network, run)
        rate = float(network[3].p)  # type: ignore[index, union-attr, arg-type]
        run.scores(validation=np.full(len(run.validation), 1.0 - rate))
        return np.full(len(run.test), 2.0 - rate)

    results = study(tmp_path / "run", scored).results
    assert [setting.label for setting in results.settings] == ["no regularisation", "dropout 0.5"]
    assert results.comparisons[0].difference == pytest.approx(0.5)
    assert all(setting.best.train.mean is None for setting in results.settings)
    assert Study.load(tmp_path / "run").results == results


def test_a_given_test_set_is_crossed_with_seeds(tmp_path: Path) -> None:
    def scored(network: nn.Module, run: TrainingRun) -> torch.Tensor:
        train(network, run)
        return losses(network, run.test)

    data = thinned.Examples(blobs(60), test=blobs(18, seed=1))
    results = study(tmp_path / "run", scored, data, rates=(0.5,), seeds=5).results
    assert results.test_train_ratio == 18 / 60
    assert all(math.isfinite(comparison.low) for comparison in results.comparisons)


def test_the_learning_rate_is_crossed(tmp_path: Path) -> None:
    rates: set[float] = set()

    def crossed(network: nn.Module, run: TrainingRun) -> None:
        rates.add(run.learning_rate)
        train(network, run)

    study(tmp_path / "run", crossed, rates=(0.5,), learning_rates=(0.01, 0.1))
    assert rates == {0.01, 0.1}


def test_a_time_limit_counts_whole_networks(tmp_path: Path) -> None:
    said: list[str] = []
    watch: Callable[[Progress, Plan], None] = lambda step, plan: said.append(step.doing)  # noqa: E731
    study(tmp_path / "run", arms=None, minutes=0.001, progress=watch)
    assert said[0] == "training one network, to measure the time"
    (cost,) = [text for text in dict.fromkeys(said) if text.startswith("To fit 0.001 minutes")]
    assert "No smaller design is left for 0.001 minutes: arms that you name are shorter." in cost
    assert finished_networks(tmp_path / "run") < 12 + 12


def _untouched(network: nn.Module, run: TrainingRun) -> None:
    """Reads nothing of the run."""


def _decayless(network: nn.Module, run: TrainingRun) -> None:
    x = torch.stack([run.training[index][0] for index in range(4)])  # type: ignore[index]
    network(x).sum().backward()
    torch.optim.SGD(network.parameters(), lr=0.01).step()


@pytest.mark.parametrize(
    ("function", "options", "words"),
    [
        (_decayless, {"arms": ["dropout", "weight_decay"]}, "train must use run.weight_decay"),
        (_decayless, {"learning_rates": (0.1, 0.2)}, "train must use run.learning_rate"),
        (_decayless, {"learning_rate": 0.5}, "train must use run.learning_rate"),
        (_untouched, {}, "train must leave the network trained"),
        (train, {"epochs": 3}, "epochs is an option of the study's own training; got train as well"),
        (train, {"batch_size": 3}, "batch_size is an option of the study's own training"),
        (train, {"optimizer": "sgd"}, "optimizer is an option of the study's own training"),
        (train, {"schedule": "cosine"}, "schedule is an option of the study's own training"),
        (train, {"patience": 3}, "patience is an option of the study's own training"),
        (train, {"clip": 3.0}, "clip is an option of the study's own training"),
        (train, {"precision": "bfloat16"}, "precision is an option of the study's own training"),
        (train, {"loss": nn.CrossEntropyLoss()}, "loss is an option of the study's own training"),
        (train, {"sampler": list}, "sampler is an option of the study's own training"),
        (3, {}, "train must be a function; got int"),
        ("own_training:no_such", {}, "own_training must have no_such"),
        ("os:sep", {}, "train must be a function; got str"),
    ],
)
def test_what_has_no_meaning_is_refused_before_anything_is_stored(
    function: Any, options: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=words):
        study(tmp_path / "run", function, **options)
    assert not (tmp_path / "run").exists()


def test_an_exception_names_the_network_and_leaves_a_traceback(tmp_path: Path) -> None:
    begun: list[int] = []

    def fail(network: nn.Module, run: TrainingRun) -> None:
        begun.append(run.seed)
        if len(begun) == 5:
            raise KeyError("labels")
        train(network, run)

    with pytest.raises(InputError, match=r"it raised KeyError: 'labels' at .*; this was network 3 of 6") as raised:
        study(tmp_path / "run", _alike(fail))
    assert finished_networks(tmp_path / "run") == 2
    log = next((tmp_path / "run" / "pilot").glob("*.log"))
    assert str(log) in str(raised.value)
    assert "in fail" in log.read_text()
    assert study(tmp_path / "run", _alike(train)).results.run.networks == NETWORKS
