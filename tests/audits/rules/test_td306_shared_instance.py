"""TD306: one dropout module used in several places."""

import torch
from torch import nn

import thinned


def model(first: nn.Module, second: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(4, 4), first, nn.Linear(4, 4), second, nn.Linear(4, 2))


def test_a_shared_module_is_found_and_two_modules_are_not() -> None:
    shared = nn.Dropout(0.2)
    [finding] = thinned.audit(model(shared, shared), torch.ones(4, 4))
    assert (finding.code, finding.severity, finding.data["calls"]) == ("TD306", "info", 2)
    assert not thinned.audit(model(nn.Dropout(0.2), nn.Dropout(0.2)), torch.ones(4, 4))


def test_a_block_that_runs_twice_has_one_place() -> None:
    block = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.2))

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Block(block)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner(self.inner(x)).sum(1)

    class Block(nn.Module):
        def __init__(self, layers: nn.Module) -> None:
            super().__init__()
            self.layers = layers

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layers(x)

    assert "TD306" not in thinned.audit(Twice(), torch.ones(4, 4)).codes()
