"""``convert`` puts a network of the size that its masks leave in place of the same layers with masks."""

import copy
import pickle

import pytest
import torch
from torch import nn

import thinned


def network() -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.Linear(7, 12), nn.ReLU(), thinned.BatchDropout(0.5), nn.Linear(12, 5)]
    return nn.Sequential(*layers).double()


def inputs(*shape: int) -> torch.Tensor:
    return torch.linspace(-1, 1, 6 * 7, dtype=torch.float64).view(*shape, 7).sin()


@pytest.mark.parametrize("inside", [False, True])
def test_the_converted_network_is_the_masked_one(inside: bool) -> None:
    plain = nn.ModuleDict({"mlp": network()})["mlp"] if not inside else nn.Sequential(network(), nn.Tanh())
    model = copy.deepcopy(plain)
    report = thinned.convert(model)
    part = model[0] if inside else model
    assert isinstance(part, thinned.ThinnedMLP)
    assert report.sub_networks == (["0"] if inside else [""])
    assert "COMPUTED AT ITS REAL SIZE" in repr(report)
    assert model.state_dict().keys() == plain.state_dict().keys()
    rows: list[int] = []
    activation = part[1].forward
    part[1].forward = lambda x: rows.append(x.shape[-1]) or activation(x)  # no hook, which would make it masked
    for x in (inputs(6), inputs(2, 3)):  # of positions, which have a mask each: computed whole
        outs = []
        for form in (plain, model):
            torch.manual_seed(1)
            outs.append(form(x))
        torch.testing.assert_close(*outs, rtol=0, atol=1e-13)
    assert rows[0] < 12 == rows[1]
    del part[1].__dict__["forward"]
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
