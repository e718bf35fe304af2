"""Drop paths of other libraries become ours, where a trial shows that they do the same."""

import pytest
import torch
from torch import nn

import thinned
from thinned.studies.design.own_network.drop_paths import take_over_drop_paths
from thinned.studies.design.own_network.site_groups import find_network_sites


class DropPath(nn.Module):
    """As timm writes it."""

    def __init__(self, drop_prob: float = 0.0, scale_by_keep: bool = True) -> None:
        super().__init__()
        self.drop_prob, self.scale_by_keep = drop_prob, scale_by_keep

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.drop_prob == 0 or not self.training:
            return x
        keep = 1 - self.drop_prob
        mask = x.new_empty((x.shape[0],) + (1,) * (x.ndim - 1)).bernoulli_(keep)
        if keep > 0 and self.scale_by_keep:
            mask.div_(keep)
        return x * mask


class StochasticDepth(nn.Module):
    """As torchvision writes it."""

    def __init__(self, p: float, mode: str) -> None:
        super().__init__()
        self.p, self.mode = p, mode

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training or self.p == 0:
            return x
        size = [x.shape[0]] + [1] * (x.ndim - 1) if self.mode == "row" else [1] * x.ndim
        return x * torch.empty(size).bernoulli_(1 - self.p).div_(1 - self.p)


class ElementDropPath(DropPath):
    """Not what its name says: it drops elements."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.empty_like(x).bernoulli_(1 - self.drop_prob).div_(1 - self.drop_prob)


class Block(nn.Module):
    def __init__(self, path: nn.Module) -> None:
        super().__init__()
        self.linear, self.path = nn.Linear(3, 3), path

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.path(self.linear(x))


@pytest.mark.parametrize(
    ("path", "rate", "scaled"),
    [
        (DropPath(0.2), 0.2, True),
        (DropPath(0.0), 0.0, True),
        (DropPath(0.3, scale_by_keep=False), 0.3, False),
        (StochasticDepth(0.4, "row"), 0.4, True),
    ],
)
def test_what_drops_rows_is_replaced(path: nn.Module, rate: float, scaled: bool) -> None:
    network = nn.Sequential(Block(path.eval()))
    state = torch.get_rng_state()
    assert take_over_drop_paths(network) == ("0.path",)
    assert torch.equal(torch.get_rng_state(), state)
    ours = network[0].path
    assert isinstance(ours, thinned.DropPath)
    assert (ours.p, ours.scale_by_keep, ours.training) == (rate, scaled, False)
    [site] = find_network_sites(network, torch.ones(2, 3)).sites
    assert (site.name, site.group, site.rate) == ("0.path", "drop path", rate)
    assert take_over_drop_paths(network) == ()


@pytest.mark.parametrize("path", [StochasticDepth(0.4, "batch"), ElementDropPath(0.2), thinned.DropPath(0.1)])
def test_what_does_something_else_stays(path: nn.Module) -> None:
    network = Block(path)
    assert take_over_drop_paths(network) == ()
    assert network.path is path
    assert vars(path).get("drop_prob", 0.2) in (0.1, 0.2)


def test_noise_that_stays_is_told() -> None:
    found = find_network_sites(Block(ElementDropPath(0.2)), torch.ones(2, 3))
    assert found.sites == ()
    assert found.noise == ("path:bernoulli_",)
