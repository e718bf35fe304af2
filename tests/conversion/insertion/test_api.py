"""Dropout goes into a network and out of it; nothing else of the network changes."""

import copy
import re

import pytest
import torch
from plain_networks import NETWORKS, images, mlp, resnet, vgg
from torch import nn

import thinned


@pytest.fixture(params=NETWORKS)
def network(request):
    """A network, and an example of its input."""
    build, example = NETWORKS[request.param]
    torch.manual_seed(0)
    return build(), example()


def anatomy(model):
    """Everything that removal must bring back: classes, attributes, hooks, tensors by identity and by value."""
    parts = []
    for name, module in model.named_modules():
        attributes = {key: value for key, value in vars(module).items() if not key.startswith("_")}
        tables = {key: list(value.items()) for key, value in vars(module).items() if isinstance(value, dict)}
        values = [
            tensor.clone() for tensor in (*module._parameters.values(), *module._buffers.values()) if tensor is not None
        ]
        parts.append(
            (name, type(module), str(attributes), str([(key, [k for k, _ in v]) for key, v in tables.items()]), values)
        )
    return parts


def same(one, other):
    return len(one) == len(other) and all(
        a[:4] == b[:4] and all(torch.equal(x, y) for x, y in zip(a[4], b[4], strict=True))
        for a, b in zip(one, other, strict=True)
    )


def train_step(model, x, steps=2):
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()


def check_trains(model, x, where):
    """Insert, train, audit; the report names the sites that a recorded pass finds."""
    report = thinned.insert_dropout(model, x, where=where, p=0.3)
    model.train()
    torch.manual_seed(1)
    first = model(x)
    torch.manual_seed(2)
    assert not torch.equal(first, model(x))
    train_step(model, x)
    assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in model.parameters())
    assert list(thinned.audit(model, (x,))) == []
    found = [site.name for site in thinned.sites.find(model, x) if site.kind == "module"]
    assert found == [site.name for site in report.placed]


def test_a_network_trains_with_it_and_is_audited_without_a_finding(network):
    check_trains(*network, "hidden")


@pytest.mark.parametrize("where", ["input", "last_hidden", "every_weight_layer"])
@pytest.mark.parametrize("name", ["MobileNet", "U-Net"])
def test_other_places_train_and_are_audited_without_a_finding(name, where):
    build, example = NETWORKS[name]
    torch.manual_seed(0)
    check_trains(build(), example(), where)


def test_the_output_of_a_function_has_no_last_hidden_layer():
    build, example = NETWORKS["mixed"]
    with pytest.raises(thinned.InputError, match="it does not make the output"):
        thinned.insert_dropout(build(), example(), where="last_hidden")


def test_evaluation_and_what_it_leaves_are_bitwise_the_same(network):
    model, x = network
    model.eval()
    before, keys, expected = anatomy(model), list(model.state_dict()), model(x)
    generator = torch.get_rng_state()
    thinned.insert_dropout(model, x)
    assert torch.equal(torch.get_rng_state(), generator)
    assert list(model.state_dict()) == keys
    assert torch.equal(model(x), expected)
    assert not same(anatomy(model), before)
    thinned.remove_dropout(model)
    assert same(anatomy(model), before)
    assert torch.equal(model(x), expected)


def test_a_rate_of_0_changes_nothing_in_training(network):
    model, x = network
    plain = copy.deepcopy(model)
    thinned.insert_dropout(model, x, where="every_weight_layer", p=0.0)
    assert torch.equal(model.train()(x), plain.train()(x))


def test_a_second_insertion_is_refused():
    model = vgg()
    thinned.insert_dropout(model, images())
    message = "the model must have no inserted dropout; 4 of its layers have one, 1.0 the first; thinned.remove_dropout"
    with pytest.raises(thinned.InputError, match=message):
        thinned.insert_dropout(model, images())
    thinned.remove_dropout(model)
    thinned.remove_dropout(model)
    thinned.insert_dropout(model, images())


def test_weights_load_after_the_same_insertion():
    model, x = resnet(), images()
    report = thinned.insert_dropout(model, x, p=0.2)
    train_step(model, x)
    other = resnet()
    again = thinned.insert_dropout(other, x, where=report.layers, p=0.2)
    other.load_state_dict(model.state_dict())
    assert again.layers == report.layers
    assert [site.dropout for site in again.placed] == [site.dropout for site in report.placed]
    torch.manual_seed(1)
    expected = model(x)
    torch.manual_seed(1)
    assert torch.equal(other(x), expected)


def test_rates_are_set_by_name():
    model, x = vgg(), images()
    thinned.insert_dropout(model, x, p=0.2)
    layers = thinned.schedules.dropout_layers(model)
    assert list(layers) == ["1.0.input_dropout", "3.0.input_dropout", "6.input_dropout", "8.input_dropout"]
    thinned.schedules.RateScheduler(model, thinned.schedules.constant(0.0))
    plain = vgg()
    plain.load_state_dict(model.state_dict())
    assert torch.equal(model(x), plain(x))


