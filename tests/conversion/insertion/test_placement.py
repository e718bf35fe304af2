"""Before which layers dropout goes, of which class, and why not before the others."""

import pytest
import torch
from plain_networks import NETWORKS, TextConvolution, UNet, densenet, images, mlp, mobilenet, resnet, sequence, vgg
from torch import nn

import thinned

HOLDER: dict[str, nn.Module] = {}  # a global, which a recorded pass does not copy


def placed(model, x, **options):
    report = thinned.insert_dropout(model, x, **options)
    return {site.layer: site.dropout for site in report.placed}


def unplaced(model, x, **options):
    return thinned.insert_dropout(model, x, **options).unplaced


EXPECTED = {
    "MLP": {"3": "Dropout", "5": "Dropout"},
    "VGG": {"1.0": "Dropout2d", "3.0": "Dropout2d", "6": "Dropout", "8": "Dropout"},
    "ResNet": {
        "1.conv1": "Dropout2d",
        "1.conv2": "Dropout2d",
        "2.conv1": "Dropout2d",
        "2.conv2": "Dropout2d",
        "5": "Dropout",
    },
    "U-Net": {"down2.0": "Dropout2d", "up": "Dropout2d", "merge.0": "Dropout2d", "out": "Dropout2d"},
    "ConvNeXt": {
        "1.up": "Dropout",
        "1.down": "Dropout",
        "2": "Dropout2d",
        "3.up": "Dropout",
        "3.down": "Dropout",
        "6": "Dropout",
    },
    "text CNN": {"convs.0": "Dropout1d", "convs.1": "Dropout1d", "out": "Dropout"},
    "1-D CNN": {"2": "Dropout1d"},
    "3-D CNN": {"2": "Dropout3d", "4": "Dropout"},
    "mixed": {"conv2": "Dropout1d", "hidden": "Dropout"},
}


@pytest.mark.parametrize("name", EXPECTED)
def test_hidden_layers(name):
    build, example = NETWORKS[name]
    assert placed(build(), example()) == EXPECTED[name]


def test_a_gate_and_the_projection_of_a_skip_connection_get_none():
    reasons = unplaced(resnet(gate=True), images())
    assert reasons == {
        "0.0": "it takes the network's input",
        **dict.fromkeys(
            ["1.gate.1", "1.gate.3", "2.gate.1", "2.gate.3"], "it is part of a gate, whose output scales other features"
        ),
        "2.skip": "it projects a skip connection, which carries the features past the other layers",
    }


def test_a_depthwise_convolution_gets_none_and_the_layers_around_it_do():
    model, x = mobilenet(), images()
    report = thinned.insert_dropout(model, x)
    assert {name for name, reason in report.unplaced.items() if "depthwise" in reason} == {
        "1.depthwise.0",
        "2.depthwise.0",
    }
    assert report.layers == ["1.expand.0", "1.project.0", "2.expand.0", "2.project.0", "3.0", "6"]


def test_what_makes_and_takes_attention_and_what_is_no_layer_is_reported():
    build, example = NETWORKS["mixed"]
    model = build()
    assert unplaced(model, example()) == {
        "conv1": "it takes the network's input",
        "recurrent:gru": "it is recurrent; use its dropout argument, or thinned.LockedDropout before it",
        "qkv": "it makes queries, keys or values; attention has dropout of its own",
        ":scaled_dot_product_attention": "attention has a dropout argument of its own, for its weights",
        "project": "it takes the result of attention, which has dropout of its own",
        ":matmul": "a forward calls it as a function, without a layer; put thinned.Dropout before it in the code",
    }


def test_attention_written_out_is_seen():
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.q, self.k, self.v, self.out, self.last = (nn.Linear(8, 8) for _ in range(6))

        def forward(self, x):
            x = self.embed(x)
            weights = torch.softmax(self.q(x) @ self.k(x).transpose(1, 2), -1)
            return self.last(self.out(weights @ self.v(x)) + x)

    reasons = unplaced(Attention(), torch.randn(4, 5, 8))
    assert set(reasons) == {"embed", "q", "k", "v", ":matmul", "out"}
    assert {name for name, reason in reasons.items() if "queries, keys or values" in reason} == {"q", "k", "v"}
    assert reasons["out"] == "it takes the result of attention, which has dropout of its own"


