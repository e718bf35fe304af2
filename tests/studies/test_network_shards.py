"""Shards of a study of a network of one's own: merged in any order they are the study of one process, bit for bit."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from example_networks import blobs, build
from own_training import train
from torch import nn

import thinned
from thinned.errors import InputError
from thinned.studies import Study, finished_networks
from thinned.studies.network_shards import is_network_shard, merge_network_shards, train_network_shard
from thinned.studies.results import Results

OPTIONS: dict[str, Any] = {
    "arms": ["dropout"],
    "rates": (0.2, 0.5),
    "epochs": 2,
    "folds": 2,
    "seeds": 2,
    "device": "cpu",
}
PILOT_NETWORKS, NETWORKS = 3 * 2, 2 * 4
PARTS = 3


def data() -> object:
    return blobs(60)


def shard(number: int, folder: Path, network: Callable[[], nn.Module] = build, **options: Any) -> int:
    return train_network_shard(data, network, f"{number}/{PARTS}", out=folder, jobs=1, **{**OPTIONS, **options})


def numbers(results: Results) -> tuple[object, ...]:
    """What must not depend on how a study was run."""
    found = results.plan.digest, results.settings, results.arms, results.comparisons, results.verdict, results.pilot
    return *found, msgspec.structs.replace(results.claims, price=None), results.warnings, results.data.sha256


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """The study of one process."""
    return thinned.study(data, network=build, out=tmp_path_factory.mktemp("whole") / "run", jobs=1, **OPTIONS)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of the shards of both stages, and of the merged pilot; no test writes into them."""
    root = tmp_path_factory.mktemp("shards")
    counts = [shard(number, root / f"pilot-{number}", stage="pilot") for number in (1, 2, 3)]
    assert counts == [2, 2, 2]
    merged = merge_network_shards([root / f"pilot-{number}" for number in (2, 3, 1)], out=root / "pilot")
    assert merged == (PILOT_NETWORKS, None)
    counts = [shard(number, root / f"confirm-{number}", stage="confirm", pilot=root / "pilot") for number in (1, 2, 3)]
    assert counts == [3, 3, 2]
    return root


def confirmed(root: Path, *order: int) -> list[Path]:
    return [root / f"confirm-{number}" for number in order]


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 1, 2)])
def test_merged_shards_are_the_study_of_one_process(
    order: tuple[int, ...], whole: Study, root: Path, tmp_path: Path
) -> None:
    merged = merge_network_shards(confirmed(root, *order), out=tmp_path / "run").study
    assert merged is not None
    assert numbers(merged.results) == numbers(whole.results)
    assert finished_networks(tmp_path / "run") == PILOT_NETWORKS + NETWORKS
    weights = "network/weights.safetensors"
    assert (tmp_path / "run" / weights).read_bytes() == (whole.folder / weights).read_bytes()
    assert (tmp_path / "run/report.html").is_file()
    again = thinned.study(data, network=build, out=tmp_path / "run", jobs=1, **OPTIONS)
    assert numbers(again.results) == numbers(whole.results)  # it is a study's folder like any other