@pytest.mark.parametrize("first", ["address", "insertion"])
def test_masks_get_addresses_in_either_order(first):
    torch.manual_seed(0)
    model, x = vgg(), images()
    model[0][1].momentum = 0.0
    if first == "insertion":
        thinned.insert_dropout(model, x)
    thinned.address(model, 7)
    if first == "address":
        thinned.insert_dropout(model, x)
    other = copy.deepcopy(model)
    torch.manual_seed(5)
    assert torch.equal(model(x), other(x))
    key = thinned.philox.fold_in(7, thinned.philox.site_number("6.input_dropout"))
    hidden = {}
    model[6].register_forward_hook(lambda _, args, __: hidden.update(x=args[0]))
    model[6].input_dropout.register_forward_hook(lambda _, args, out: hidden.update(before=args[0], after=out))
    model(x)
    keep = thinned.masks.keep_mask(hidden["x"].shape, 0.5, key, call=1)
    assert torch.equal(hidden["after"] == 0, ~keep | (hidden["before"] == 0))


def test_an_addressed_network_runs_on_after_removal():
    model, x = mlp(), torch.randn(8, 6)
    thinned.address(model, 7)
    thinned.insert_dropout(model, x)
    thinned.remove_dropout(model)
    torch.manual_seed(1)
    first = model(x)
    torch.manual_seed(2)
    assert torch.equal(model(x), first)


def test_the_ensemble_sees_the_sites():
    model, x = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)), torch.randn(5, 4)
    thinned.insert_dropout(model, x)
    plain = nn.Sequential(*model[:2], nn.Dropout(0.5), nn.Linear(6, 3))
    plain[3].load_state_dict(model[2].state_dict())
    expected = thinned.ensemble.enumerate(plain, x)
    assert torch.allclose(thinned.ensemble.enumerate(model, x).mean, expected.mean, atol=1e-6)
    smaller = thinned.ensemble.subnetwork(model, 5, x)
    assert smaller[2].in_features < 6
    assert smaller(x).shape == (5, 3)


def test_arguments_are_those_of_an_audit():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(3, 200), nn.Linear(200, 2)

        def forward(self, x, scale=None):
            return self.b(input=self.a(x).relu() * scale)

    x, scale = torch.randn(5, 3), torch.ones(5, 1)
    for args, kwargs in [((x, scale), None), (x, {"scale": scale}), ({"x": x, "scale": scale}, None)]:
        model = Two()
        assert thinned.insert_dropout(model, args, kwargs).layers == ["b"]
        torch.manual_seed(1)
        first = model(x, scale)
        torch.manual_seed(2)
        assert not torch.equal(model(x, scale), first)  # also where the layer takes its input by name
    with pytest.raises(TypeError, match=r"thinned.insert_dropout\(model, \(x, y\)\)"):
        thinned.insert_dropout(Two(), x, scale)


@pytest.mark.filterwarnings("ignore:`torch.jit.trace:DeprecationWarning")
def test_what_can_not_be_served_is_refused_in_one_sentence():
    x = torch.randn(8, 6)
    compiled, lazy = mlp(), nn.Sequential(nn.LazyLinear(4), nn.Linear(4, 2))
    compiled.compile(backend="eager")
    scripted = torch.jit.trace(mlp().eval(), x)
    named = mlp()
    named[3].input_dropout = None
    cases = [
        (compiled, x, "dropout must be inserted before torch.compile"),
        (torch.compile(mlp(), backend="eager"), x, "insert first, then compile"),
        (scripted, x, "the model must be Python code"),
        (lazy, x, "lazy layers must know their shapes"),
        (named, x, "a layer must have no attribute input_dropout of its own; 3 has one"),
        (nn.ReLU(), x, "must find a layer whose input it may drop; got a network without weights"),
        (nn.Linear(6, 2), x, re.escape("got (the model) (it takes the network's input)")),
        (nn.LSTM(6, 4), x, re.escape("got (the model):lstm (it is recurrent; use its dropout argument")),
    ]
    for model, example, message in cases:
        with pytest.raises(thinned.InputError, match=message):
            thinned.insert_dropout(model, example)
    with pytest.raises(TypeError, match=r"model must be a torch\.nn\.Module; got str"):
        thinned.insert_dropout("model", x)
    with pytest.raises(TypeError, match=r"model must be a torch\.nn\.Module; got str"):
        thinned.remove_dropout("model")
    with pytest.raises(ValueError, match="p must lie in"):
        thinned.insert_dropout(mlp(), x, p=1.5)


def test_a_refused_insertion_leaves_the_network_alone():
    model, x = mlp(), torch.randn(8, 6)
    before = anatomy(model)
    with pytest.raises(thinned.InputError):
        thinned.insert_dropout(model, x, where=["3", "missing"])
    assert same(anatomy(model), before)
