"""Stores whose plan is replaced, or that another trainer began."""

import dataclasses
from pathlib import Path

import pytest
from study_cases import make_plan

from thinned.errors import InputError
from thinned.studies.training.engines.environment import environment, versions
from thinned.studies.training.records import Curves, Evaluation, TrainedNetwork
from thinned.studies.training.store import Origin, open_store, read_store


def test_a_plan_that_kept_nothing_leaves_no_origin(tmp_path: Path) -> None:
    plan = make_plan()
    with open_store(tmp_path, plan) as store:
        store.keep_origin(plan, Origin("old.csv", "y"))
    assert read_store(tmp_path).origin == Origin("old.csv", "y")
    with open_store(tmp_path, make_plan(folds=4)):
        pass
    with pytest.raises(InputError, match="not written with --shard"):
        read_store(tmp_path)


def test_networks_of_ones_own_do_not_depend_on_the_trainer(tmp_path: Path) -> None:
    plan, found = make_plan(), {}
    for network in (None, "package:build"):
        with open_store(tmp_path / str(network), dataclasses.replace(plan, network=network)) as store:
            store.keep_origin(plan, Origin("old.csv", "y"))
        found[network] = read_store(tmp_path / str(network)).environment
    assert found[None] == environment()
    assert found["package:build"] == versions()
    assert environment().keys() - versions().keys() == {"trainer"}


def test_another_trainer_or_instruction_set_cannot_continue_a_run(tmp_path: Path) -> None:
    plan, losses = make_plan(), Evaluation(0.1, 0.2, 0.3, {})
    network = TrainedNetwork(0, 0, 0, 0, best_epoch=1, best=losses, end=losses, curves=Curves((0.1,), (0.2,)))
    for number, trainer in enumerate(("torch", "native abacus")):
        folder = tmp_path / str(number)
        with open_store(folder, plan, environment() | {"trainer": trainer}) as store:
            store.add([network], 1.0)
        with (
            pytest.raises(InputError, match=f"same plan, data and versions .*'trainer': '{trainer}'"),
            open_store(folder, plan),
        ):
            pass
