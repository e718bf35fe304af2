"""The task that targets suggest."""

import pytest
import torch

from thinned.studies.examples.targets import read_targets

TORCH = torch.tensor
NUMBERS = torch.linspace(0, 1, 12)


@pytest.mark.parametrize(
    ("y", "task", "classes"),
    [
        (TORCH([0, 1, 1, 0]), "binary", ("0", "1")),
        (TORCH([False, True]), "binary", ("0", "1")),
        (TORCH([0.0, 1.0, 1.0]), "binary", ("0", "1")),
        (TORCH([0, 2, 5]), "multiclass", ("0", "2", "5")),
        (TORCH([[0], [2], [5]]), "multiclass", ("0", "2", "5")),
        (NUMBERS, "regression", ()),
        (NUMBERS[:, None], "regression", ()),
        (NUMBERS.reshape(4, 3), "other", ()),
        (TORCH([[0, 1], [1, 1]]), "multilabel", ()),
        (torch.ones(2, 1, 3, 3), "multilabel", ()),
        (TORCH([[3, -100], [1, 1]]), "tokens", ()),
        (torch.ones(2, 3, 3, dtype=torch.int64), "tokens", ()),
        (None, "other", ()),
    ],
)
def test_the_task_follows_from_the_targets(y: torch.Tensor | None, task: str, classes: tuple[str, ...]) -> None:
    targets = read_targets(y, 2 if y is None else len(y))
    assert (targets.task, targets.classes) == (task, classes)
    assert len(targets.values) == (2 if y is None else len(y))


def test_classes_are_numbered_by_rank_and_numbers_stay() -> None:
    assert read_targets(TORCH([5, 0, 2]), 3).values.tolist() == [2, 0, 1]
    assert read_targets(NUMBERS, 12).values.tolist() == NUMBERS.double().tolist()
    assert read_targets(TORCH([1, 2, 3]), 3, "regression").values.tolist() == [1, 2, 3]
