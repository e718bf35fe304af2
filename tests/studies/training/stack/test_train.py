"""A stack trains what its members train one by one, up to rounding."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from example_networks import CONFIG, blobs, split_of
from network_cases import CASES
from torch import nn

from thinned.studies.design.own_network.studied_sites import studied_sites
from thinned.studies.design.plan import Member
from thinned.studies.design.setting import Setting, SiteRates
from thinned.studies.examples.examples import ExampleSet
from thinned.studies.examples.load import load_examples
from thinned.studies.training.apply_setting import SettingApplication
from thinned.studies.training.loop import NetworkConfig, NetworkFunctions, train_network
from thinned.studies.training.loop.checkpoint import Checkpoint
from thinned.studies.training.records import TrainedNetwork
from thinned.studies.training.stack.train import train_stack
from thinned.studies.training.stack.trial import StackTrial, batchable

SETTINGS = (
    Setting(),
    Setting(dropout=0.5, weight_decay=0.5),
    Setting(dropout=0.3),
    Setting(sites=SiteRates(scale=0.5)),
)
MEMBERS = [Member(0, 0, number) for number in range(len(SETTINGS))]


def network() -> nn.Module:
    # no bias before the batch norm: it has no gradient but rounding, which AdamW makes steps of
    return nn.Sequential(
        nn.Linear(3, 8, bias=False), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.4), nn.Linear(8, 8), nn.Tanh(),
        nn.AlphaDropout(0.2), nn.Linear(8, 3),
    )  # fmt: skip


@pytest.fixture
def float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def application_of(build: object, x: torch.Tensor) -> SettingApplication:
    sites = studied_sites(build(), x, None)  # type: ignore[operator]
    return SettingApplication(sites.sites, sites.inserted, x if sites.inserted else None)


class Case:
    """A network, its examples and how it is trained."""

    def __init__(self, build: object, examples: ExampleSet, settings: tuple[Setting, ...], **changes: object) -> None:
        self.functions = NetworkFunctions(build)  # type: ignore[arg-type]
        self.examples, self.settings = examples, settings
        self.split = split_of(examples, tested=not examples.test_count)
        self.application = application_of(build, examples.batch([0, 1]).x)  # type: ignore[arg-type]
        self.config: NetworkConfig = dataclasses.replace(CONFIG, **changes)  # type: ignore[arg-type]

    def stacked(self, checkpoint: Checkpoint | None = None, die_at: int | None = None) -> list[TrainedNetwork]:
        def report(epoch: int) -> None:
            if epoch == die_at:
                raise KilledError

        return train_stack(
            self.functions,
            self.application,
            self.examples,
            self.split,
            self.settings,
            self.config,
            1,
            MEMBERS[: len(self.settings)],
            report,
            checkpoint,
        )

    def alone(self) -> list[TrainedNetwork]:
        return [
            train_network(
                self.functions,
                lambda network, setting=setting: self.application(network, setting),  # type: ignore[misc]
                self.examples,
                self.split,
                self.config.with_setting(setting),
                1,
                member,
            )
            for setting, member in zip(self.settings, MEMBERS, strict=False)
        ]

    @property
    def trial(self) -> StackTrial:
        return StackTrial(self.functions, self.application, self.examples, self.split, self.config)


class KilledError(BaseException):
    """The process ends."""


def assert_equal_numbers(one: list[TrainedNetwork], other: list[TrainedNetwork], relative: float) -> None:
    assert [n.member for n in one] == [n.member for n in other]
    assert [n.best_epoch for n in one] == [n.best_epoch for n in other]
    for ours, theirs in zip(one, other, strict=True):
        assert len(ours.curves.train) == len(theirs.curves.train)
        for curve in ("train", "validation"):
            assert getattr(ours.curves, curve) == pytest.approx(getattr(theirs.curves, curve), rel=relative)
        for when in ("best", "end"):
            assert getattr(ours, when).scores == pytest.approx(getattr(theirs, when).scores, rel=relative)


def blobs_case(**changes: object) -> Case:
    x, y = blobs(48)
    return Case(network, load_examples((x.to(torch.get_default_dtype()), y)), SETTINGS, **changes)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    "changes",
    [{}, {"optimizer": "sgd", "clip": 0.05}, {"clip": 0.02, "schedule": "cosine"}, {"patience": 1, "epochs": 6}],
    ids=["adamw", "sgd", "clip", "patience"],
)
def test_a_whole_training_has_the_numbers_of_each_network_alone(changes: dict[str, object]) -> None:
    case = blobs_case(**changes)
    assert case.examples.batch([0]).x.dtype == torch.float64  # type: ignore[union-attr]
    assert_equal_numbers(case.stacked(), case.alone(), 1e-9)


@pytest.mark.parametrize("name", ["convolutional", "transformer", "patches", "functional"])
def test_the_masks_of_each_form_of_site_are_those_of_each_network_alone(name: str) -> None:
    """Half of the digits of float32 must agree after a step: another mask would change the first of them."""
    example = CASES[name].args[0]
    generator = torch.Generator().manual_seed(0)
    shape = (48, *example.shape[1:])
    x = (
        torch.randn(shape, generator=generator)
        if example.is_floating_point()
        else torch.randint(0, 20, shape, generator=generator)
    )
    case = Case(CASES[name].build, load_examples((x, torch.arange(48) % (2 if name == "functional" else 3))), SETTINGS)
    assert len(case.application.sites) > 1
    assert batchable(case.trial, SETTINGS)


def test_two_runs_give_equal_bits_and_so_does_one_that_was_killed(tmp_path: Path) -> None:
    case = blobs_case(patience=1, epochs=5)
    whole = case.stacked()
    assert case.stacked() == whole
    checkpoint = Checkpoint(tmp_path / "kept" / "stack.safetensors", "plan", 0.0)
    with pytest.raises(KilledError):
        case.stacked(checkpoint, die_at=2)
    assert (tmp_path / "kept" / "stack.safetensors").exists()
    assert case.stacked(checkpoint) == whole
    assert not (tmp_path / "kept").exists()


class Counting(nn.Module):
    """Its buffer is a new tensor after each step, and its own running mean."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.drop, self.out = nn.Linear(3, 8), nn.Dropout(0.5), nn.Linear(8, 3)
        self.register_buffer("mean", torch.zeros(8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.drop(self.linear(x).relu())
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * h.detach().mean(0)
        return self.out(h - self.mean)


def test_a_buffer_that_is_replaced_is_each_members_own() -> None:
    case = Case(Counting, load_examples(blobs(48)), SETTINGS)
    assert batchable(case.trial, SETTINGS)
    assert_equal_numbers(case.stacked(), case.alone(), 1e-4)


class Branching(nn.Module):
    """Its code looks at an activation."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.drop = nn.Linear(3, 3), nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = self.drop(self.linear(x))
        return z if z.sum() > 0 else 2 * z


class Noisy(Branching):
    """It draws for each of its activations."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = self.drop(self.linear(x))
        return z * torch.bernoulli(torch.sigmoid(z))


class Numbering(Branching):
    """It counts its calls outside its buffers, so that what it returns depends on who calls it."""

    calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        type(self).calls += 1
        return self.drop(self.linear(x)) * (1 + type(self).calls)


@pytest.mark.parametrize("build", [Branching, Noisy, Numbering])
def test_a_network_that_can_not_be_one_program_is_found(build: type[nn.Module]) -> None:
    case = Case(build, load_examples(blobs(48)), SETTINGS)
    assert not batchable(case.trial, SETTINGS)


def test_a_loss_that_can_not_be_one_program_is_found() -> None:
    case = Case(network, load_examples(blobs(48)), SETTINGS)
    assert batchable(case.trial, SETTINGS)
    case.functions = NetworkFunctions(network, loss=lambda z, y: nn.functional.cross_entropy(z, y) * float(z.sum() > 0))
    assert not batchable(case.trial, SETTINGS)
    case.functions = NetworkFunctions(network, train=lambda network, run: None)
    assert not batchable(case.trial, SETTINGS)
