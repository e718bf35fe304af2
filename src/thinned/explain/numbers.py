"""The numbers of each panel, computed by the functions that the panel explains."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

import thinned
from thinned import philox
from thinned.explain import numpy_network as net

__all__ = ["KEY", "MASKS", "NAMES", "RATES", "batch_norm", "churn_rows", "convergence", "data", "on_output"]
__all__ += ["five_rows", "norm_inputs", "outcomes", "step", "subnetworks", "torch_network"]

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

KEY = 20  # its mask at call 0 is [1, 0, 1, 0]
OUTPUT_KEY, NORM_KEY = (philox.fold_in(KEY, philox.site_number(name)) for name in ("output", "dropout"))
MASKS = 1000
NORM_ROWS = 256
NAMES = ("unit 1", "unit 2", "unit 3", "unit 4")
RATES = tuple(round(0.05 * i, 2) for i in range(1, 19))  # steps of the slider
LEFT = 1.0  # the example's customer left


def churn_rows() -> tuple[Array, Array]:
    """All rows of the bundled table: (5000, 2) inputs of the churn network, and labels, 1.0 for who left."""
    table = thinned.datasets.churn()
    x = table[["number_customer_service_calls", "total_day_minutes"]].to_numpy(np.float64) / [10, 1000]
    return x, np.where(table["churn"] == "yes", LEFT, 0.0)


def five_rows(y: Array) -> npt.NDArray[np.intp]:
    """Numbers of the five rows: the table's first three customers who stayed, and its first two who left."""
    return np.concatenate([np.flatnonzero(y == 0)[:3], np.flatnonzero(y == 1)[:2]])


def torch_network(network: net.Network = net.EXAMPLE, p: float = 0.5) -> nn.Sequential:
    """The same network in PyTorch, in float64, with :class:`thinned.Dropout`; its output is the logit."""
    inputs, hidden = network.hidden_weight.shape
    first, last = nn.Linear(inputs, hidden).double(), nn.Linear(hidden, 1).double()
    with torch.no_grad():
        first.weight.copy_(torch.tensor(network.hidden_weight.T))
        first.bias.copy_(torch.tensor(network.hidden_bias))
        last.weight.copy_(torch.tensor(network.output_weight)[None])
        last.bias.fill_(float(network.output_bias))
    return nn.Sequential(first, nn.ReLU(), thinned.Dropout(p), last)


def step(p: float, mask: Mask) -> tuple[net.Trace, net.Network, float]:
    """One training step on the example's customer: the forward pass, the gradients, and the loss."""
    trace = net.forward(net.EXAMPLE, net.EXAMPLE_INPUT[None], mask, p)
    y = np.array([LEFT])
    return trace, net.backward(net.EXAMPLE, trace, y), net.loss(trace, y)


@dataclass(frozen=True)
class Ensemble:
    """Every sub-network, in the order of the binary numbers 0000 to 1111, and three summaries."""

    masks: Mask  # (16, 4)
    probability: Array  # (16,)
    output: Array  # (16,)
    mean: float
    geometric_mean: float
    weight_scaled: float


def subnetworks(p: float, logistic: bool = True) -> Ensemble:
    """All 2^4 sub-networks of the churn network on the example's customer, by :func:`thinned.ensemble.enumerate`."""
    dropped = 1 - philox.threshold(p) / 65536  # the quantised rate of the masks
    x = torch.tensor(net.EXAMPLE_INPUT[None])
    every = thinned.ensemble.enumerate(torch_network(p=dropped), x, output="logits" if logistic else "values")
    [masks] = (site.reshape(-1, 4).numpy() for site in every.masks().values())
    order = np.argsort(masks @ [8, 4, 2, 1])
    assert every.outputs is not None  # noqa: S101 - sixteen values are kept
    # Values are taken as centres of normal distributions, whose geometric mean is centred at their mean.
    geometric_mean = every.mean if every.geometric_mean is None else every.geometric_mean
    return Ensemble(
        masks[order],
        every.probabilities.numpy()[order],
        (every.outputs.sigmoid() if logistic else every.outputs).flatten().numpy()[order],
        every.mean.item(),
        geometric_mean.item(),
        every.weight_scaled.item(),
    )


