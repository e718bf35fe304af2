"""Write docs/explain.md and docs/claims.md from numbers that the package computes.

python docs/tools/explain.py           # write
python docs/tools/explain.py --check   # fail if a file is stale
"""

import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from thinned.explain import numbers, page
from thinned.explain import numpy_network as net
from thinned.explain.claims import SEEDS, claims
from thinned.explain.panels import FUNCTIONS, PANELS

DOCS = Path(__file__).resolve().parents[1]
P = page.P
CELLS = page.cells(P, page.MASK)
RATES = (0.1, 0.3, 0.5, 0.7)

GENERATED = "<!-- `python docs/tools/explain.py` writes this page; a test fails if it is stale. -->\n\n"
EXPLAIN = f"""{GENERATED}# The churn network explained

`thinned explain` writes the same as an interactive page: every hidden unit is a switch there, and p
is a slider. Here p = 0.5, and the mask is [1, 0, 1, 0] where there is one.

The network predicts how likely a customer is to leave a telephone company. Its two inputs are calls
to customer service / 10 and daytime minutes / 1000; it has four hidden units (ReLU) and one output
(logistic). The customer of the example called five times, talked for 250 minutes, and left. The
weights are chosen by hand such that the hidden activations are exactly [0.36, 0.13, 0.42, 0.25]
(`thinned.explain.numpy_network.EXAMPLE`). [Claims](claims.md) checks common claims about dropout
on such a network.
"""

CLAIMS = f"""{GENERATED}# Claims about dropout, run

The network, its backward pass and its training are in `thinned.explain.numpy_network`, which is
written to be read; [explain.md](explain.md) shows it at work. `thinned.explain.claims` runs the
claims.

Networks train on five rows: the first three customers of the bundled table who stayed, and the
first two who left. Every step takes all five rows. The learning rate is 0.1, initial weights are
normal with a standard deviation of 0.1, and there are {{seeds}} seeds.
"""


def paragraph(text: str) -> str:
    """A paragraph of Markdown in lines of at most 100 characters."""
    return textwrap.fill(text, 100, break_long_words=False, break_on_hyphens=False) + "\n"


def table(rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; the first row is its head."""
    head, *body = [f"| {' | '.join(row)} |" for row in rows]
    columns = head.count("|") - 1
    return "\n".join([head, "|" + "---|" * columns, *body]) + "\n"


def _step() -> str:
    head = (
        "unit",
        "activation",
        "mask",
        "after dropout",
        "gradient out",
        "gradients in",
    )
    names = ("hidden-{}", "mask-{}", "dropped-{}", "out-{}")
    rows = [
        (f"{j + 1}", *(CELLS[name.format(j)] for name in names), f"{CELLS[f'in-0-{j}']}, {CELLS[f'in-1-{j}']}")
        for j in range(4)
    ]
    note = (
        f"Output {CELLS['output']}, without dropout {CELLS['evaluation']}; loss {CELLS['loss']} nats. Gradients are "
        "those of the weight out of a unit and of its two weights in. A 0 without decimals is exactly 0."
    )
    return f"{table([head, *rows])}\n{paragraph(note)}"


def _subnetworks() -> str:
    found = numbers.subnetworks(P)
    members = [
        ("".join(map(str, mask.astype(int))), page.text(chance), page.text(output))
        for mask, chance, output in zip(found.masks, found.probability, found.output, strict=True)
    ]
    ways = []
    for p in RATES:
        for name, logistic in (("logistic", True), ("linear", False)):
            one = numbers.subnetworks(p, logistic)
            ways.append((f"{p:g}", name, *map(page.text, (one.mean, one.geometric_mean, one.weight_scaled))))
    head = ("p", "output", "mean", "geometric mean", "weight-scaled")
    return f"{table([('mask', 'chance', 'output'), *members])}\n{table([head, *ways])}"


def _convergence() -> str:
    means, errors = numbers.convergence(P)
    a = net.forward(net.EXAMPLE, net.EXAMPLE_INPUT[None]).hidden[0]
    rows = [
        (f"{count:,}", *(f"{page.text(means[count - 1, j])} ± {page.text(errors[count - 1, j])}" for j in range(4)))
        for count in (1, 10, 100, 1000)
    ]
    return table([("masks", *(f"unit {j + 1}: {page.text(a[j], 2)}" for j in range(4))), *rows])


def _output() -> str:
    names = ("before-{}", "after-{}", "row-loss-{}")
    rows = [(customer, *(CELLS[name.format(i)] for name in names)) for i, customer in enumerate(page.CUSTOMERS)]
    counts = ", ".join(f"{CELLS[f'steps-{name}']} {name}" for name in ("finite", "infinite", "undefined"))
    return f"{table([('customer', 'output', 'after dropout', 'loss'), *rows])}\nThe loss of 1,000 steps: {counts}.\n"


def _norm() -> str:
    shift = numbers.batch_norm(P)
    head = ("unit", "variance with dropout", "without", "ratio", "spread in training", "evaluation", "recalibrated")
    spreads = np.stack([shift.training, shift.evaluation, shift.recalibrated], axis=1)
    rows = [
        (
            f"{j + 1}",
            *(CELLS[f"{name}-{j}"] for name in ("trained", "plain", "ratio")),
            *(f"{s:.2f}" for s in spreads[j]),
        )
        for j in range(4)
    ]
    return table([head, *rows])


SECTIONS = {"step": _step, "subnetworks": _subnetworks, "convergence": _convergence, "output": _output, "norm": _norm}


def explain() -> str:
    """The page on the churn network."""
    functions = {function.name: function for function in FUNCTIONS}
    parts, shown = [EXPLAIN], set[str]()
    for panel in PANELS:
        parts += [f"## {panel.title}\n", paragraph(panel.description), SECTIONS[panel.name]()]
        for name in panel.functions:
            code = "" if name in shown else f":\n\n```python\n{functions[name].example}\n```"
            parts.append(f"Done by `{name}`{code or ', as above.'}\n")
            shown.add(name)
    return "\n".join(parts)


def claims_page() -> str:
    """The page of claims."""
    checked = list(enumerate(claims(), 1))
    overview = table([("", "claim", "verdict"), *((f"{i}", claim.title, claim.verdict) for i, claim in checked)])
    sections = []
    for i, claim in checked:
        result = paragraph(f"**{claim.verdict.capitalize()}.** {claim.result}")
        parts = [f"## {i}. {claim.title}\n", paragraph(f"*Claim:* {claim.statement}"), result]
        sections.append("\n".join([*parts, *([table(claim.table)] if claim.table else [])]))
    return "\n".join([CLAIMS.format(seeds=SEEDS), overview, *sections])


def files() -> dict[Path, str]:
    """Every generated file with its text."""
    return {DOCS / "explain.md": explain(), DOCS / "claims.md": claims_page()}


if __name__ == "__main__":
    from generated import main

    raise SystemExit(main(files(), "explain.py"))
