"""What a pass records of the calls of layers: sources, outputs, gates, skip connections."""

import torch
from plain_networks import UNet, images, resnet
from torch import nn

from thinned.conversion.insertion.layer_calls import record_layers


class Functions(nn.Module):
    """Layers ``a`` … ``f`` of 8 features, and a forward that is given."""

    def __init__(self, function):
        super().__init__()
        self.a, self.b, self.c, self.d, self.e, self.f = (nn.Conv2d(8, 8, 1) for _ in range(6))
        self.function = function

    def forward(self, x):
        return self.function(self, x)


def record(function):
    """The recording, and the names of its calls."""
    recording = record_layers(Functions(function), (torch.randn(2, 8, 4, 4),), {})
    return recording, [call.name for call in recording.calls]


def names(recording, numbers):
    return {recording.calls[number].name for number in numbers}


def sources(recording):
    return {call.name: names(recording, call.sources) for call in recording.calls}


def test_sources_pass_through_what_has_no_weights():
    recording, called = record(lambda m, x: m.c(torch.cat([m.b(m.a(x).relu()), x * 2], 1)[:, :8] + m.a.bias.mean()))
    assert called == ["a", "b", "c"]
    assert sources(recording) == {"a": set(), "b": {"a"}, "c": {"b"}}
    assert recording.calls[2].ancestors == {0, 1}
    assert names(recording, recording.heads) == {"c"}


def test_what_is_written_in_place_is_followed():
    def forward(m, x):
        y = m.a(x).clone()
        y[:, :4] = m.b(x)[:, :4]
        z = torch.zeros_like(x)
        z += m.c(x)
        return m.e(m.d(y) + z.mul_(2))

    assert sources(record(forward)[0])["d"] == {"a", "b"}
    assert sources(record(forward)[0])["e"] == {"c", "d"}


def test_the_residual_sum_has_both_sources():
    recording = record_layers(resnet(), (images(),), {})
    assert sources(recording)["5"] == {"2.conv2", "2.skip"}
    assert sources(recording)["2.conv1"] == sources(recording)["2.skip"] == {"0.0", "1.conv2"}


def test_a_sum_with_the_input_of_a_block_is_no_projection():
    recording, _ = record(lambda m, x: m.f((y := m.a(x)) + m.c(m.b(y))))
    assert not recording.skips
    recording, _ = record(lambda m, x: m.f(m.d(y := m.a(x)) + m.c(m.b(y).relu())))
    assert names(recording, recording.skips) == {"d"}
    recording, _ = record(lambda m, x: m.f(m.d(y := m.a(x)) + m.b(y)))  # branches of one depth
    assert not recording.skips
    recording = record_layers(UNet(), (images(),), {})  # which concatenates
    assert not recording.skips


def test_gates():
    def gate(m, x):
        y = m.a(x)
        return m.d(y * torch.sigmoid(m.c(m.b(y.mean((2, 3), keepdim=True)).relu())))

    def of_positions(m, x):
        y = m.a(x)
        return m.d(y * torch.sigmoid(m.c(m.b(y).relu())))

    def of_branches(m, x):  # selective kernels, Li et al. 2019
        y = torch.stack([m.a(x), m.f(x)], 1)
        weights = m.c(m.b(y.sum(1).mean((2, 3), keepdim=True)).relu())
        return m.d((y * torch.softmax(torch.stack([weights, weights.flip(1)], 1), 1)).sum(1))

    for function in (gate, of_branches):
        recording, _ = record(function)
        assert names(recording, recording.gates) == {"b", "c"}
    recording, _ = record(of_positions)
    assert names(recording, recording.gates) == {"c"}  # b is as large as what the gate scales


def test_activations_are_no_gates():
    for activation in (
        lambda m, x: (y := m.a(x)) * torch.sigmoid(y),
        lambda m, x: (y := m.a(x)) * nn.functional.relu6(y + 3) / 6,
        lambda m, x: torch.tanh(m.a(x)) * torch.sigmoid(m.b(x)),  # the gated units of WaveNet
        lambda m, x: nn.functional.silu(m.a(x)) * m.b(x),
        lambda m, x: nn.functional.glu(m.a(x), 1).repeat(1, 2, 1, 1),
        lambda m, x: torch.sigmoid(m.a(x)) * m.b.bias[:, None, None],
    ):
        recording, _ = record(lambda m, x, f=activation: m.f(f(m, x)))
        assert not recording.gates


def test_nothing_is_kept_of_the_pass():
    model = resnet()
    recording = record_layers(model, (images(),), {})
    assert not any(module in set(model.modules()) for module in recording.layers.values())
    assert all(module.training for module in model.modules())
