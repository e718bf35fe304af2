"""The page: one HTML file that explains dropout on the churn network, to be played with offline."""

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
    """Write the page; one that was written before is written over, any other file is left alone.

    Raises:
        InputError: something else is in the way, or the file can't be written.
    """
    return pages.write(path, render())


def render() -> str:
    """The page, with its styles, scripts and data in it; at first it shows p = 0.5 and the mask at key 20, call 0."""
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
        data={**data, "specs": charts.specs()},
        scripts=[pages.source(_PACKAGE, "arithmetic.js"), pages.bundle(_PACKAGE, "explain.js")],
        version=__version__,
    )


def text(value: float, places: int = 4) -> str:
    """A number as the page writes it: a bare 0 is exactly 0."""
    if math.isnan(value):
        return "undefined"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return "0" if value == 0 else pages.fixed(value, places)


def _factor(value: float, places: int = 4) -> str:
    return text(value, places).rstrip("0").rstrip(".")


def cells(p: float, mask: numbers.Mask, call: int = 0, logistic: bool = True) -> dict[str, str]:
    """Every number on the page by the name of its place, computed by the package.

    Args:
        p: one of the slider's rates.
        mask: (4,) of the first two panels.
        call: number of the mask on the outputs.
        logistic: whether the sub-networks have the logistic function at their output.
    """
    made = _step_cells(p, mask) | _ensemble_cells(p, logistic) | _output_cells(p, call)
    means, errors = numbers.convergence(p)
    shift = numbers.batch_norm(p)
    for j in range(4):
        made |= {f"mean-{j}": text(means[-1, j]), f"error-{j}": text(errors[-1, j])}
        made |= {f"trained-{j}": text(shift.trained_variance[j]), f"plain-{j}": text(shift.variance[j])}
        made |= {f"ratio-{j}": text(shift.trained_variance[j] / shift.variance[j], 2)}
        made |= {f"spread-{j}": text(shift.evaluation[j])}
    return made


def _step_cells(p: float, mask: numbers.Mask) -> dict[str, str]:
    trace, gradient, loss = numbers.step(p, mask)
    output, scale = trace.output[0], philox.scale(p)
    evaluation = net.forward(net.EXAMPLE, net.EXAMPLE_INPUT[None]).output[0]
    made = {"output": text(output), "short-output": text(output, 2), "evaluation": text(evaluation)}
    made |= {"loss": text(loss), "scale": _factor(scale)}
    for j in range(4):
        hidden, dropped = trace.hidden[0, j], trace.dropped[0, j]
        made |= {f"short-{j}": text(dropped, 2), f"hidden-{j}": text(hidden, 2), f"dropped-{j}": text(dropped)}
        made |= {f"product-{j}": f"{text(hidden, 2)} × {_factor(scale, 2) if mask[j] else 0}"}
        made |= {f"mask-{j}": str(int(mask[j])), f"out-{j}": text(gradient.output_weight[j])}
        made |= {f"in-{i}-{j}": text(gradient.hidden_weight[i, j]) for i in range(2)}
    return made


def _ensemble_cells(p: float, logistic: bool) -> dict[str, str]:
    found = numbers.subnetworks(p, logistic)
    made = {"mean": text(found.mean), "geometric mean": text(found.geometric_mean)}
    made |= {"weight-scaled": text(found.weight_scaled)}
    made |= {f"chance-{i}": text(value) for i, value in enumerate(found.probability)}
    return made | {f"member-{i}": text(value) for i, value in enumerate(found.output)}


def _output_cells(p: float, call: int) -> dict[str, str]:
    _, output, dropped, losses = numbers.on_output(p)
    made = {f"before-{i}": text(value) for i, value in enumerate(output)}
    made |= {f"after-{i}": text(value) for i, value in enumerate(dropped[call])}
    made |= {f"row-loss-{i}": text(value) for i, value in enumerate(losses[call])}
    return made | {f"steps-{name}": str(count) for name, count in numbers.outcomes(losses).items()}
