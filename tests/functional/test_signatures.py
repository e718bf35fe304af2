"""Functions and layers take torch's arguments by torch's names."""

import inspect

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import thinned
from thinned import functional, layers

TORCH = ["alpha_dropout", "dropout", "dropout1d", "dropout2d", "dropout3d", "feature_alpha_dropout"]
LAYERS = ["AlphaDropout", "Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "FeatureAlphaDropout"]
#: each layer's function, where the layer is not dropout with shared axes
FUNCTION_OF = {
    "ConcreteDropout": "concrete_dropout",
    "DropBlock2d": "drop_block2d",
    "DropConnect": "drop_connect",
    "DropHead": "drop_head",
    "DropPath": "drop_path",
    "DropoutAdd": "dropout_add",
    "EmbeddingDropout": "embedding",
    "GaussianDropout": "gaussian_dropout",
    "LayerDrop": "layer_drop",
    "MultiheadAttention": "scaled_dot_product_attention",
    "StochasticDepth": "stochastic_depth",
    "ThinnedAttention": "drop_head_attention",
    "ThinnedFeedForward": "thinned_linear",
    "ThinnedMLP": "thinned_linear",
    "WordDropout": "word_dropout",
    "BatchDropout": "dropout",
    "LockedDropout": "dropout",
} | dict(zip(LAYERS, TORCH, strict=True))


def parameters(function: object) -> list[str]:
    return list(inspect.signature(function).parameters)


def test_every_layer_has_its_function() -> None:
    classes = {name for name in layers.__all__ if inspect.isclass(getattr(layers, name))} - {"Addressed"}
    assert classes == FUNCTION_OF.keys()
    without_layer = {"bias_dropout_add"}  # takes a bias that belongs to another layer
    assert set(FUNCTION_OF.values()) | without_layer == set(functional.__all__)


@pytest.mark.parametrize("name", functional.__all__)
def test_the_first_argument_is_named_as_in_torch(name: str) -> None:
    first = parameters(getattr(functional, name))[0]
    assert first == ("query" if name.endswith("attention") else "input")


@pytest.mark.parametrize("name", TORCH)
def test_the_arguments_of_torch_come_first_with_torchs_defaults(name: str) -> None:
    ours, theirs = (inspect.signature(getattr(module, name)).parameters for module in (functional, F))
    assert list(ours)[: len(theirs)] == list(theirs)
    assert {key: ours[key].default for key in theirs} == {key: value.default for key, value in theirs.items()}


@pytest.mark.parametrize("name", TORCH)
def test_input_by_keyword(name: str) -> None:
    x = torch.ones(4, 6, 5, 3, 2)
    x = {"dropout1d": torch.ones(4, 6, 5), "dropout2d": torch.ones(4, 6, 5, 3)}.get(name, x)
    function = getattr(functional, name)
    assert torch.equal(function(input=x, p=0.5, training=True, key=1), function(x, 0.5, True, key=1))
    layer = getattr(thinned, LAYERS[TORCH.index(name)])(0.5)
    layer.key = torch.tensor(1)
    assert torch.equal(layer(input=x), function(x, 0.5, True, key=1))
    assert layer.eval()(input=x) is x


@pytest.mark.parametrize("name", LAYERS)
def test_a_converted_layer_takes_input_by_keyword(name: str) -> None:
    shapes = {"Dropout1d": (4, 6, 5), "Dropout2d": (4, 6, 5, 3), "Dropout3d": (4, 6, 5, 3, 2)}
    x = torch.ones(shapes.get(name, (4, 6)))
    model = nn.Sequential(getattr(nn, name)(0.5))
    thinned.convert(model)
    assert isinstance(model[0], getattr(thinned, name))
    torch.manual_seed(0)
    expected = model[0](x)
    torch.manual_seed(0)
    assert torch.equal(model[0](input=x), expected)