def convergence(p: float) -> tuple[Array, Array]:
    """The hidden activations after dropout, averaged over the first 1, 2, ... 1,000 masks.

    Returns:
        (1000, 4) means, and (1000, 4) standard errors a · sqrt(p / (1 − p) / n) of such a mean.
    """
    a = net.forward(net.EXAMPLE, net.EXAMPLE_INPUT[None]).hidden[0]
    dropped = np.array([philox.dropout(a, p, KEY, call) for call in range(MASKS)])
    count = np.arange(1, MASKS + 1)[:, None]
    return np.cumsum(dropped, axis=0) / count, a * np.sqrt((philox.scale(p) - 1) / count)


class OutputDropout(NamedTuple):
    """Dropout on the output probability of five rows, over 1,000 steps."""

    labels: Array  # (5,)
    output: Array  # (5,)
    dropped: Array  # (1000, 5), outputs after dropout
    losses: Array  # (1000, 5), nats


def on_output(p: float) -> OutputDropout:
    """Dropout on the output probability of the five rows, over 1,000 steps.

    A loss −ln ŷ is infinite where a customer who left is dropped; −ln(1 − ŷ) is NaN where ŷ > 1 for one who stayed.
    """
    x, y = churn_rows()
    rows = five_rows(y)
    x, y = x[rows], y[rows]
    output = net.forward(net.EXAMPLE, x).output
    dropped = np.array([philox.dropout(output, p, OUTPUT_KEY, call) for call in range(MASKS)])
    with np.errstate(divide="ignore", invalid="ignore"):
        losses = -np.log(np.where(y == LEFT, dropped, 1 - dropped))
    return OutputDropout(y, output, dropped, losses)


def outcomes(losses: Array) -> dict[str, int]:
    """Numbers of steps (rows of ``losses``) with a finite, an infinite and an undefined loss."""
    undefined = np.isnan(losses).any(axis=1)
    infinite = np.isinf(losses).any(axis=1) & ~undefined
    counts = {"finite": ~undefined & ~infinite, "infinite": infinite, "undefined": undefined}
    return {name: int(which.sum()) for name, which in counts.items()}


@dataclass(frozen=True)
class Shift:
    """Running variance of a batch norm and standard deviation of its output, for each hidden unit."""

    trained_variance: Array  # (4,) running variance after training with dropout
    variance: Array  # (4,) after recalibration: the variance of activations without dropout
    training: Array  # (4,) standard deviation of the batch norm's output in training
    evaluation: Array  # (4,) in evaluation, with the statistics of training
    recalibrated: Array  # (4,) in evaluation, after recalibration


def norm_inputs() -> Array:
    """Hidden activations of the table's first 256 customers, (256, 4)."""
    return net.forward(net.EXAMPLE, churn_rows()[0][:NORM_ROWS]).hidden


def batch_norm(p: float) -> Shift:
    """A batch norm behind dropout: trained on one batch, evaluated, recalibrated, evaluated again."""
    a = torch.tensor(norm_inputs())
    norm = nn.BatchNorm1d(4, eps=1e-12, momentum=None, affine=False).double()
    model = nn.Sequential(OrderedDict(dropout=thinned.Dropout(p), norm=norm))
    thinned.address(model, seed=KEY)
    spread = [model(a).std(0)]
    assert norm.running_var is not None  # noqa: S101 - for the type checker
    trained = norm.running_var.clone()
    spread.append(model.eval()(a).std(0))
    thinned.recalibrate_batchnorm(model, [a])
    spread.append(model(a).std(0))
    return Shift(*(value.numpy() for value in (trained, norm.running_var, *spread)))


def _random_lanes(size: int, key: int, calls: int) -> list[list[int]]:
    return [philox.lanes(np.arange(size), key, call).tolist() for call in range(calls)]


def data() -> dict[str, object]:
    """Input of the page's own arithmetic: parameters, inputs, and the 16 random bits behind each decision."""
    x, y = churn_rows()
    rows = five_rows(y)
    example = net.EXAMPLE
    return {
        "network": {
            "hiddenWeight": example.hidden_weight.tolist(),
            "hiddenBias": example.hidden_bias.tolist(),
            "outputWeight": example.output_weight.tolist(),
            "outputBias": float(example.output_bias),
        },
        "x": net.EXAMPLE_INPUT.tolist(),
        "y": LEFT,
        "names": NAMES,
        "lanes": _random_lanes(4, KEY, MASKS),
        "rows": {"x": x[rows].tolist(), "y": y[rows].tolist(), "lanes": _random_lanes(5, OUTPUT_KEY, MASKS)},
        "norm": {
            "hidden": norm_inputs().tolist(),
            "lanes": philox.lanes(np.arange(4 * NORM_ROWS).reshape(-1, 4), NORM_KEY).tolist(),
        },
    }
