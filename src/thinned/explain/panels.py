"""The text of the panels, and the functions that each panel explains. The page and the document share both."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass

import thinned
from thinned.explain import numpy_network

__all__ = ["FUNCTIONS", "PANELS", "Function", "Panel"]


@dataclass(frozen=True)
class Function:
    """A function of the package, with code that uses it as a panel does. The tests run the code."""

    name: str
    function: Callable[..., object]
    example: str

    @property
    def anchor(self) -> str:
        """Anchor within the page."""
        return self.name.replace(".", "-").replace("_", "-")

    @property
    def summary(self) -> str:
        """The first sentence of the docstring."""
        first = (inspect.getdoc(self.function) or "").split("\n\n")[0]
        return first.replace("\n", " ").replace("``", "")


@dataclass(frozen=True)
class Panel:
    """A panel, described in two sentences."""

    name: str
    title: str
    description: str
    functions: tuple[str, ...]


FUNCTIONS = (
    Function(
        "thinned.functional.dropout",
        thinned.functional.dropout,
        """import thinned, torch

a = torch.tensor([0.36, 0.13, 0.42, 0.25])
y = thinned.functional.dropout(a, p=0.5, key=20)  # the mask at key 20, call 0
assert torch.equal(y, torch.tensor([0.72, 0, 0.84, 0]))""",
    ),
    Function(
        "thinned.explain.numpy_network.backward",
        numpy_network.backward,
        """import numpy as np
from thinned.explain.numpy_network import EXAMPLE, EXAMPLE_INPUT, backward, forward

trace = forward(EXAMPLE, EXAMPLE_INPUT[None], np.array([True, False, True, False]), p=0.5)
gradient = backward(EXAMPLE, trace, y=np.array([1.0]))
assert (gradient.hidden_weight[:, [1, 3]] == 0).all()  # dropped: exactly 0""",
    ),
    Function(
        "thinned.ensemble.enumerate",
        thinned.ensemble.enumerate,
        """import thinned, torch
from thinned.explain.numbers import torch_network

x = torch.tensor([[0.5, 0.25]], dtype=torch.float64)
every = thinned.ensemble.enumerate(torch_network(), x, output="logits")
assert len(every.outputs) == 16
assert torch.isclose(every.geometric_mean, every.weight_scaled)  # but not every.mean""",
    ),
    Function(
        "thinned.masks.keep_mask",
        thinned.masks.keep_mask,
        """import thinned, torch

masks = torch.stack([thinned.masks.keep_mask((4,), p=0.5, key=20, call=n) for n in range(1000)])
mean = (masks * 2 * torch.tensor([0.36, 0.13, 0.42, 0.25])).mean(0)""",
    ),
    Function(
        "thinned.recalibrate_batchnorm",
        thinned.recalibrate_batchnorm,
        """import thinned, torch

model = torch.nn.Sequential(thinned.Dropout(0.5), torch.nn.BatchNorm1d(4))
batches = torch.rand(10, 64, 4)
for batch in batches:
    model(batch)  # training: the running variance is that of dropped activations
thinned.recalibrate_batchnorm(model, batches)""",
    ),
)

PANELS = (
    Panel(
        "step",
        "One training step",
        "At every training step dropout switches each hidden unit off with probability p, and multiplies the others "
        "by 1 / (1 − p). A unit that is off sends nothing forward, and every gradient that belongs to it is exactly 0.",
        ("thinned.functional.dropout", "thinned.explain.numpy_network.backward"),
    ),
    Panel(
        "subnetworks",
        "Sixteen networks in one",
        "Four switches make sixteen sub-networks, each with its probability and its output. Evaluation runs the whole "
        "network once, without dropout: this gives exactly their geometric mean, and their mean only if the logistic "
        "function at the output is off.",
        ("thinned.ensemble.enumerate",),
    ),
    Panel(
        "convergence",
        "A thousand masks",
        "Scaling makes the average of dropout’s output over many masks equal to its input. The mean of n masks is off "
        "by about its standard error, √(p / (1 − p) / n) of the activation.",
        ("thinned.masks.keep_mask",),
    ),
    Panel(
        "output",
        "Dropout on the output, where it does not belong",
        "Here dropout acts on the predicted probabilities of five customers: each becomes 0 or larger than before. The "
        "loss is infinite if a customer who left is dropped, and undefined if the “probability” of one who stayed "
        "exceeds 1.",
        ("thinned.functional.dropout",),
    ),
    Panel(
        "norm",
        "Before batch norm",
        "Batch norm keeps the variance of training, which dropout makes larger: in evaluation, its output is too "
        "narrow. Estimating its statistics once more with dropout off corrects this.",
        ("thinned.recalibrate_batchnorm",),
    ),
)