def test_the_layers_around_an_attention_module_are_hidden_layers():
    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.heads = nn.Linear(8, 8), nn.MultiheadAttention(8, 2, batch_first=True)
            self.up, self.down, self.next = nn.Linear(8, 16), nn.Linear(16, 8), nn.MultiheadAttention(8, 2)

        def forward(self, x):
            x = self.embed(x)
            x = x + self.heads(x, x, x)[0]
            x = x + self.down(self.up(x).relu())
            return self.next(x, x, x)[0]

    report = thinned.insert_dropout(Encoder(), torch.randn(4, 5, 8))
    assert report.layers == ["up", "down"]
    assert set(report.unplaced) == {"embed", "heads:multi_head_attention_forward", "next:multi_head_attention_forward"}


def test_layers_outside_the_model_and_within_an_attention_module():
    outside = nn.Linear(8, 8)

    class Attention(nn.MultiheadAttention):
        def forward(self, x):
            return self.out_proj(x).relu()

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.heads, self.last = nn.Linear(8, 8), Attention(8, 2), nn.Linear(8, 2)

        def forward(self, x):
            return self.last(HOLDER["layer"](self.heads(self.first(x)).relu()).relu())

    HOLDER["layer"] = outside
    report = thinned.insert_dropout(Model(), torch.randn(4, 8))
    assert report.layers == ["heads.out_proj", "last"]
    assert report.unplaced[":linear"].startswith("a forward calls it as a function")
    assert not outside._forward_pre_hooks


def test_a_recurrence_written_out_gets_none():
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.step, self.last = nn.Linear(8, 8), nn.Linear(8, 2)

        def forward(self, x):
            state = torch.zeros(len(x), 8)
            for t in range(3):
                state = torch.tanh(x[:, t] + self.step(state))
            return self.last(state)

    reasons = unplaced(Recurrent(), torch.randn(4, 3, 8))
    assert list(reasons) == ["step"]
    assert reasons["step"].startswith("it is recurrent")


def test_input():
    assert placed(vgg(), images(), where="input", p=0.2) == {"0.0": "Dropout"}
    assert placed(mlp(), torch.randn(8, 6), where="input") == {"0": "Dropout"}
    with pytest.raises(thinned.InputError, match="words:embedding"):
        thinned.insert_dropout(TextConvolution(), torch.randint(0, 30, (4, 12)), where="input")


def test_last_hidden():
    assert placed(vgg(), images(), where="last_hidden") == {"8": "Dropout"}
    assert placed(UNet(), images(), where="last_hidden") == {"out": "Dropout2d"}
    assert placed(sequence(), torch.randn(4, 3, 20), where="last_hidden") == {"2": "Dropout1d"}
    with pytest.raises(thinned.InputError, match=r"\(the model\) \(it takes the network's input\)"):
        thinned.insert_dropout(nn.Linear(6, 2), torch.randn(8, 6), where="last_hidden")


