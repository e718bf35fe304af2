"""The network that a study leaves: trained on all examples, once, and never at the cost of the results."""

import dataclasses
import html
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from example_networks import CONFIG, blobs, build, unchanged
from torch import nn

import thinned
from thinned.errors import InputError
from thinned.studies import Study
from thinned.studies.design.own_network.options import NetworkOptions
from thinned.studies.design.plan import Plan
from thinned.studies.design.splits import Split
from thinned.studies.examples.examples import ExampleSet
from thinned.studies.examples.load import load_examples
from thinned.studies.network_api import FinishedNetworks, Workers, study_network
from thinned.studies.recommended_network import leave
from thinned.studies.recommended_network.failure import DivergedError
from thinned.studies.recommended_network.leave import leave_network
from thinned.studies.recommended_network.metadata import NetworkMetadata
from thinned.studies.recommended_network.storage import read_network
from thinned.studies.results import NetworkSummary
from thinned.studies.training.drive import Progress
from thinned.studies.training.loop import NetworkFunctions
from thinned.studies.training.loop.fit import fit
from thinned.studies.training.store import check_folder

X, Y = blobs(60)
SMALL: dict[str, Any] = {"arms": ["dropout"], "rates": (0.5,), "epochs": 3, "folds": 2, "seeds": 1, "device": "cpu"}
NETWORK_FILES = ["build.py", "setting.json", "weights.safetensors"]


def unimportable() -> Callable[[], nn.Module]:
    """A function without an import path."""

    def inner() -> nn.Module:
        return build()

    return inner


def plain() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 3))


def study(out: Path, data: object = (X, Y), **options: Any) -> Study:
    return thinned.study(data, network=build, out=out, jobs=1, **{**SMALL, **options})


def finished(out: Path, data: object = (X, Y), network: Callable[[], nn.Module] = build, **options: Any) -> Any:
    """A study without the network that it leaves; dropout is what it recommends."""
    chosen = NetworkOptions(**{**SMALL, **options})
    done = study_network(data, network, out, chosen, Workers(1), lambda step, plan: None, None)
    recommended = msgspec.structs.replace(done.results.verdict.recommended, arm="dropout", setting=1)
    verdict = msgspec.structs.replace(done.results.verdict, recommended=recommended)
    return done._replace(results=msgspec.structs.replace(done.results, verdict=verdict))


def left(done: FinishedNetworks, folder: Path) -> NetworkSummary:
    return leave_network(done.study, done.plan, done.results, folder, lambda step, plan: None, lambda: None)


