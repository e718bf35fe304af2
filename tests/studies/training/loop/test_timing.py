"""Time is measured on a network that is trained for a moment, and thrown away."""

import time

import pytest
import torch
from example_networks import CONFIG, blobs, build, split_of, unchanged
from torch import nn

from thinned.errors import InputError
from thinned.studies.examples.load import load_examples
from thinned.studies.training.loop import NetworkFunctions, measure_time

EXAMPLES = load_examples(blobs())
STEP, EVALUATION = 0.02, 0.01


class Sleeping(nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        time.sleep(STEP if self.training else EVALUATION)
        return super().forward(x)


def test_an_epoch_is_its_steps_and_two_evaluations() -> None:
    """Never less than what is slept; more only as far as the machine is busy."""
    split = split_of(EXAMPLES)
    measured = measure_time(NetworkFunctions(lambda: Sleeping(3, 3)), unchanged, EXAMPLES, split, CONFIG)
    steps, passes = 60 // 16, 2 * 30 / 120 * 2  # a chunk is 64 examples: two passes for 120
    assert measured.epoch >= STEP * steps + EVALUATION * passes
    assert measured.network >= EVALUATION * passes


def test_generators_and_networks_are_left_as_they_were() -> None:
    network = build()
    before = torch.get_rng_state(), {name: value.clone() for name, value in network.state_dict().items()}
    assert measure_time(NetworkFunctions(build), unchanged, EXAMPLES, split_of(EXAMPLES), CONFIG).epoch > 0
    assert torch.equal(torch.get_rng_state(), before[0])
    assert all(torch.equal(value, before[1][name]) for name, value in network.state_dict().items())


def test_a_network_that_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match=r"train on every batch.*mat1 and mat2 shapes .* and 4x3.$"):
        measure_time(NetworkFunctions(lambda: nn.Linear(4, 3)), unchanged, EXAMPLES, split_of(EXAMPLES), CONFIG)
