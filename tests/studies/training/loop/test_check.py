"""A network that can't be trained is refused in one sentence, before anything trains."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from example_networks import CONFIG, blobs, build
from torch import nn

from thinned.errors import InputError
from thinned.studies.examples.load import load_examples
from thinned.studies.training.loop import NetworkFunctions, check_network

EXAMPLES = load_examples(blobs())
SHARED = build()
NUMBERS = itertools.count()


def test_a_network_that_fits_has_a_digest_of_its_initial_state() -> None:
    before = torch.get_rng_state()
    digest = check_network(NetworkFunctions(build), EXAMPLES, CONFIG)
    assert digest == check_network(NetworkFunctions(build), EXAMPLES, CONFIG)
    assert digest != check_network(NetworkFunctions(lambda: nn.Linear(3, 3)), EXAMPLES, CONFIG)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_label_without_an_output_is_found_wherever_it_stands() -> None:
    words = torch.zeros(100, 4, dtype=torch.int64)
    words[50:, 1:] = torch.arange(3)
    words[99, 3] = 7
    examples = load_examples((words, words.clone()))
    check_network(NetworkFunctions(lambda: nn.Sequential(nn.Embedding(8, 4), nn.Linear(4, 8))), examples, CONFIG)
    with pytest.raises(InputError, match="Target 7 is out of bounds"):
        check_network(NetworkFunctions(lambda: nn.Sequential(nn.Embedding(8, 4), nn.Linear(4, 7))), examples, CONFIG)


def counted() -> nn.Module:
    network = nn.Linear(3, 3)
    nn.init.constant_(network.weight, next(NUMBERS))
    return network


class Memory(nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.\nand more")


@pytest.mark.parametrize(
    ("functions", "message"),
    [
        (NetworkFunctions(lambda: 3), "build must return a torch.nn.Module; it returned a int"),
        (NetworkFunctions(lambda: 1 / 0), "build must make a network; it raised ZeroDivisionError: division by zero"),
        (NetworkFunctions(lambda: SHARED), "a new network at every call; two share parameters; make every module"),
        (NetworkFunctions(counted), "the same network under the same seed; weight differs; draw initial weights"),
        (NetworkFunctions(nn.Flatten), "a network must have parameters to train; it has none"),
        (NetworkFunctions(lambda: nn.Linear(4, 3)), "train on a batch of the examples; it raised RuntimeError: mat1"),
        (NetworkFunctions(lambda: nn.Linear(3, 2)), "an output for each class; it has 2, and labels go up to 2"),
        (NetworkFunctions(lambda: nn.Unflatten(1, (3, 1))), "a network must have parameters to train"),
        (NetworkFunctions(lambda: nn.Bilinear(3, 3, 3)), "it raised TypeError"),
        (NetworkFunctions(lambda: nn.LSTM(3, 3)), "the network must return a tensor; got tuple; return a tensor"),
        (NetworkFunctions(lambda: Memory(3, 3)), "training needs memory; CUDA out of memory"),
        (NetworkFunctions(build, loss=lambda z, y: 3), "loss must return a tensor; got int"),
        (NetworkFunctions(build, loss=lambda z, y: z.mean() / 0), "the loss of a batch must be a finite number; got"),
        (NetworkFunctions(build, loss=lambda z, y: z.mean().detach()), "depend on the network's parameters"),
        (NetworkFunctions(build, score=F.cross_entropy), "score must return one number for each of 16 examples"),
        (NetworkFunctions(build, score=lambda z, y: z[:, 0] * torch.nan), "the score of an example must be a finite"),
    ],
)
def test_what_can_not_be_trained_is_refused_in_one_sentence(functions: NetworkFunctions, message: str) -> None:
    with pytest.raises(InputError) as raised:
        check_network(functions, EXAMPLES, CONFIG)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
