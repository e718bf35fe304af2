"""A network with dropout in plain NumPy, written to be read: forward, backward through the mask, training.

One hidden layer of ReLU, dropout on it, and a logistic output: 2 → 4 → 1 for the churn network of the documents. Masks
come from :mod:`thinned.philox`; tests check the gradients against finite differences and PyTorch.
"""

from dataclasses import astuple, dataclass

import numpy as np
import numpy.typing as npt

from thinned import philox

__all__ = [
    "EXAMPLE",
    "EXAMPLE_INPUT",
    "Network",
    "Trace",
    "backward",
    "descend",
    "forward",
    "initial",
    "keep",
    "loss",
    "train",
]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Network:
    """Parameters, or their gradients of the same shapes."""

    hidden_weight: Array  # (inputs, hidden)
    hidden_bias: Array  # (hidden,)
    output_weight: Array  # (hidden,)
    output_bias: Array  # ()


@dataclass(frozen=True)
class Trace:
    """Values of a forward pass that its backward pass needs. Rows are examples."""

    x: Array  # (rows, inputs)
    before: Array  # (rows, hidden): before ReLU
    hidden: Array  # (rows, hidden): activations
    multiplier: Array  # (rows, hidden): 0 where dropped, 1 / (1 - p) where kept; 1 without dropout
    dropped: Array  # (rows, hidden): input of the output layer
    logit: Array  # (rows,)
    output: Array  # (rows,): probabilities


#: Service calls / 10 and daytime minutes / 1000 of one customer: 5 calls, 250 minutes.
EXAMPLE_INPUT: Array = np.array([0.5, 0.25])

#: Weights chosen by hand, so that the hidden activations of ``EXAMPLE_INPUT`` are [0.36, 0.13, 0.42, 0.25] to the last
#: bit: 0.5 · 0.5 + 0.25 · 0.4 + 0.01 = 0.36, and so on. The second layer makes sub-networks that disagree.
EXAMPLE = Network(
    hidden_weight=np.array([[0.5, -0.3, 0.9, 0.1], [0.4, 1.2, -0.4, 1.0]]),
    hidden_bias=np.array([0.01, -0.02, 0.07, -0.05]),
    output_weight=np.array([4.0, -3.0, 3.0, -2.0]),
    output_bias=np.array(-1.0),
)


def keep(shape: tuple[int, ...], p: float, key: int, call: int = 0) -> npt.NDArray[np.bool_]:
    """The mask at an address, equal to that of ``thinned.functional.dropout`` for a tensor of this shape."""
    return philox.keep(np.arange(np.prod(shape, dtype=int)).reshape(shape), p, key, call)


def forward(network: Network, x: Array, mask: npt.NDArray[np.bool_] | None = None, p: float = 0.0) -> Trace:
    """Inverted dropout (Srivastava et al. 2014, §10) on the hidden layer, and a logistic output.

    Args:
        network: parameters.
        x: ``(rows, inputs)``.
        mask: ``(rows, hidden)`` or ``(hidden,)``, True where a unit is kept; None is evaluation, which drops
            and scales nothing.
        p: rate with which the mask was drawn.
    """
    before = x @ network.hidden_weight + network.hidden_bias
    hidden = np.maximum(before, 0.0)
    multiplier: Array = np.ones_like(hidden)
    if mask is not None:
        multiplier = multiplier * mask * philox.scale(p)
    dropped: Array = hidden * multiplier
    logit = dropped @ network.output_weight + network.output_bias
    output = np.exp(-np.logaddexp(0.0, -logit))  # the logistic function without overflow of exp(-logit)
    return Trace(x, before, hidden, multiplier, dropped, logit, output)


def loss(trace: Trace, y: Array) -> float:
    """Mean cross-entropy in nats, computed from logits: probabilities of 0 and 1 need no clipping."""
    return float(np.mean(np.logaddexp(0.0, trace.logit) - y * trace.logit))


def backward(network: Network, trace: Trace, y: Array) -> Network:
    """Gradients of the mean cross-entropy, back through the mask.

    The gradient passes the *same* multiplier as the activations did: dropout is its own backward. All weights of a
    dropped unit therefore get a gradient of exactly 0.
    """
    logit = (trace.output - y) / len(y)
    hidden = (
        np.outer(logit, network.output_weight) * trace.multiplier
    )  # without this factor, the backward pass ignores the mask
    before = hidden * (trace.before > 0)
    return Network(trace.x.T @ before, before.sum(0), trace.dropped.T @ logit, logit.sum())


def initial(seed: int, inputs: int = 2, hidden: int = 4, size: float = 0.1) -> Network:
    """Normal weights of standard deviation ``size``, and biases of 0."""
    rng = np.random.default_rng(seed)
    weights = rng.normal(0, size, (inputs, hidden)), rng.normal(0, size, hidden)
    return Network(weights[0], np.zeros(hidden), weights[1], np.zeros(()))


def train(network: Network, x: Array, y: Array, p: float, epochs: int, rate: float = 0.1, key: int = 0) -> Network:
    """Gradient descent on all rows at once, with a new mask for each row and epoch."""
    for mask in keep((epochs, len(x), len(network.output_weight)), p, key):
        gradient = backward(network, forward(network, x, mask, p), y)
        network = descend(network, gradient, rate)
    return network


def descend(network: Network, gradient: Network, rate: float) -> Network:
    """Take one step against the gradient."""
    pairs = zip(astuple(network), astuple(gradient), strict=True)
    return Network(*(parameter - rate * slope for parameter, slope in pairs))