def summary(study: Study) -> NetworkSummary:
    assert isinstance(study.results.network, NetworkSummary)
    return study.results.network


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A finished study; no test writes into its folder."""
    return study(tmp_path_factory.mktemp("study") / "whole")


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("a network was trained")

    monkeypatch.setattr(leave, "train_recommended", refuse)


def test_it_is_trained_on_all_examples_for_the_median_best_epoch(whole: Study) -> None:
    about = read_network(whole.folder / "network").about
    chosen = whole.results.verdict.recommended
    networks = next(setting for setting in whole.results.settings if setting.index == chosen.setting)
    assert (about.arm, about.label) == (chosen.arm, chosen.label)
    assert about.epochs == summary(whole).epochs == int(networks.best_epoch + 0.5)
    assert about.examples == summary(whole).examples == 60
    assert about.classes == ("0", "1", "2")
    assert about.plan == whole.results.plan.digest
    assert sorted(path.name for path in (whole.folder / "network").iterdir()) == NETWORK_FILES


@pytest.mark.parametrize("network", [build, plain])
def test_the_saved_network_is_the_trained_one_bit_for_bit(network: Callable[[], nn.Module], tmp_path: Path) -> None:
    done = finished(tmp_path / "run", network=network)
    assert left(done, tmp_path / "run").failure is None
    about = read_network(tmp_path / "run/network").about
    assert about.rates == {"3" if network is build else "2.input_dropout": 0.5}
    trained = leave.train_recommended(done.study, done.plan, about, tmp_path, lambda epoch: None)
    loaded = thinned.load_network(tmp_path / "run/network", network)
    plainly = network()
    plainly.load_state_dict({name: value for name, value in loaded.state_dict().items() if name != "thinned_clock"})
    with torch.no_grad():
        assert torch.equal(trained(X), loaded(X))
        assert torch.equal(trained(X), plainly.eval()(X))
        assert not torch.equal(loaded.train()(X), loaded(X))  # it drops as in the study


def test_the_lines_build_it_again_elsewhere(whole: Study, tmp_path: Path) -> None:
    lines = summary(whole).lines
    assert lines is not None
    (tmp_path / "empty").mkdir()
    shutil.copytree(whole.folder / "network", tmp_path / "moved")
    show = (
        "\nimport torch\nprint(network.training, network(torch.tensor([[0.5, -1.0, 2.0], [1.0, 0.25, -0.5]])).tolist())"
    )
    loaded = thinned.load_network(whole.folder / "network", build)
    expected = f"False {loaded(torch.tensor([[0.5, -1.0, 2.0], [1.0, 0.25, -0.5]])).tolist()}\n"
    for number, code in enumerate([lines, (tmp_path / "moved/build.py").read_text()]):
        script = tmp_path / ("empty" if number == 0 else "moved") / "script.py"
        script.write_text(code + show)
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run(
            [sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=False, env=environment
        )
        assert done.stdout == expected, done.stderr


@pytest.mark.usefixtures("no_training")
def test_the_same_call_again_keeps_it(whole: Study, tmp_path: Path) -> None:
    shutil.copytree(whole.folder, tmp_path / "run")
    again = study(tmp_path / "run")
    moved = summary(whole).lines.replace(str(whole.folder), str(tmp_path / "run"))  # type: ignore[union-attr]
    assert again.results.network == msgspec.structs.replace(summary(whole), lines=moved)


def test_a_damaged_one_is_trained_again_to_the_same_bits(whole: Study, tmp_path: Path) -> None:
    shutil.copytree(whole.folder, tmp_path / "run")
    weights = tmp_path / "run/network/weights.safetensors"
    weights.write_bytes(weights.read_bytes() + b"?")
    study(tmp_path / "run")
    assert weights.read_bytes() == (whole.folder / "network/weights.safetensors").read_bytes()


def test_an_interrupted_one_costs_no_results_and_comes_out_the_same(whole: Study, tmp_path: Path) -> None:
    def interrupt(step: Progress, plan: Plan) -> None:
        if "recommended network" in step.doing:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        study(tmp_path / "run", progress=interrupt)
    kept = Study.load(tmp_path / "run")
    assert kept.results.verdict == whole.results.verdict
    assert kept.results.network is msgspec.UNSET
    assert (tmp_path / "run/report.html").is_file()
    assert not (tmp_path / "run/network").exists()
    study(tmp_path / "run")
    for name in ("weights.safetensors", "setting.json"):
        assert (tmp_path / "run/network" / name).read_bytes() == (whole.folder / "network" / name).read_bytes()


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (InputError("its weights and losses must stay finite; they did not"), "must stay finite; they did not"),
        (RuntimeError("a size\nis wrong"), "it raised RuntimeError: a size is wrong at "),
        (MemoryError(), "training needs memory; there is not enough; take a smaller batch size or fewer jobs"),
    ],
)
def test_a_failure_is_a_sentence_beside_the_results(
    error: Exception, told: str, whole: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise error

    shutil.copytree(whole.folder, tmp_path / "run")
    shutil.rmtree(tmp_path / "run/network")
    monkeypatch.setattr(leave, "train_recommended", fail)
    failed = study(tmp_path / "run")
    assert summary(failed).lines is None
    assert told in str(summary(failed).failure)
    assert "\n" not in str(summary(failed).failure)
    assert failed.results.verdict == whole.results.verdict
    assert told in html.unescape((tmp_path / "run/report.html").read_text())
    assert (tmp_path / "run/error.log").is_file() == isinstance(error, RuntimeError)


def test_a_network_that_diverges_is_refused(tmp_path: Path) -> None:
    done = finished(tmp_path / "run")
    about = leave._describe(done.study, done.plan, done.results)
    setting = dataclasses.replace(about.setting, learning_rate=1e30)
    with pytest.raises(InputError, match="must stay finite"):
        leave.train_recommended(
            done.study, done.plan, msgspec.structs.replace(about, setting=setting), tmp_path, lambda epoch: None
        )


def test_a_network_that_diverges_is_not_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder keeps the sentence; other failures, other versions and another plan are tried again."""
    done, folder = finished(tmp_path / "run"), tmp_path / "run"
    tries: list[Exception | None] = []
    errors: list[Exception] = [InputError("no room"), DivergedError("they did not stay finite")]
    train = leave.train_recommended

    def trained(*args: Any) -> nn.Module:
        tries.append(errors.pop(0) if errors else None)
        if tries[-1] is not None:
            raise tries[-1]
        return train(*args)

    monkeypatch.setattr(leave, "train_recommended", trained)
    assert "no room" in str(left(done, folder).failure)
    told = left(done, folder)
    assert "could not be trained and saved: they did not stay finite" in str(told.failure)
    assert left(done, folder) == told
    assert len(tries) == 2
    check_folder(folder)  # it is a study's all the while
    (folder / "diverged.json").write_text("{}")  # damaged
    monkeypatch.setattr(leave, "versions", lambda: {"torch": "another"})
    errors.append(DivergedError("nor did they here"))
    assert "nor did they here" in str(left(done, folder).failure)
    monkeypatch.undo()
    assert left(done, folder).failure is None
    assert not (folder / "diverged.json").exists()


