"""Jobs of networks of one's own: one network each, on every engine the same."""

import dataclasses
import threading
from pathlib import Path

import joblib
import pytest
import torch
from example_networks import CONFIG, Items, blobs, noisy, split_of, with_rate
from torch import nn

from thinned.errors import InputError
from thinned.studies.design.plan import Member
from thinned.studies.design.setting import Setting
from thinned.studies.examples.examples import Examples
from thinned.studies.examples.load import load_examples
from thinned.studies.training.engines.engine import Task
from thinned.studies.training.engines.joblib_engine import Joblib
from thinned.studies.training.engines.run_jobs import run_jobs
from thinned.studies.training.engines.serial import Serial
from thinned.studies.training.loop import NetworkFunctions
from thinned.studies.training.network_job import Checkpoints, NetworkTraining, network_members
from thinned.studies.training.records import TrainedNetwork

SETTINGS = (Setting(), Setting(dropout=0.5), Setting(weight_decay=3.0))


def make_training(**changes: object) -> NetworkTraining:
    """Networks of a class, a loss and a dataset that only this process knows."""
    x, y = blobs()
    examples = load_examples(Examples(Items(x, y, lambda x: noisy(x) + 0), Items(x, y)))
    splits = [split_of(examples)._replace(repeat=repeat) for repeat in range(2)]

    class Local(nn.Sequential):
        def __init__(self) -> None:
            super().__init__(nn.Linear(3, 8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 3))

    return NetworkTraining(
        functions=NetworkFunctions(Local, loss=lambda z, y: nn.functional.cross_entropy(z, y, label_smoothing=0.1)),
        apply=with_rate,
        examples=examples,
        settings=SETTINGS,
        splits=splits,
        jobs=[(member,) for member in network_members(SETTINGS, splits)],
        config=dataclasses.replace(CONFIG, **changes),  # type: ignore[arg-type]
        seed=3,
    )


def run(training: NetworkTraining, engine: Serial | Joblib, folder: Path) -> list[TrainedNetwork]:
    done = run_jobs(engine, Task(training, len(training.jobs), folder, lambda reports: None))
    return sorted((n for _, networks in done for n in networks), key=lambda n: n.member)


def test_the_first_setting_comes_first() -> None:
    members = [member for job in make_training().jobs for member in job]
    assert members[:2] == [Member(0, 0, 0), Member(1, 0, 0)]
    assert len(set(members)) == len(members) == 6


def test_processes_train_what_this_one_trains(tmp_path: Path) -> None:
    """A class of a function, a lambda as loss and one in a dataset reach the workers, and the loader's processes."""
    here = run(make_training(), Serial(), tmp_path / "a")
    assert [n.member for n in here] == sorted(member for job in make_training().jobs for member in job)
    assert len({n.end.test for n in here}) == 6
    assert run(make_training(loader_workers=1), Joblib(2, "loky"), tmp_path / "b") == here


def test_arrays_are_mapped_into_memory(tmp_path: Path) -> None:
    training = make_training()
    joblib.dump(training, tmp_path / "work")
    loaded = joblib.load(tmp_path / "work", mmap_mode="c")
    assert torch.equal(loaded.examples.batch([3, 4]).x, training.examples.batch([3, 4]).x)
    assert loaded(2, lambda epoch: None) == training(2, lambda epoch: None)


def test_what_can_not_reach_a_worker_is_refused_in_one_sentence(tmp_path: Path) -> None:
    lock = threading.Lock()

    def build() -> nn.Module:
        with lock:
            return nn.Linear(3, 3)

    training = dataclasses.replace(make_training(), functions=NetworkFunctions(build))
    with pytest.raises(InputError, match=r"^build must be able to reach worker processes; pickling raised TypeError"):
        run(training, Joblib(2, "loky"), tmp_path / "a")
    assert len(training(0, lambda epoch: None)) == 1


class KilledError(BaseException):
    """The process ends."""


def test_a_killed_job_goes_on_bit_for_bit(tmp_path: Path) -> None:
    training = make_training()
    kept = dataclasses.replace(training, checkpoints=Checkpoints(tmp_path / "kept", "plan", 0.0))
    begun: list[int] = []

    def report_or_die(epoch: int) -> None:
        begun.append(epoch)
        if epoch == 2:
            raise KilledError

    with pytest.raises(KilledError):
        kept(1, report_or_die)
    (file,) = (tmp_path / "kept").iterdir()
    assert file.name == "1-0-0-0.safetensors"
    again: list[int] = []
    assert kept(1, again.append) == training(1, lambda epoch: None)
    assert again == [2, 3, 3]  # the second epoch's end was not written: its last step was
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [0, 5])
def test_a_job_is_one_network(number: int) -> None:
    training = make_training()
    (network,) = training(number, lambda epoch: None)
    assert (network.member,) == training.jobs[number]
