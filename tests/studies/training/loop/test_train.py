"""A network's numbers follow from the plan alone; what was recorded is what the network does."""

import dataclasses
import math
import threading
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from example_networks import CONFIG, Items, blobs, build, noisy, split_of, trained, unchanged
from torch import nn

from thinned.studies.design.plan import Member
from thinned.studies.examples.examples import Examples
from thinned.studies.examples.load import load_examples
from thinned.studies.training.loop import NetworkFunctions, check_network, train_network
from thinned.studies.training.loop.fit import fit
from thinned.studies.training.records import TrainedNetwork

X, Y = blobs()
EXAMPLES = load_examples((X, Y))
GIVEN = load_examples(((X, Y), blobs(30, seed=1)))


def test_a_network_learns_and_its_record_is_what_it_does() -> None:
    network = trained(epochs=30, dropout=0.1)
    fitted = fit(
        NetworkFunctions(build), unchanged, EXAMPLES, split_of(EXAMPLES), dataclasses.replace(CONFIG, epochs=5), 1
    )
    assert network.best.scores["accuracy"] > 0.9  # type: ignore[operator] # chance is 1/3
    assert network.best_epoch == 1 + int(np.argmin(network.curves.validation))  # type: ignore[arg-type]
    assert len(network.curves.train) == len(network.curves.validation) == 30
    assert network.best.validation == network.curves.validation[network.best_epoch - 1]
    assert network.end.train == network.curves.train[-1]
    assert network.best.scores["loss"] == pytest.approx(network.best.scores["log_loss"])
    assert network.example_losses is None
    split = split_of(EXAMPLES)
    with torch.no_grad():
        loss = F.cross_entropy(fitted.network(X[split.validation]), Y[split.validation])
    best = fitted.position.validation[fitted.position.best_epoch]
    assert float(loss) == pytest.approx(best, rel=1e-5)  # the state of the best epoch, running statistics included


