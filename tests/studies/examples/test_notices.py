"""What a user should know of the examples is said before anything trains."""

import numpy as np
import pytest
import torch
from example_networks import blobs

from thinned.studies.examples.load import load_examples

X = blobs(40)[0]


@pytest.mark.parametrize(
    ("targets", "told"),
    [
        (torch.linspace(-1, 1, 40), False),
        (torch.linspace(0, 30, 40), True),
        (torch.linspace(100_000, 500_000, 40), True),
        (torch.linspace(0, 0.01, 40), True),
        (torch.arange(40) % 3, False),
    ],
)
def test_targets_far_from_a_networks_first_outputs(targets: torch.Tensor, told: bool) -> None:
    examples = load_examples((X, targets))
    assert [notice.code for notice in examples.notices] == ["target_scale"] * told
    assert load_examples((X, targets), has_loss=True).notices == ()


def test_the_scale_is_said_in_numbers() -> None:
    (notice,) = load_examples((X, 300_000 + 50_000 * torch.linspace(-1, 1, 40))).notices
    assert "a mean of 3e+05 and a standard deviation of 2.96e+04" in notice.message


def test_groups_of_both_sets() -> None:
    data = ((X, torch.arange(40) % 3), (X[:6], torch.arange(6) % 3))
    both = load_examples(data, groups=(np.arange(40), [38, 39, 40, 40, 41, 42]))
    assert both.notices[0].code == "shared_groups"
    assert both.notices[0].message.startswith("2 of 5 groups of the test set")
    assert load_examples(data, groups=(np.arange(40), np.arange(40, 46))).notices == ()
    assert load_examples(data, groups=(np.arange(40), None)).notices == ()
