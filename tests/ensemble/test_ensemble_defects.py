"""Defects that sampling of sub-networks has elsewhere: each check passes with ours, and fails on the defect itself.

A check takes ``members(model, x, count)``, which gives ``(count, ...)`` outputs. The defective ones are written out
below it, as small as the defect allows.
"""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import thinned
from thinned import ensemble, uncertainty

X = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))


def ours(model, x, count):
    return ensemble.sample(model, x, count).outputs


def loop(model, x, count):
    with torch.no_grad():
        return torch.stack([model(x) for _ in range(count)])


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 2)).eval()


def batch_norm_stays(members):
    model = network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    outputs = members(model, X, 3)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module.training for module in model.modules())
    # a row's prediction does not hang on the rows beside it
    torch.testing.assert_close(members(model, X[:2], 3), outputs[:, :2])


def everything_trains(model, x, count):
    model.train()
    return loop(model, x, count)


def every_kind_of_dropout_is_active(members):
    class Function(nn.Module):
        def forward(self, x):
            return F.dropout(x, 0.5, self.training)

    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.MultiheadAttention(4, 2, dropout=0.5, batch_first=True)

        def forward(self, x):
            return self.inner(x[None], x[None], x[None], need_weights=False)[0]

    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.LSTM(4, 4, 2, dropout=0.5, batch_first=True)

        def forward(self, x):
            return self.inner(x[None])[0]

    class Channels(nn.Module):
        def __init__(self, layer):
            super().__init__()
            self.inner = layer

        def forward(self, x):
            return self.inner(x[None, :, :, None])

    kinds = [nn.Dropout(0.5), Channels(nn.Dropout2d(0.5)), nn.AlphaDropout(0.5), Function(), Attention(), Recurrent()]
    for model in (*kinds, thinned.Dropout(0.5), thinned.GaussianDropout(0.5)):
        outputs = members(nn.Sequential(model).eval(), X, 4)
        assert outputs.std(0).max() > 0, model


def only_dropout_modules(model, x, count):
    for module in model.modules():
        module.training = isinstance(module, nn.Dropout)
    return loop(model, x, count)


def an_inner_eval_does_not_stop_it(members):
    class Wrapper(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = network()

        def forward(self, x):
            return self.inner(x)

    model = Wrapper()
    assert members(model, X, 4).std(0).max() > 0
    model.inner.eval()
    assert members(model, X, 4).std(0).max() > 0
    model.eval()
    assert members(model, X, 4).std(0).max() > 0


def while_its_flag_is_set(model, x, count):
    flags = {module: module.training for module in model.modules()}
    for module in model.modules():
        module.training = flags[module] and not isinstance(module, nn.BatchNorm1d)
    return loop(model, x, count)


def a_weight_update_is_seen(members):
    model = network()
    before = members(model, X, 3)
    with torch.no_grad():
        model[0].weight.add_(1)
    assert not torch.equal(members(model, X, 3), before)
    torch.testing.assert_close(members(model, X, 3), members(copy.deepcopy(model), X, 3))


_prefixes = {}


def with_a_cached_prefix(model, x, count):
    hidden = _prefixes.setdefault((id(model), id(x)), model[:3](x).detach())
    generator = torch.Generator().manual_seed(0)
    kept = torch.rand((count, 8), generator=generator) < 0.5
    return torch.stack([model[4](hidden * k * 2) for k in kept]).detach()


def a_reloaded_model_has_the_same_members(members):
    model, other = network(), network()
    other.load_state_dict({name: value.clone() + 1 for name, value in model.state_dict().items()})
    before = members(model, X, 5)
    other.load_state_dict(model.state_dict())
    assert torch.equal(members(other, X, 5), before)


_drawn = {}


def with_masks_of_their_own(model, x, count):
    kept = _drawn.setdefault(id(model), torch.rand(64, 8) < 0.5)[:count]
    hidden = model[:3](x).detach()
    return torch.stack([model[4](hidden * k * 2) for k in kept]).detach()


def any_batch_size_does(members):
    model = network()
    whole = members(model, X, 4)
    for rows in (1, 3, 5):
        torch.testing.assert_close(members(model, X[:rows], 4), whole[:, :rows])


def with_rows_dealt_to_masks(model, x, count):
    kept = torch.rand((count, 8), generator=torch.Generator().manual_seed(0)) < 0.5
    hidden = model[:3](x).detach().unflatten(0, (count, -1)).mul(kept[:, None] * 2).flatten(0, 1)
    return model[4](hidden).detach().expand(count, -1, -1)


def the_input_stays(members):
    for first in (nn.Dropout(0.5, inplace=True), nn.ReLU(inplace=True)):
        model, x = nn.Sequential(first, nn.Dropout(0.5), nn.Linear(4, 2)).eval(), X.clone()
        members(model, x, 3)
        assert torch.equal(x, X)


def in_place(model, x, count):
    for module in model.modules():
        module.training = isinstance(module, nn.Dropout)
    return loop(model, x, count)


def members_are_averaged_as_probabilities(predict):
    """Two members that are each sure, of different classes: the mean is 1/2, and its entropy ln 2."""
    logits = torch.tensor([[[0.0, 30.0]], [[10.0, 0.0]]])
    torch.testing.assert_close(predict(logits), torch.tensor([2.0]).log(), atol=1e-4, rtol=0)


def entropy_of_the_mean(logits):
    return uncertainty.split_entropy(logits.softmax(-1)).total


def entropy_of_mean_logits(logits):
    p = logits.mean(0).softmax(-1)
    return -(p * p.log()).sum(-1)


PAIRS = [
    (batch_norm_stays, ours, everything_trains),
    (every_kind_of_dropout_is_active, ours, only_dropout_modules),
    (an_inner_eval_does_not_stop_it, ours, while_its_flag_is_set),
    (a_weight_update_is_seen, ours, with_a_cached_prefix),
    (a_reloaded_model_has_the_same_members, ours, with_masks_of_their_own),
    (any_batch_size_does, ours, with_rows_dealt_to_masks),
    (the_input_stays, ours, in_place),
    (members_are_averaged_as_probabilities, entropy_of_the_mean, entropy_of_mean_logits),
]


@pytest.mark.parametrize(("check", "good", "_"), PAIRS, ids=lambda f: f.__name__)
def test_ours_has_not_the_defect(check, good, _):
    check(good)


@pytest.mark.parametrize(("check", "_", "defective"), PAIRS, ids=lambda f: f.__name__)
def test_the_check_fails_on_the_defect(check, _, defective):
    with pytest.raises((AssertionError, RuntimeError)):
        check(defective)


def test_predictive_entropy_of_a_prediction_is_that_of_its_mean():
    found = ensemble.predict(network(), X, 16, output="logits")
    torch.testing.assert_close(found.total, torch.special.entr(found.mean).sum(-1))