def test_a_shard_that_is_called_again_trains_nothing(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(root / "confirm-1", tmp_path / "shard")
    monkeypatch.setattr(thinned.studies.training.store.Store, "add", lambda *args: pytest.fail("something was stored"))
    assert shard(1, tmp_path / "shard", stage="confirm", pilot=root / "pilot") == 3


def test_missing_shards_are_named(root: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="all 8 networks of the stage; shard 2/3 is missing; run these shards again"):
        merge_network_shards(confirmed(root, 1, 3), out=tmp_path / "run")
    with pytest.raises(InputError, match="all 6 networks of the stage; shard 1/3 is missing, shard 3/3 is missing;"):
        merge_network_shards([root / "pilot-2"], out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(InputError, match="merging needs the folders of shards; got none"):
        merge_network_shards([], out=tmp_path / "run")


def test_a_shard_that_stopped_is_named(root: Path, tmp_path: Path) -> None:
    def interrupt(step: Any, plan: Any) -> None:
        if step.networks > 1:  # the first one is stored
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        shard(3, tmp_path / "shard", stage="pilot", progress=interrupt)
    assert 0 < finished_networks(tmp_path / "shard" / "pilot") < 2
    with pytest.raises(InputError, match=r"shard 3/3 in .*shard.* has 1 of its 2 networks; run these shards again"):
        merge_network_shards([root / "pilot-1", root / "pilot-2", tmp_path / "shard"], out=tmp_path / "run")


def test_another_pilot_is_refused(root: Path, tmp_path: Path) -> None:
    for pilot, told in (
        (root / "pilot-1", r"merging needs all 6 networks of the stage; shard 2/3 is missing"),
        (
            tmp_path / "nothing",
            r"must be the folder of a merged pilot; .*nothing holds none; merge the shards of stage",
        ),
    ):
        with pytest.raises(InputError, match=told):
            shard(1, tmp_path / "run", stage="confirm", pilot=pilot)
    with pytest.raises(InputError, match=r"must follow from the pilot of the same study; that in .* is another; give"):
        shard(1, tmp_path / "run", stage="confirm", pilot=root / "pilot", epochs=3)
    assert not (tmp_path / "run").exists()


def test_shards_of_different_studies_are_refused(root: Path, tmp_path: Path) -> None:
    shard(3, tmp_path / "other", stage="pilot", momentum=0.5)
    with pytest.raises(InputError, match=r"shards must be of one plan; those of .* differ in own; run them with"):
        merge_network_shards([root / "pilot-1", root / "pilot-2", tmp_path / "other"], out=tmp_path / "run")
    with pytest.raises(InputError, match="shards must be of one plan"):
        merge_network_shards([root / "pilot-1", root / "confirm-2"], out=tmp_path / "run")


def test_merging_refuses_a_changed_network(root: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="which only the same plan, data and versions can continue; epochs was 2"):
        merge_network_shards(
            confirmed(root, 1, 2, 3), out=tmp_path / "run", data=data, network=build, **{**OPTIONS, "epochs": 3}
        )


def test_the_nested_design_has_one_stage(tmp_path: Path) -> None:
    options = {"design": "nested", "rates": (0.5,), "seeds": 1}
    alone = thinned.study(data, network=build, out=tmp_path / "alone", jobs=1, **{**OPTIONS, **options})
    folders = [tmp_path / str(number) for number in (1, 2, 3)]
    assert [shard(number, folder, **options) for number, folder in enumerate(folders, 1)] == [2, 1, 1]
    assert all(map(is_network_shard, folders))
    merged = merge_network_shards(folders[::-1], out=tmp_path / "run").study
    assert merged is not None
    assert numbers(merged.results) == numbers(alone.results)


def test_what_has_no_path_is_passed_again(tmp_path: Path) -> None:
    local: Callable[[], nn.Module] = lambda: build()  # noqa: PLW0108, E731 - it has no path
    options = {**OPTIONS, "design": "nested", "rates": (0.5,), "seeds": 1}
    train_network_shard(blobs(60), local, "1/1", out=tmp_path / "shard", jobs=1, **options)
    with pytest.raises(InputError, match="what the shards were made of; a folder can't hold network, data; pass data"):
        merge_network_shards([tmp_path / "shard"], out=tmp_path / "run")
    merged = merge_network_shards([tmp_path / "shard"], out=tmp_path / "run", data=blobs(60), network=local)
    assert merged.study is not None
    assert merged.study.results.run.networks == 4


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "a shard must have the stage pilot or confirm; got None; train and merge the shards of stage pilot first"),
        ({"stage": "other"}, "a shard must have the stage pilot or confirm; got 'other'"),
        ({"stage": "confirm"}, "the stage confirm, and no other, needs the folder of the merged pilot; got none"),
        ({"stage": "pilot", "pilot": "x"}, "the stage confirm, and no other, needs the folder of the merged pilot"),
        ({"stage": "pilot", "minutes": 5}, "shards must have one design, which no measured time may change"),
        ({"stage": "pilot", "design": "nested"}, "the nested design has one stage; got stage 'pilot'; leave it out"),
    ],
)
def test_stages_without_meaning_are_refused(options: dict[str, Any], told: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=told):
        shard(1, tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_there_are_no_more_shards_than_networks(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match="must not be more shards than networks; got 7 for 6 networks; take fewer shards"
    ):
        train_network_shard(data, build, "7/7", out=tmp_path / "run", stage="pilot", jobs=1, **OPTIONS)


def given_test() -> object:
    return blobs(60), blobs(18, seed=1)


def speakers() -> list[str]:
    return [f"speaker {number % 20}" for number in range(60)]


GROUPS = np.array(speakers()), np.array([f"document {number // 2}" for number in range(18)], dtype=object)
KINDS: dict[str, tuple[Callable[[], object], dict[str, Any]]] = {
    "train": (data, {"train": train, "epochs": None}),
    "groups": (data, {"groups": speakers}),
    "groups and time": (data, {"groups": torch.arange(60), "time": torch.arange(60) // 2, "seeds": 1}),
    "test set": (given_test, {"seeds": 3}),
    "groups of a test set": (given_test, {"groups": GROUPS, "seeds": 2}),
    "train and a test set": (given_test, {"train": train, "seeds": 2, "epochs": None}),
}
IN_SECONDS = ("groups and time", "train and a test set")


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[pytest.mark.slow] * (kind not in IN_SECONDS)) for kind in KINDS]
)
def test_shards_of_every_kind_of_study_are_the_study_of_one_process(kind: str, tmp_path: Path) -> None:
    """Two shards of each stage, and both merges, which import what the shards were made of."""
    examples, changes = KINDS[kind]
    options = {**OPTIONS, "rates": (0.5,), "jobs": 1, **changes}
    whole = thinned.study(examples, network=build, out=tmp_path / "whole", **options)
    for stage, pilot in (("pilot", None), ("confirm", tmp_path / "pilot")):
        folders = [tmp_path / f"{stage}-{number}" for number in (1, 2)]
        for number, folder in enumerate(folders, 1):
            train_network_shard(examples, build, f"{number}/2", out=folder, stage=stage, pilot=pilot, **options)
        merged = merge_network_shards(folders, out=tmp_path / (stage if pilot is None else "run"))
    assert merged.study is not None
    assert numbers(merged.study.results) == numbers(whole.results)
    weights = "network/weights.safetensors"
    assert (tmp_path / "run" / weights).read_bytes() == (whole.folder / weights).read_bytes()
