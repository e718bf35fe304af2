"""Multi-head attention with dropout against torch's without it."""

import math

import numpy as np
import pytest
import torch
from layer_cases import CALL, KEY, address
from torch import nn

import thinned
from thinned import philox

P = 0.25

OPTIONS = [
    {},
    {"batch_first": True},
    {"bias": False},
    {"add_bias_kv": True, "add_zero_attn": True},
    {"kdim": 6, "vdim": 10},
]


def pair(**options: object) -> tuple[thinned.MultiheadAttention, nn.MultiheadAttention]:
    theirs = nn.MultiheadAttention(8, 2, **options)
    ours = thinned.MultiheadAttention(8, 2, **options)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    return ours, theirs


def inputs(options: dict[str, object]) -> list[torch.Tensor]:
    sizes = [(5, 3, 8), (6, 3, options.get("kdim", 8)), (6, 3, options.get("vdim", 8))]
    made = [torch.randn(*size) for size in sizes]
    return [x.transpose(0, 1) for x in made] if options.get("batch_first") else made


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("masked", ["no", "padding", "both", "float", "per-head"])
def test_with_nothing_dropped_the_layer_is_torchs(options: dict[str, object], need_weights: bool, masked: str) -> None:
    """In training with a rate that rounds to nothing, so that our own code runs."""
    ours, theirs = pair(**options)
    ours.rate = torch.tensor(1e-9, dtype=torch.float64)
    padding, mask = torch.zeros(3, 6, dtype=torch.bool), torch.ones(5, 6, dtype=torch.bool).triu(2)
    padding[0, -2:] = True
    masks = {
        "no": {},
        "padding": {"key_padding_mask": padding},
        "both": {"key_padding_mask": padding, "attn_mask": mask},
        "float": {"attn_mask": torch.randn(5, 6)},
        "per-head": {"attn_mask": mask.expand(6, 5, 6)},
    }[masked]
    x = inputs(options)
    a, b = (layer(*x, need_weights=need_weights, **masks) for layer in (ours, theirs))
    assert torch.allclose(a[0], b[0], atol=1e-5)
    assert (a[1] is None) == (b[1] is None)
    if need_weights:
        assert torch.allclose(a[1], b[1], atol=1e-6)
    ours.eval(), theirs.eval()
    a, b = (layer(*x, need_weights=need_weights, **masks)[0] for layer in (ours, theirs))
    assert torch.equal(a, b)


@pytest.mark.parametrize("average", [True, False])
def test_unbatched_self_attention(average: bool) -> None:
    ours, theirs = pair(dropout=0.0)
    ours.rate = torch.tensor(1e-9, dtype=torch.float64)
    x = torch.randn(5, 8)
    causal = nn.Transformer.generate_square_subsequent_mask(5)
    for options in (
        {},
        {"attn_mask": causal, "is_causal": True},
        {"attn_mask": causal, "is_causal": True, "need_weights": False},
    ):
        a, b = (layer(x, x, x, average_attn_weights=average, **options) for layer in (ours, theirs))
        assert torch.allclose(a[0], b[0], atol=1e-6)
        assert (a[1] is None) == (b[1] is None)
        assert a[1] is None or torch.allclose(a[1], b[1], atol=1e-6)


@pytest.mark.parametrize("batch_first", [True, False])
def test_masks_are_at_the_weights_address_with_and_without_weights(batch_first: bool) -> None:
    layer = address(thinned.MultiheadAttention(8, 2, P, batch_first=batch_first))
    x = torch.randn(3, 5, 8) if batch_first else torch.randn(5, 3, 8)
    output, weights = layer(x, x, x, average_attn_weights=False)
    kept = torch.from_numpy(philox.keep(np.arange(3 * 2 * 5 * 5).reshape(3, 2, 5, 5), P, KEY, CALL))
    assert torch.equal(weights != 0, kept)
    assert torch.allclose(output, layer(x, x, x, need_weights=False)[0], atol=1e-6)


def test_it_serves_in_torchs_transformer() -> None:
    encoder = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    x = torch.randn(3, 5, 8)
    expected = encoder.eval()(x)
    attention_layer = thinned.MultiheadAttention(8, 2, P, batch_first=True)
    attention_layer.load_state_dict(encoder.self_attn.state_dict())
    encoder.self_attn = address(attention_layer)
    assert torch.allclose(encoder.eval()(x), expected, atol=1e-5)
    assert not torch.allclose(encoder.train()(x), expected, atol=1e-3)


def test_layer_errors() -> None:
    layer = thinned.MultiheadAttention(8, 2, P)
    x = torch.randn(5, 3, 8)
    with pytest.raises(RuntimeError, match="is_causal needs attn_mask"):
        layer(x, x, x, is_causal=True)
    with pytest.raises(AssertionError, match="must be bool or floating-point"):
        layer(x, x, x, key_padding_mask=torch.zeros(3, 5, dtype=torch.int64))


@pytest.mark.parametrize(
    "masks",
    [
        {"key_padding_mask": torch.zeros(3, 4, dtype=torch.bool)},
        {"key_padding_mask": torch.zeros(3, 6)},
        {"key_padding_mask": torch.zeros(1, 5)},
        {"attn_mask": torch.zeros(5, 4)},
        {"attn_mask": torch.zeros(1, 5)},
        {"attn_mask": torch.zeros(6, 5, 4)},
        {"attn_mask": torch.zeros(3, 5, 5)},
        {"attn_mask": torch.zeros(6, 1, 5)},
    ],
    ids=lambda masks: " ".join(f"{name} {tuple(mask.shape)}" for name, mask in masks.items()),
)
@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("options", [{}, {"add_bias_kv": True, "add_zero_attn": True}], ids=str)
def test_masks_of_the_wrong_size_raise_what_torch_raises(
    masks: dict[str, torch.Tensor], need_weights: bool, options: dict[str, object]
) -> None:
    """Today's code pads masks for appended keys; a mask that is too short must not be padded, too."""
    x, errors = torch.randn(5, 3, 8), []
    for layer in pair(dropout=P, **options):
        with pytest.raises((RuntimeError, AssertionError)) as caught:
            layer(x, x, x, need_weights=need_weights, **masks)
        errors.append(type(caught.value))
    assert errors[0] is errors[1]


@pytest.mark.parametrize("need_weights", [True, False])
def test_a_query_without_keys_has_finite_gradients(need_weights: bool) -> None:
    layer = address(thinned.MultiheadAttention(8, 2, P, batch_first=True))
    x = torch.randn(2, 4, 8, requires_grad=True)
    padding = torch.tensor([[False] * 4, [True] * 4])
    mask = torch.zeros(4, 4)
    mask[1] = -math.inf
    output, weights = layer(x, x, x, key_padding_mask=padding, attn_mask=mask, need_weights=need_weights)
    assert output.isfinite().all()
    assert weights is None or (weights[1] == 0).all()
    grads = torch.autograd.grad(output.square().sum(), [x, *layer.parameters()])
    assert all(grad.isfinite().all() for grad in grads)


def test_every_gradient_flows_under_autocast_with_mixed_dtypes() -> None:
    layer = thinned.MultiheadAttention(8, 2, P, batch_first=True)
    x = torch.randn(2, 4, 8)
    for need_weights in (True, False):
        layer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output, _ = layer(x.to(torch.bfloat16), x, x, need_weights=need_weights)
        output.float().square().sum().backward()
        assert all(parameter.grad.isfinite().all() for parameter in layer.parameters())
