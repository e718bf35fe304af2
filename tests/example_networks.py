"""Small networks and examples for tests of a study of one's own network."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset

from thinned import schedules
from thinned.conversion.api import convert
from thinned.studies.design.plan import Member
from thinned.studies.design.setting import Setting
from thinned.studies.design.splits import Split
from thinned.studies.examples.examples import ExampleSet
from thinned.studies.examples.load import load_examples
from thinned.studies.training.loop import NetworkConfig, NetworkFunctions, train_network
from thinned.studies.training.loop.checkpoint import Checkpoint
from thinned.studies.training.records import TrainedNetwork

CONFIG = NetworkConfig(epochs=3, batch_size=16, learning_rate=0.01, device="cpu")


def blobs(count: int = 120, classes: int = 3, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Classes around points of a plane, and one number that says nothing."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(count) % classes
    angle = 2 * torch.pi * y / classes
    x = torch.stack([angle.cos(), angle.sin(), torch.zeros(count)], dim=1)
    return x + 0.3 * torch.randn(count, 3, generator=generator), y


def build() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 3))


def with_rate(network: nn.Module, setting: Setting) -> nn.Module:
    """The network with the setting's rate at all sites."""
    convert(network)
    for site in schedules.dropout_layers(network).values():
        site.p = setting.dropout
    return network


def unchanged(network: nn.Module) -> nn.Module:
    return network


def split_of(examples: ExampleSet, *, tested: bool = True) -> Split:
    """The second half validates and tests; without a test part, the given test set is for that."""
    numbers = np.arange(examples.count)
    half, most = examples.count // 2, 3 * examples.count // 4
    return Split(0, 0, numbers[:half], numbers[half:most], numbers[most:] if tested else numbers[:0])


def trained(
    examples: ExampleSet | None = None,
    functions: NetworkFunctions | Callable[[], nn.Module] = build,
    *,
    dropout: float = 0.5,
    split: Split | None = None,
    seed: int = 1,
    checkpoint: Checkpoint | None = None,
    report: Callable[[int], None] = lambda epoch: None,
    **changes: object,
) -> TrainedNetwork:
    """One trained network."""
    examples = examples or load_examples(blobs())
    functions = functions if isinstance(functions, NetworkFunctions) else NetworkFunctions(functions)
    config = dataclasses.replace(CONFIG, **changes)  # type: ignore[arg-type]
    prepare = lambda network: with_rate(network, Setting(dropout=dropout))  # noqa: E731
    split = split_of(examples, tested=not examples.test_count) if split is None else split
    return train_network(functions, prepare, examples, split, config, seed, Member(0, 0, 0), report, checkpoint)


class Items(Dataset[tuple[torch.Tensor, int]]):
    """The same examples, read one by one; ``change`` is applied to each input."""

    def __init__(
        self,
        x: Sequence[torch.Tensor] | torch.Tensor,
        y: torch.Tensor,
        change: Callable[[torch.Tensor], torch.Tensor] = lambda x: x,
    ) -> None:
        self.x, self.y, self.change = x, y, change

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.change(self.x[index]), int(self.y[index])


def noisy(x: torch.Tensor) -> torch.Tensor:
    """An augmentation that draws from all three generators."""
    import random

    return x + 0.1 * torch.randn(3) + 0.1 * float(np.random.normal()) + 0.1 * random.random()  # noqa: NPY002