def test_the_same_plan_gives_the_same_bits() -> None:
    one = trained()
    torch.manual_seed(5)
    torch.randn(3)
    assert trained() == one
    assert trained(seed=2) != one
    found: list[TrainedNetwork] = []
    number = torch.get_num_threads()

    def train() -> None:
        torch.set_num_threads(number)  # the last bits of a matrix product depend on it; studies have one core a network
        found.append(trained())

    threads = [threading.Thread(target=train) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [one, one]


def test_generators_are_left_as_they_were() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    trained()
    assert torch.equal(torch.get_rng_state(), before)


def test_reading_item_by_item_changes_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    one = trained()
    assert trained(load_examples(Items(X, Y))) == one
    monkeypatch.setattr("thinned.studies.examples.sources._HELD", 0)
    assert trained(load_examples(Items(X, Y))) == one


def test_workers_of_a_loader_change_no_number() -> None:
    examples = load_examples(Examples(Items(X, Y, noisy), Items(X, Y)))
    one = trained(examples, epochs=2)
    assert trained(examples, epochs=2, loader_workers=2) == one
    assert one != trained(epochs=2)


class Recorded(nn.Module):
    """Keeps the inputs and the noise of its training passes."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.drop = nn.Linear(3, 3), nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return self.linear(x)
        noise, dropped = torch.randn(3), self.drop(torch.ones(64))
        LOG.append((x, noise, dropped, self.linear.weight.detach().clone()))
        return self.linear(x + 0.1 * noise)


LOG: list[tuple[torch.Tensor, ...]] = []


def passes(rate: float) -> list[tuple[torch.Tensor, ...]]:
    LOG.clear()
    examples = load_examples(Examples(Items(X, Y, noisy), Items(X, Y)))
    trained(examples, Recorded, dropout=rate, epochs=2)
    return list(LOG)


def test_networks_of_one_split_are_paired() -> None:
    """Order, augmentation, own noise and initial weights are equal; a higher rate drops all that a lower one drops."""
    low, high = passes(0.2), passes(0.6)
    assert len(low) == len(high) == 2 * (60 // 16)
    for (x, noise, *_), (other_x, other_noise, *_) in zip(low, high, strict=True):
        assert torch.equal(x, other_x)
        assert torch.equal(noise, other_noise)
    assert torch.equal(low[0][3], high[0][3])
    for one, other in zip(low, high, strict=True):
        assert bool((one[2][other[2] > 0] > 0).all())
        assert int((one[2] > 0).sum()) > int((other[2] > 0).sum())
    assert not torch.equal(low[0][0], low[1][0])
    assert not torch.equal(low[0][1], low[1][1])


def test_a_given_test_set_keeps_the_loss_of_each_example() -> None:
    network = trained(GIVEN)
    assert network.example_losses is not None
    assert network.example_losses.values("best").shape == (30,)
    assert float(network.example_losses.values("end").mean()) == pytest.approx(network.end.test)
    assert TrainedNetwork.from_json(network.to_json()) == network


def test_patience_ends_training_and_the_curve_stays() -> None:
    epochs: list[int] = []
    network = trained(epochs=200, patience=2, report=epochs.append)
    assert max(epochs) < 200
    assert len(network.curves.validation) == 200
    assert network.curves.validation[-1] == network.end.validation
    assert max(epochs) == network.best_epoch + 2


def test_a_network_that_diverges_is_recorded() -> None:
    network = trained(optimizer="sgd", learning_rate=1e30, epochs=50)
    assert network.end.test is None
    assert network.end.scores["log_loss"] is None
    assert network.curves.validation[-1] is None
    assert math.isfinite(network.best_epoch)
    assert TrainedNetwork.from_json(network.to_json()) == network


def test_loss_trains_and_score_decides() -> None:
    flipped = NetworkFunctions(build, loss=lambda z, y: F.cross_entropy(z, (y + 1) % 3))
    assert trained(functions=flipped, epochs=20).best.test > trained(epochs=1).best.test  # type: ignore[operator]
    errors = NetworkFunctions(build, score=lambda z, y: (z.argmax(1) != y).float())
    network = trained(GIVEN, errors, epochs=20)
    assert network.best.test == pytest.approx(1 - network.best.scores["accuracy"])  # type: ignore[operator]
    assert set(network.example_losses.values("best")) <= {0.0, 1.0}  # type: ignore[union-attr]


class TwoHeads(nn.Module):
    """Returns what only a loss and a score of one's own understand."""

    def __init__(self, pick: Callable[[torch.Tensor], object]) -> None:
        super().__init__()
        self.net, self.pick = build(), pick

    def forward(self, x: torch.Tensor) -> object:
        return self.pick(self.net(x))


@pytest.mark.parametrize(
    ("pick", "logits"),
    [
        (lambda z: (z, z.sum()), lambda output: output[0]),
        (lambda z: z[:, None], lambda output: output[:, 0]),
        (lambda z: z[:, :2], lambda output: F.pad(output, (0, 1))),
    ],
    ids=["a tuple", "three dimensions", "fewer outputs than classes"],
)
def test_an_output_that_only_ones_own_functions_understand(
    pick: Callable[[torch.Tensor], object], logits: Callable[[object], torch.Tensor]
) -> None:
    functions = NetworkFunctions(
        lambda: TwoHeads(pick),
        loss=lambda output, y: F.cross_entropy(logits(output), y),
        score=lambda output, y: F.cross_entropy(logits(output), y, reduction="none"),
    )
    check_network(functions, EXAMPLES, CONFIG)
    network = trained(functions=functions)
    assert network.best.scores == {"loss": network.best.test}


def test_a_sampler_touches_training_alone() -> None:
    seen: list[int] = []

    def first_class(targets: torch.Tensor) -> list[int]:
        seen.append(len(targets))
        return torch.multinomial((targets == 0).float(), 32, replacement=True).tolist()

    network = trained(functions=NetworkFunctions(build, sampler=first_class), epochs=20)
    assert seen == [60] * 20
    assert network.end.scores["accuracy"] == pytest.approx(1 / 3, abs=0.01)  # it knows one class only
    assert network == trained(functions=NetworkFunctions(build, sampler=first_class), epochs=20)


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": "sgd", "learning_rate": 0.1},
        {"schedule": "cosine"},
        {"clip": 0.1},
        {"weight_decay": 1.0},
        {"precision": "bfloat16"},
    ],
    ids=str,
)
def test_options_change_the_training(changes: dict[str, object]) -> None:
    network = trained(epochs=10, **changes)
    assert network.end.test != trained(epochs=10).end.test
    assert network.end.scores["accuracy"] > 0.6  # type: ignore[operator] # chance is 1/3


class Lazy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.LazyLinear(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))

    def forward(self, numbers: torch.Tensor, mask: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"logits": self.net(numbers * mask)}


def test_inputs_by_name_lazy_weights_and_logits() -> None:
    examples = load_examples(({"numbers": X, "mask": torch.ones_like(X)}, Y))
    assert trained(examples, Lazy, epochs=20).best.scores["accuracy"] > 0.8  # type: ignore[operator]


def test_tokens_have_a_loss_and_an_accuracy() -> None:
    words = torch.randint(5, (40, 6), generator=torch.Generator().manual_seed(0))
    examples = load_examples((words, words.flip(1).clone()))
    network = trained(examples, lambda: nn.Sequential(nn.Embedding(5, 8), nn.Dropout(0.1), nn.Linear(8, 5)))
    assert set(network.best.scores) == {"loss", "token_accuracy"}
    assert network.best.scores["loss"] == network.best.test
    assert 0 < network.best.scores["token_accuracy"] <= 1  # type: ignore[operator]


def test_the_users_data_are_not_changed() -> None:
    x, y = X.clone(), Y.clone()

    class InPlace(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = build()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.net(x.mul_(2))

    trained(load_examples((x, y)), InPlace)
    assert torch.equal(x, X)
    assert torch.equal(y, Y)


def test_a_split_without_test_examples_and_no_test_set_makes_no_record() -> None:
    with pytest.raises(ValueError, match="test examples"):
        train_network(
            NetworkFunctions(build), unchanged, EXAMPLES, split_of(EXAMPLES, tested=False), CONFIG, 1, Member(0, 0, 0)
        )
