"""Rates and forms of single sites in place of those that the model's code gives them."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import thinned
from thinned.conversion import SiteOverride, override_sites


class Sites(nn.Module):
    """Dropout of ones by functions of torch, each with another way to pass its rate."""

    def __init__(self) -> None:
        super().__init__()
        self.drop, self.attention = nn.Dropout(0.1), nn.MultiheadAttention(8, 2, 0.1, batch_first=True)
        self.lstm = nn.LSTM(8, 8, 2, dropout=0.1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.dropout(x, 0.1, self.training) + F.dropout(x, p=0.1, training=self.training) + self.drop(x)
        x = torch.dropout(x, 0.1, self.training) + F.scaled_dot_product_attention(
            x, x, x, dropout_p=0.1 * self.training
        )
        x = x + F.dropout2d(x[None], 0.1, self.training)[0]
        return self.lstm(x + self.attention(x, x, x)[0])[0]


NAMES = ("", "#1", "drop", "#2", "#3", "#4", "attention", "lstm")
X = torch.linspace(-1, 1, 4 * 5 * 8).view(4, 5, 8)


def outputs(overrides: dict[str, SiteOverride], model: Sites, *, seed: int | None = 3) -> torch.Tensor:
    model = copy.deepcopy(model)
    override_sites(model, overrides)
    if seed is not None:
        thinned.address(model, seed)
    torch.manual_seed(1)
    return model(X)


@pytest.fixture(scope="module")
def model() -> Sites:
    torch.manual_seed(0)
    return Sites()


def test_the_sites_are_those_that_are_found(model: Sites) -> None:
    assert {site.name for site in thinned.sites.find(model, X)} == set(NAMES)


@pytest.mark.parametrize("seed", [3, None])
def test_all_off_is_evaluation(model: Sites, seed: int | None) -> None:
    expected = copy.deepcopy(model).eval()(X)
    off = dict.fromkeys(NAMES, SiteOverride(0.0))
    assert torch.allclose(outputs(off, model, seed=seed), expected, atol=1e-6)
    assert not torch.allclose(outputs({}, model, seed=seed), expected, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_each_site_has_a_rate_of_its_own(model: Sites, name: str) -> None:
    off = dict.fromkeys(NAMES, SiteOverride(0.0))
    expected = copy.deepcopy(model).eval()(X)
    assert not torch.allclose(outputs({**off, name: SiteOverride(0.6)}, model), expected, atol=1e-6)


def test_the_own_rate_changes_nothing(model: Sites) -> None:
    own = dict.fromkeys(NAMES, SiteOverride(0.1))
    assert torch.equal(outputs(own, model), outputs({}, model))


def test_the_last_overrides_hold_and_copies_have_them(model: Sites) -> None:
    changed = copy.deepcopy(model)
    override_sites(changed, dict.fromkeys(NAMES, SiteOverride(0.0)))
    thinned.address(changed, 3)
    assert torch.allclose(copy.deepcopy(changed)(X), copy.deepcopy(model).eval()(X), atol=1e-6)
    override_sites(changed, {})
    assert torch.equal(changed(X), outputs({}, model))


def test_evaluation_and_the_state_stay(model: Sites) -> None:
    changed = copy.deepcopy(model)
    override_sites(changed, dict.fromkeys(NAMES, SiteOverride(0.9)))
    assert changed.state_dict().keys() == model.state_dict().keys()
    assert torch.equal(changed.eval()(X), copy.deepcopy(model).eval()(X))
    assert changed.drop.p == 0.1


def test_axes_are_shared() -> None:
    class Maps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.drop = nn.Dropout(0.5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.stack([self.drop(x), F.dropout(x, 0.5, self.training)])

    changed = Maps()
    override_sites(changed, {"drop": SiteOverride(0.5, (2, 3)), "": SiteOverride(0.5, (0, 1))})
    for seed in (None, 7):
        if seed is not None:
            thinned.address(changed, seed)
        first, second = changed(torch.ones(8, 8, 3, 3)) == 0
        assert torch.equal(first.flatten(2).any(2), first.flatten(2).all(2))
        assert torch.equal(second.flatten(0, 1).any(0), second.flatten(0, 1).all(0))
        assert first.any()
        assert not first.all()


def test_a_rate_outside_0_to_1_is_refused(model: Sites) -> None:
    with pytest.raises(ValueError, match=r"p must lie in \[0, 1\]; got p=1.5"):
        override_sites(copy.deepcopy(model), {"drop": SiteOverride(1.5)})


def test_an_override_reaches_a_compiled_model() -> None:
    changed = nn.Sequential(nn.Linear(4, 64), nn.Dropout(0.9), nn.Linear(64, 2))
    override_sites(changed, {"1": SiteOverride(0.0)})
    thinned.address(changed, 3)
    x = torch.ones(3, 4)
    compiled = torch.compile(changed, backend="eager", fullgraph=True)
    assert torch.allclose(compiled(x), copy.deepcopy(changed).eval()(x))