def test_last_hidden_of_several_outputs_and_of_a_residual_output():
    class Heads(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.one, self.two = vgg(), nn.Linear(5, 2), nn.Linear(5, 3)

        def forward(self, x):
            x = self.body(x).relu()
            return {"one": self.one(x), "two": [self.two(x).sigmoid()]}

    assert list(placed(Heads(), images(), where="last_hidden")) == ["one", "two"]
    assert list(placed(resnet()[:3], images(), where="last_hidden")) == ["2.conv2"]


def test_last_hidden_of_a_sum_of_two_heads():
    class TwoHeads(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.wide, self.top = nn.Linear(6, 8), nn.Linear(8, 2), nn.Linear(8, 2)

        def forward(self, x):
            x = self.body(x).relu()
            return self.top(x) + self.wide(x)

    assert list(placed(TwoHeads(), torch.randn(4, 6), where="last_hidden")) == ["top", "wide"]


def test_every_weight_layer():
    model = mobilenet()
    layers = [name for name, module in model.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    assert list(placed(model, images(), where="every_weight_layer")) == layers


def test_names_of_layers_and_of_modules_around_them():
    assert placed(mobilenet(), images(), where=["1.depthwise.0"]) == {"1.depthwise.0": "Dropout2d"}
    assert list(placed(resnet(), images(), where=("2", "5"))) == ["2.conv1", "2.conv2", "5"]
    message = r"where must name layers of the network; got '1.conv'; did you mean '1.conv2' or '1.conv1'"
    with pytest.raises(thinned.InputError, match=message):
        thinned.insert_dropout(resnet(), images(), where=["1.conv"])
    with pytest.raises(thinned.InputError, match=r"whose input can be dropped; got '0'; it takes the network's input"):
        thinned.insert_dropout(resnet(), images(), where=["0", "5"])


def test_a_predicate():
    def last_stage(name, module):
        return name.startswith("2.") and isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3)

    report = thinned.insert_dropout(resnet(), images(), where=last_stage)
    assert report.layers == ["2.conv1", "2.conv2"]
    assert report.unplaced["5"] == "where(name, module) is false"


def test_wrong_places():
    with pytest.raises(thinned.InputError, match=r"got 'fc'; where=\['fc'\] names a module"):
        thinned.insert_dropout(mlp(), torch.randn(8, 6), where="fc")
    with pytest.raises(TypeError, match="or a function of name and module; got int"):
        thinned.insert_dropout(mlp(), torch.randn(8, 6), where=3)
    with pytest.raises(TypeError, match="got Linear"):  # it could be called, too
        thinned.insert_dropout(mlp(), torch.randn(8, 6), where=nn.Linear(6, 6))
    with pytest.raises(TypeError, match="got list"):
        thinned.insert_dropout(mlp(), torch.randn(8, 6), where=[3])
    with pytest.raises(thinned.InputError, match="must find a layer"):
        thinned.insert_dropout(mlp(), torch.randn(8, 6), where=[])


def test_a_dropout_that_is_there_is_enough():
    model = nn.Sequential(
        *(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Dropout2d(0.1), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3), nn.ReLU()),
        *(nn.Flatten(), nn.Dropout(0.0), nn.Linear(100, 8), nn.ReLU(), nn.Linear(8, 2)),
    )
    report = thinned.insert_dropout(model, images())
    assert report.layers == ["8", "10"]  # one at a rate of 0 drops nothing
    assert report.unplaced["4"] == "its input is dropped already, by 2"
    assert list(thinned.audit(model, images())) == []


def test_a_shared_layer_has_one_site_if_all_its_calls_allow_it():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second, self.loop = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 6)
            self.both, self.out = nn.Linear(6, 6), nn.Linear(12, 2)

        def encode(self, x):
            return self.second(self.first(x).relu()).relu()

        def forward(self, x):
            a, b = self.encode(x), self.encode(-x)
            for _ in range(2):
                a = self.loop(a).relu()
            return self.out(torch.cat([a + self.both(x), self.both(b)], 1))

    model, x = Shared(), torch.randn(8, 6)
    report = thinned.insert_dropout(model, x)
    assert report.layers == ["second", "out"]
    assert report.unplaced["first"] == report.unplaced["both"] == "it takes the network's input"
    assert "recurrent" in report.unplaced["loop"]
    assert [site.name for site in thinned.sites.find(model, x)] == [
        "second.input_dropout",
        "second.input_dropout#1",
        "out.input_dropout",
    ]
    assert list(thinned.audit(model, x)) == []


def test_a_layer_class_of_the_user_is_a_layer_and_a_function_is_reported():
    class Standardised(nn.Conv2d):
        def forward(self, x):
            weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
            return nn.functional.conv2d(nn.functional.pad(x, (1, 1, 1, 1)), weight, self.bias)

    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.weight = Standardised(4, 4, 3), nn.Parameter(torch.randn(2, 4))

        def forward(self, x):
            return nn.functional.linear(self.conv(x).mean((2, 3)), self.weight)

    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), Functional())
    report = thinned.insert_dropout(model, images())
    assert report.layers == ["2.conv"]
    assert report.unplaced["2:linear"].startswith("a forward calls it as a function, without a layer")


def test_linear_layers_over_the_positions_of_feature_maps_drop_channels():
    model = nn.Sequential(nn.Conv1d(3, 8, 3), nn.ReLU(), nn.Linear(18, 4))
    x = torch.randn(4, 3, 20)
    assert placed(model, x) == {"2": "Dropout1d"}
    assert list(thinned.audit(model, x)) == []


def test_a_layer_that_the_pass_does_not_call_is_reported():
    class Spare(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.spare = mlp(), nn.Linear(2, 2)

        def forward(self, x):
            return self.body(x)

    assert unplaced(Spare(), torch.randn(8, 6))["spare"] == "the pass does not call it"


def test_an_example_without_a_batch_axis():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3))
    with pytest.raises(thinned.InputError, match="its input has no batch axis; give a batch of examples"):
        thinned.insert_dropout(model, torch.randn(3, 16, 16))


def test_the_short_form_groups_layers():
    report = thinned.insert_dropout(densenet(), images(), p=0.1)
    assert repr(report).splitlines() == [
        "8 sites placed, 1 layer without",
        (
            "  Dropout2d before 1.layers.0.2, 1.layers.1.2, … 4.layers.2.2 (7 layers): "
            "whole channels, since a convolution takes feature maps"
        ),
        "  Dropout before 7: single features, since it is fully connected",
        "  NOT PLACED before 0.0: it takes the network's input",
    ]
    site = report.placed[0]
    assert (site.name, site.p, site.shape) == ("1.layers.0.2.input_dropout", 0.1, (4, 8, 16, 16))
