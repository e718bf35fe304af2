"""Sub-networks of their own: equal to the masked model."""

import pytest
import torch
from ensemble_models import ROWS, Functional, assert_same, everything
from torch import nn

import thinned
from thinned import ensemble
from thinned.errors import InputError


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


class Block(nn.Module):
    """Channels with batch norm in between, and a unit that two look at."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.relu, self.drop = (
            nn.Conv2d(3, 8, 3),
            nn.BatchNorm2d(8),
            nn.ReLU(True),
            nn.Dropout2d(0.5),
        )
        self.conv2, self.line, self.drop2 = nn.Conv2d(8, 4, 3), nn.Linear(4, 4), thinned.Dropout(0.5)
        self.out, self.other = nn.Linear(4, 2), nn.Linear(4, 2)

    def forward(self, x):
        x = self.conv2(self.drop(self.relu(self.norm(self.conv(x))))).mean((2, 3))
        x = self.drop2(torch.relu(self.line(x)) + x)
        return self.out(x) + self.other(x)


@pytest.mark.parametrize("member", [0, 17])
def test_a_sub_network_of_its_own_equals_the_masked_one(member):
    deep = nn.Sequential(
        *(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(True), nn.Dropout(0.5, True)),
        *(nn.Linear(16, 16), nn.GELU(), nn.Dropout(0.3), nn.Linear(16, 2)),
    )
    for model, x in ((deep, ROWS), (Block(), torch.randn(2, 3, 8, 8))):
        model.eval()
        for norm in (m for m in model.modules() if hasattr(m, "running_mean")):
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)
        before = everything(model)
        small = ensemble.subnetwork(model, (5, member), x)
        assert_same(before, everything(model))
        masked = ensemble.sample(model, x, member + 2, seed=5).outputs[member]
        torch.testing.assert_close(small(x), masked, atol=1e-5, rtol=1e-5)
        assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in model.parameters())
        assert not any(isinstance(m, nn.modules.dropout._DropoutNd | thinned.Dropout) for m in small.modules())
    assert isinstance(small.drop, nn.Identity)
    assert small.conv.out_channels == small.norm.num_features == small.conv2.in_channels < 8
    assert small.line.out_features == 4  # its sum with x is looked at as a whole
    assert small.out.in_features == small.other.in_features < 4


def test_every_sub_network_of_its_own_equals_the_enumeration():
    model = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Dropout(0.3), nn.Linear(4, 2))
    every = ensemble.enumerate(model, ROWS)
    for number in range(16):
        mask = {name: value[0] for name, value in every.masks(number, number + 1).items()}
        torch.testing.assert_close(ensemble.subnetwork(model, mask)(ROWS), every.outputs[number], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Sequential(nn.Linear(6, 4), nn.Dropout(0.3)), "go into the output"),
        (nn.Sequential(nn.Linear(6, 4), nn.Dropout(0.3), nn.Softmax(-1), nn.Linear(4, 1)), "go into Softmax"),
        (Functional(), "kind functional"),
    ],
)
def test_what_cannot_be_made_smaller_is_refused(model, message):
    with pytest.raises(InputError, match=message):
        ensemble.subnetwork(model, 0, ROWS)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        (-1, "a member's number must be at least 0; got -1"),
        ({"1": torch.ones(4)}, "there must be a mask for every site; there is none for 3"),
        ({"1": torch.ones(5), "3": torch.ones(4)}, "1 has 4; got 5"),
    ],
)
def test_an_address_of_nothing_is_one_sentence(address, message):
    model = nn.Sequential(nn.Linear(6, 4), nn.Dropout(0.3), nn.Linear(4, 4), nn.Dropout(0.3), nn.Linear(4, 1))
    with pytest.raises(InputError, match=message):
        ensemble.subnetwork(model, address)


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
@pytest.mark.parametrize("norm", [nn.utils.weight_norm, nn.utils.spectral_norm])
@pytest.mark.parametrize("normed", ["before", "behind", "both"])
def test_old_norms_of_weights_are_taken_over(norm, normed):
    before, behind = nn.Linear(6, 8), nn.Linear(8, 3)
    before = before if normed == "behind" else norm(before)
    behind = behind if normed == "before" else norm(behind)
    model = nn.Sequential(before, nn.ReLU(), nn.Dropout(0.5), behind)
    model(ROWS)  # leaves a weight with a gradient function, which deepcopy refuses
    model.eval()
    state = everything(model)
    drawn = ensemble.sample(model, ROWS, 4).outputs
    every = ensemble.enumerate(model, ROWS)
    assert every.by == "doubling"
    small = ensemble.subnetwork(model, 3, ROWS)
    assert_same(state, everything(model))
    torch.testing.assert_close(small(ROWS), drawn[3], atol=1e-6, rtol=1e-5)
    assert small[0].out_features == small[3].in_features < 8
    assert not any(module._forward_pre_hooks for module in small.modules())
    masked = {"2": every.masks(9, 10)["2"][0]}
    torch.testing.assert_close(ensemble.subnetwork(model, masked, ROWS)(ROWS), every.outputs[9], atol=1e-6, rtol=1e-5)
