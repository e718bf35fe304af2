"""The page: one interactive HTML file that explains dropout on the churn network without a connection."""

import math
from pathlib import Path

from thinned import __version__, pages, philox
from thinned.explain import charts, numbers
from thinned.explain import numpy_network as net
from thinned.explain.panels import FUNCTIONS, PANELS

__all__ = ["cells", "render", "text", "write"]

_PACKAGE = "thinned.explain"
P = 0.5
MASK = net.keep((4,), P, numbers.KEY)
CUSTOMERS = tuple(f"{i + 1}: {label}" for i, label in enumerate(("stayed", "stayed", "stayed", "left", "left")))


def write(path: Path) -> Path:
    """Write the page over an earlier one, but over no other file.

    Raises:
        InputError: another file is in the way, or the file cannot be written.
    """
    return pages.write(path, render())


def render() -> str:
    """The page with its styles, scripts and data. It first shows p = 0.5 and the mask at key 20, call 0."""
    environment = pages.environment(_PACKAGE)
    environment.filters |= {"script_hash": pages.script_hash}
    data = numbers.data()
    return environment.get_template("explain.html.jinja").render(
        panels=PANELS,
        functions={function.name: function for function in FUNCTIONS},
        cells=cells(P, MASK),
        mask=MASK.tolist(),
        masks=["".join(map(str, row.astype(int))) for row in numbers.subnetworks(P).masks],
        net=data["network"],
        x=data["x"],
        ways=charts.DASHES,
        unit_lines=charts.UNITS,
        spreads=charts.SPREADS,
        customers=CUSTOMERS,
        data={**data, "specs": charts.specifications()},
        scripts=[pages.source(_PACKAGE, "arithmetic.js"), pages.bundle(_PACKAGE, "explain.js")],
        version=__version__,
    )


def text(value: float, places: int = 4) -> str:
    """A number as the page writes it; a 0 without decimals is exactly 0."""
    if math.isnan(value):
        return "undefined"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return "0" if value == 0 else pages.fixed(value, places)


def _factor(value: float, places: int = 4) -> str:
    return text(value, places).rstrip("0").rstrip(".")


def cells(p: float, mask: numbers.Mask, call: int = 0, logistic: bool = True) -> dict[str, str]:
    """Every number on the page by the name of its cell, computed by the package.

    Args:
        p: rate, one of the slider's.
        mask: mask of the first two panels, (4,).
        call: number of the mask on the outputs.
        logistic: whether the output of the sub-networks is logistic.
    """
    values = _step_cells(p, mask) | _ensemble_cells(p, logistic) | _output_cells(p, call)
    means, errors = numbers.convergence(p)
    shift = numbers.batch_norm(p)
    for j in range(4):
        values |= {f"mean-{j}": text(means[-1, j]), f"error-{j}": text(errors[-1, j])}
        values |= {f"trained-{j}": text(shift.trained_variance[j]), f"plain-{j}": text(shift.variance[j])}
        values |= {f"ratio-{j}": text(shift.trained_variance[j] / shift.variance[j], 2)}
        values |= {f"spread-{j}": text(shift.evaluation[j])}
    return values


def _step_cells(p: float, mask: numbers.Mask) -> dict[str, str]:
    trace, gradient, loss = numbers.step(p, mask)
    output, scale = trace.output[0], philox.scale(p)
    evaluation = net.forward(net.EXAMPLE, net.EXAMPLE_INPUT[None]).output[0]
    values = {"output": text(output), "short-output": text(output, 2), "evaluation": text(evaluation)}
    values |= {"loss": text(loss), "scale": _factor(scale)}
    for j in range(4):
        hidden, dropped = trace.hidden[0, j], trace.dropped[0, j]
        values |= {f"short-{j}": text(dropped, 2), f"hidden-{j}": text(hidden, 2), f"dropped-{j}": text(dropped)}
        values |= {f"product-{j}": f"{text(hidden, 2)} × {_factor(scale, 2) if mask[j] else 0}"}
        values |= {f"mask-{j}": str(int(mask[j])), f"out-{j}": text(gradient.output_weight[j])}
        values |= {f"in-{i}-{j}": text(gradient.hidden_weight[i, j]) for i in range(2)}
    return values


def _ensemble_cells(p: float, logistic: bool) -> dict[str, str]:
    ensemble = numbers.subnetworks(p, logistic)
    values = {"mean": text(ensemble.mean), "geometric mean": text(ensemble.geometric_mean)}
    values |= {"weight-scaled": text(ensemble.weight_scaled)}
    values |= {f"chance-{i}": text(value) for i, value in enumerate(ensemble.probability)}
    return values | {f"member-{i}": text(value) for i, value in enumerate(ensemble.output)}


def _output_cells(p: float, call: int) -> dict[str, str]:
    _, output, dropped, losses = numbers.on_output(p)
    values = {f"before-{i}": text(value) for i, value in enumerate(output)}
    values |= {f"after-{i}": text(value) for i, value in enumerate(dropped[call])}
    values |= {f"row-loss-{i}": text(value) for i, value in enumerate(losses[call])}
    return values | {f"steps-{name}": str(count) for name, count in numbers.outcomes(losses).items()}
