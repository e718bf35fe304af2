"""The NumPy network: its example, its gradients against differences and PyTorch, its masks against the layers'."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from torch import nn

import thinned
from thinned import philox
from thinned.explain.numbers import torch_network
from thinned.explain.numpy_network import (
    EXAMPLE,
    EXAMPLE_INPUT,
    Network,
    backward,
    descend,
    forward,
    initial,
    keep,
    loss,
    train,
)

X = np.array([[0.5, 0.25], [0.1, 0.3], [0.4, 0.05], [0.2, 0.9], [0.7, 0.4]])
Y = np.array([1.0, 0.0, 1.0, 0.0, 0.0])
MASKS = [None, *(keep((5, 4), p, key) for p, key in ((0.3, 1), (0.5, 2), (0.9, 3)))]
P = [0.0, 0.3, 0.5, 0.9]
CASES = list(zip(MASKS, P, strict=True))


def test_the_example_has_its_activations_to_the_last_bit() -> None:
    trace = forward(EXAMPLE, EXAMPLE_INPUT[None], np.array([True, False, True, False]), 0.5)
    assert trace.hidden.tolist() == [[0.36, 0.13, 0.42, 0.25]]
    assert trace.dropped.tolist() == [[0.72, 0.0, 0.84, 0.0]]


@pytest.mark.parametrize(("mask", "p"), CASES)
@pytest.mark.parametrize("network", [EXAMPLE, initial(0, size=2.0)], ids=["example", "drawn"])
def test_gradients_are_differences(network: Network, mask: np.ndarray | None, p: float) -> None:
    trace = forward(network, X, mask, p)
    gradient = backward(network, trace, Y)
    h = 6e-6  # near the cube root of the rounding error, where truncation and rounding of a difference are alike
    assert np.abs(trace.before).min() > h  # no kink of ReLU in between
    # |f'''| h² / 6 + ε |f| / h, with |f'''| ≤ 0.1 · (|w| / (1 − p))³ of the largest weight and loss that occur
    steepest = np.abs(network.output_weight).max() * trace.multiplier.max()
    bound = 0.1 * steepest**3 * h**2 / 6 + 4 * np.finfo(float).eps * (1 + np.abs(trace.logit).max()) / h
    for field in fields(Network):
        value = getattr(network, field.name)
        for index in np.ndindex(value.shape):
            ends = []
            for step in (h, -h):
                moved = value.copy()
                moved[index] += step
                ends.append(loss(forward(replace(network, **{field.name: moved}), X, mask, p), Y))
            found = np.asarray(getattr(gradient, field.name))[index]
            assert abs((ends[0] - ends[1]) / (2 * h) - found) < bound, (field.name, index)


@pytest.mark.parametrize(("mask", "p"), CASES)
def test_gradients_are_those_of_torch(mask: np.ndarray | None, p: float) -> None:
    model = torch_network(p=p)
    hidden = model[1](model[0](torch.tensor(X)))
    hidden = hidden if mask is None else hidden * torch.tensor(mask) * philox.scale(p)
    logit = model[3](hidden)[:, 0]
    value = nn.functional.binary_cross_entropy_with_logits(logit, torch.tensor(Y))
    value.backward()
    trace = forward(EXAMPLE, X, mask, p)
    gradient = backward(EXAMPLE, trace, Y)
    np.testing.assert_allclose(loss(trace, Y), value.item(), rtol=1e-14)
    theirs = (model[0].weight.grad.T, model[0].bias.grad, model[3].weight.grad[0], model[3].bias.grad[0])
    for ours, other in zip((getattr(gradient, f.name) for f in fields(Network)), theirs, strict=True):
        np.testing.assert_allclose(ours, other.numpy(), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
def test_masks_and_activations_are_those_of_functional_dropout(p: float) -> None:
    for call in range(5):
        mask = keep((5, 4), p, 20, call)
        assert mask.tolist() == thinned.masks.keep_mask((5, 4), p, 20, call).tolist()
        trace = forward(EXAMPLE, X, mask, p)
        hidden = torch.tensor(trace.hidden)
        np.testing.assert_allclose(
            trace.dropped, thinned.functional.dropout(hidden, p, key=20, call=call).numpy(), rtol=1e-15
        )


def test_what_a_dropped_unit_owns_has_a_gradient_of_exactly_zero() -> None:
    mask = np.array([True, False, True, False])
    gradient = backward(EXAMPLE, forward(EXAMPLE, X, mask, 0.5), Y)
    for of in (gradient.hidden_weight, gradient.hidden_bias, gradient.output_weight):
        assert (of[..., ~mask] == 0).all()
        assert (of[..., mask] != 0).all()


def test_a_sure_and_wrong_network_has_a_finite_loss() -> None:
    sure = replace(EXAMPLE, output_bias=np.array(-1000.0))
    trace = forward(sure, EXAMPLE_INPUT[None])
    assert trace.output == 0
    assert loss(trace, np.array([1.0])) == pytest.approx(1000 - 1.81)


def test_training_is_steps_against_the_gradient() -> None:
    masks = keep((2, 5, 4), 0.5, key=3)
    by_hand = initial(1)
    for mask in masks:
        by_hand = descend(by_hand, backward(by_hand, forward(by_hand, X, mask, 0.5), Y), 0.1)
    trained = train(initial(1), X, Y, 0.5, epochs=2, key=3)
    for field in fields(Network):
        assert np.array_equal(getattr(trained, field.name), getattr(by_hand, field.name))
    long = train(initial(1, size=1.0), X, Y, 0.0, epochs=500, rate=0.5)
    assert loss(forward(long, X), Y) < 0.9 * loss(forward(initial(1, size=1.0), X), Y)
