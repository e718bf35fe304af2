"""Sources can be copied to workers, arrays without loss and functions by value."""

import pickle

import pytest
import torch
from example_networks import Items, blobs

from thinned.studies.examples.sources import ArraySource, DatasetSource, read_all

X, Y = blobs(20)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.uint8, torch.bool, torch.int64])
def test_arrays_are_copied_bit_by_bit(dtype: torch.dtype) -> None:
    source = ArraySource({"a": X.to(dtype), "b": X[:, 0].to(dtype)}, Y)
    copied = pickle.loads(pickle.dumps(source))
    for name in ("a", "b"):
        assert torch.equal(copied.x[name], source.x[name])  # type: ignore[call-overload]
    assert torch.equal(copied.y, Y)
    assert copied.digest() == source.digest()


def test_a_dataset_is_copied_with_functions_of_a_notebook() -> None:
    source = DatasetSource(Items(X, Y, lambda x: 2 * x))
    assert torch.equal(pickle.loads(pickle.dumps(source)).batch(torch.tensor([3])).x, 2 * X[[3]])


def test_a_large_dataset_is_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    source = DatasetSource(Items(X, Y))
    y, held = read_all(source)
    assert torch.equal(y, Y)
    assert held is not None
    monkeypatch.setattr("thinned.studies.examples.sources._HELD", 20)
    y, held = read_all(source)
    assert torch.equal(y, Y)
    assert held is None


class Counting(Items):
    reads = 0

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        self.reads += 1
        return super().__getitem__(index)


@pytest.mark.parametrize("listed", [True, False])
def test_targets_that_a_large_dataset_lists_are_not_read_from_its_items(
    monkeypatch: pytest.MonkeyPatch, listed: bool
) -> None:
    x, y = blobs(1000)
    dataset = Counting(x, y)
    dataset.targets = (y if listed else y + 1).tolist()  # type: ignore[attr-defined]
    monkeypatch.setattr("thinned.studies.examples.sources._HELD", 20)
    targets, held = read_all(DatasetSource(dataset))
    assert torch.equal(targets, y)
    assert held is None
    assert (dataset.reads < 100) is listed