def test_a_given_test_set_stays_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = thinned.Examples(blobs(60), test=blobs(18, seed=1))
    done = finished(tmp_path / "run", data, seeds=5)
    read: set[str] = set()
    source = ExampleSet.source

    def watched(examples: ExampleSet, part: Any) -> object:
        read.add(part)
        return source(examples, part)

    monkeypatch.setattr(ExampleSet, "source", watched)
    summary = left(done, tmp_path / "run")
    assert (summary.failure, summary.examples) == (None, 60)
    assert read == {"train", "eval"}


def test_without_validation_examples_the_schedule_runs_over_the_whole_budget() -> None:
    examples, none = load_examples((X, Y)), np.empty(0, dtype=np.int64)
    split = Split(0, 0, np.arange(60), none, none)

    def weights(budget: int, epochs: int | None, **changes: Any) -> torch.Tensor:
        config = dataclasses.replace(CONFIG, epochs=budget, **changes)
        fitted = fit(NetworkFunctions(build), unchanged, examples, split, config, 1, epochs=epochs)
        assert fitted.position.epoch == (epochs or budget)
        assert (fitted.at_best, fitted.at_end, fitted.position.validation) == (None, None, ())
        return fitted.network.get_parameter("4.weight")

    assert torch.equal(weights(4, 2), weights(2, None))
    assert torch.equal(weights(4, 2, patience=1), weights(2, None))  # nothing to wait for
    assert not torch.equal(weights(4, 2, schedule="cosine"), weights(2, None, schedule="cosine"))


def test_a_function_without_a_path_is_named_in_a_comment(tmp_path: Path) -> None:
    done = finished(tmp_path / "run", network=unimportable())
    lines = left(done, tmp_path / "run").lines
    assert lines is not None
    assert "# build is the function that the study had as network=; it can't be imported" in lines
    found: dict[str, Any] = {"build": build}
    exec(lines, found)
    with pytest.warns(UserWarning, match="the file that builds the network has changed since the study"):
        assert torch.equal(found["network"](X), thinned.load_network(tmp_path / "run/network", build)(X))


def test_a_model_of_a_table_is_another_thing(whole: Study) -> None:
    with pytest.raises(InputError, match=r"has a network of your own; thinned\.load_network\('"):
        _ = whole.model


def test_what_is_described_is_typed(whole: Study) -> None:
    about = msgspec.json.decode((whole.folder / "network/setting.json").read_bytes(), type=NetworkMetadata)
    assert about == read_network(whole.folder / "network").about
    assert (about.training["optimizer"], about.training["schedule"], about.budget) == ("adamw", "constant", 3)
    assert {"torch", "thinned", "instruction_set"} <= about.versions.keys()
