"""``convert`` puts a network of the size that its masks leave in place of the same layers with masks."""

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import thinned


def network() -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.Linear(7, 12), nn.ReLU(), thinned.BatchDropout(0.5), nn.Linear(12, 5)]
    return nn.Sequential(*layers).double()


def inputs(*shape: int) -> torch.Tensor:
    return torch.linspace(-1, 1, 6 * 7, dtype=torch.float64).view(*shape, 7).sin()


@pytest.mark.parametrize("inside", [False, True])
def test_the_converted_network_is_the_masked_one(inside: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = nn.ModuleDict({"mlp": network()})["mlp"] if not inside else nn.Sequential(network(), nn.Tanh())
    model = copy.deepcopy(plain)
    report = thinned.convert(model)
    part = model[0] if inside else model
    assert isinstance(part, thinned.ThinnedMLP)
    assert report.sub_networks == (["0"] if inside else [""])
    assert "COMPUTED AT ITS REAL SIZE" in repr(report)
    assert model.state_dict().keys() == plain.state_dict().keys()
    units: list[int] = []  # of each call, of which converted networks make two
    relu = F.relu
    monkeypatch.setattr(F, "relu", lambda x, inplace: units.append(x.shape[-1]) or relu(x, inplace))
    for x in (inputs(6), inputs(2, 3)):  # of positions, which have a mask each: computed whole
        outs = []
        for form in (plain, model):
            torch.manual_seed(1)
            outs.append(form(x))
        torch.testing.assert_close(*outs, rtol=0, atol=1e-13)
    assert units[:1] + units[3:] == [12] * 4
    assert max(units[1:3]) < 12
    assert torch.equal(model.eval()(inputs(6)), plain.eval()(inputs(6)))
    assert type(pickle.loads(pickle.dumps(model))) is type(model)


def test_addressed_networks_of_both_forms_have_the_same_masks() -> None:
    class Written(nn.Sequential):
        """The same layers, not of a class that is known."""

    ours, theirs = network(), Written(*network())
    assert not thinned.address(theirs, 3).sub_networks
    for _ in range(2):
        assert thinned.address(ours, 3).sub_networks == [""]
    for _ in range(3):
        torch.testing.assert_close(ours(inputs(6)), theirs(inputs(6)), rtol=0, atol=1e-13)
    assert isinstance(ours, thinned.ThinnedMLP)


@pytest.mark.parametrize(
    "modules",
    [
        [nn.Linear(7, 7), nn.Dropout(0.5), nn.Linear(7, 7)],
        [nn.Linear(7, 7), nn.LayerNorm(7), thinned.BatchDropout(0.5), nn.Linear(7, 7)],
        [nn.Linear(7, 7), thinned.BatchDropout(0.5)],
        [nn.Linear(7, 7), nn.Linear(7, 7)],
    ],
)
def test_other_sequences_stay(modules: list[nn.Module]) -> None:
    model = nn.Sequential(*modules)
    assert not thinned.convert(model).sub_networks
    assert type(model).__name__ == "Sequential"


class Centered(nn.Identity):
    """A subclass that mixes units."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x - x.mean(-1, keepdim=True)


class Doubled(nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(x)


def test_layers_with_a_forward_of_their_own_stay() -> None:
    model = nn.Sequential(nn.Linear(7, 12), Centered(), thinned.BatchDropout(0.5), nn.Linear(12, 5))
    assert not thinned.convert(model).sub_networks
    patched = network()
    patched[1].forward = Centered().forward
    assert not thinned.convert(patched).sub_networks
    assert not thinned.convert(nn.Sequential(*network()[:3], Doubled(12, 5))).sub_networks


def test_a_converted_network_can_be_sliced_and_altered_as_before() -> None:
    plain, model = network(), network()
    thinned.convert(model)
    for form in (plain, model):
        form[3] = nn.Identity()  # to take the hidden features
    for training in (True, False):
        outs = []
        for form in (plain[:3], model[:3], plain, model):
            torch.manual_seed(1)
            outs.append(form.train(training)(inputs(6)))
        assert all(torch.equal(outs[0], out) for out in outs[1:])
    assert type(model[1:3]) is nn.Sequential
    assert type(model[-2]) is thinned.BatchDropout
