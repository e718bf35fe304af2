"""What a training function of the user's is given, and what it may hand back."""

import copy
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from example_networks import Items, blobs
from torch.utils.data import DataLoader

from thinned.errors import InputError
from thinned.studies.design.setting import Setting
from thinned.studies.examples.load import load_examples
from thinned.studies.examples.sources import ArraySource, DatasetSource
from thinned.studies.training.own_training.run import PartDataset, Parts, TrainingRun

X, Y = blobs(12)
SOURCE = ArraySource(X, Y)


def make_run(**setting: float) -> TrainingRun:
    rows = np.arange(12)
    parts = Parts(PartDataset(SOURCE, rows[:6]), PartDataset(SOURCE, rows[6:9]), PartDataset(SOURCE, rows[9:]))
    return TrainingRun(parts, 7, Path("nowhere"), Setting(**setting), 0.01, lambda: None)


# --- datasets ------------------------------------------------------------------------------------------------------


def test_a_part_is_a_dataset_of_the_examples_of_its_indices() -> None:
    part = PartDataset(SOURCE, np.array([5, 2, 7]))
    assert len(part) == 3
    x, y = part[1]  # type: ignore[misc]
    assert torch.equal(x, X[2])
    assert y == Y[2]
    assert torch.equal(part[-1][0], X[7])  # type: ignore[index]
    assert [int(y) for _, y in part] == Y[[5, 2, 7]].tolist()  # type: ignore[attr-defined]
    (batch,) = DataLoader(part, batch_size=3)
    assert torch.equal(batch[0], X[[5, 2, 7]])
    with pytest.raises(IndexError, match="index 3 is out of range for 3 examples"):
        part[3]


def test_inputs_keep_their_form() -> None:
    names = PartDataset(ArraySource({"a": X, "b": X[:, :1]}, Y), np.array([4]))
    x, _ = names[0]  # type: ignore[misc]
    assert {name: tuple(value.shape) for name, value in x.items()} == {"a": (3,), "b": (1,)}
    pair = PartDataset(ArraySource((X, X[:, :1]), Y), np.array([4]))
    assert [tuple(value.shape) for value in pair[0][0]] == [(3,), (1,)]  # type: ignore[index]


def test_a_dataset_gives_its_own_items() -> None:
    """Unequal lengths stay unequal: the user's own collate function makes batches of them."""
    items = Items([torch.ones(n + 1) for n in range(12)], Y)
    part = PartDataset(DatasetSource(items), np.array([3, 5]))
    assert [len(part[n][0]) for n in range(2)] == [4, 6]  # type: ignore[index]


# --- numbers -------------------------------------------------------------------------------------------------------


def test_a_field_that_is_read_is_recorded() -> None:
    run = make_run(weight_decay=0.1)
    assert run.record.fields_read == set()
    assert run.weight_decay == 0.1
    assert run.record.fields_read == {"weight_decay"}
    assert run.learning_rate == 0.01
    assert make_run(learning_rate=0.5).learning_rate == 0.5
    assert run.record.fields_read == {"weight_decay", "learning_rate"}


def test_a_copy_reports_to_the_run_itself() -> None:
    run = make_run()
    copy.deepcopy({"run": run})["run"].report(1, 0.5)
    assert run.record.curve == (0.5,)


# --- reports -------------------------------------------------------------------------------------------------------


def test_a_curve_has_the_loss_of_every_epoch() -> None:
    run = make_run()
    assert run.record.curve == ()
    for epoch, loss in ((2, 0.9), (2.0, torch.tensor(0.75)), (4, np.float32(0.5)), (5, math.nan)):
        run.report(epoch, loss)  # type: ignore[arg-type]
    assert run.record.curve == (0.75, 0.75, 0.75, 0.5, None)


@pytest.mark.parametrize(
    ("epoch", "words"),
    [
        (0, "must be whole numbers from 1 to 10,000; got 0; report current_epoch \\+ 1"),
        (1.5, "whole numbers from 1 to 10,000; got 1.5$"),
        (-1, "got -1"),
        (20_000, "got 20000"),
        ("one", "got 'one'"),
        (None, "got None"),
        (math.nan, "got nan"),
    ],
)
def test_an_epoch_that_is_none_is_refused(epoch: object, words: str) -> None:
    run = make_run()
    with pytest.raises(InputError, match=words):
        run.report(epoch, 0.5)  # type: ignore[arg-type]
    assert isinstance(run.record.refused, InputError)


@pytest.mark.parametrize("loss", ["low", None, torch.zeros(2), object()])
def test_a_loss_that_is_no_number_is_refused(loss: object) -> None:
    with pytest.raises(InputError, match=r"^the validation loss of run.report must be a number; got "):
        make_run().report(1, loss)  # type: ignore[arg-type]


def test_epochs_do_not_go_back() -> None:
    run = make_run()
    run.report(3, 0.5)
    with pytest.raises(InputError, match="must not go back; got 1 after 3; count on over all phases"):
        run.report(1, 0.4)


# --- losses of examples --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [[0.5, 0.25, 1], np.array([0.5, 0.25, 1]), torch.tensor([0.5, 0.25, 1])])
def test_losses_may_be_a_list_an_array_or_a_tensor(given: object) -> None:
    run = make_run()
    run.scores(validation=given)
    run.scores(test=given)
    for losses in (run.record.validation_losses, run.record.test_losses):
        assert isinstance(losses, torch.Tensor)
        assert losses.dtype == torch.float64
        assert losses.tolist() == [0.5, 0.25, 1]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([0.5, 0.25], "each of 3 validation examples; got 2"),
        (0.5, r"got the shape \(\)"),
        (torch.zeros(3, 1), r"got the shape \(3, 1\)"),
        (["a", "b", "c"], "got list"),
        (torch.zeros(3, dtype=torch.complex64), "got torch.complex64"),
    ],
)
def test_other_losses_are_refused(given: object, words: str) -> None:
    with pytest.raises(InputError, match=f"^a training function must give one loss for .*{words}"):
        make_run().scores(validation=given)


def test_examples_that_are_held_in_memory_are_items_of_tensors() -> None:
    held = load_examples(Items(X, Y))
    x, y = PartDataset(held.source("eval"), np.array([4]))[0]  # type: ignore[misc]
    assert torch.equal(x, X[4])
    assert torch.equal(y, Y[4])
