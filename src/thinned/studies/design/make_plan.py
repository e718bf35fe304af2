"""Makes the plan of a study from a table and the options that the user gave."""

from collections.abc import Sequence

from thinned.errors import InputError, sentence
from thinned.import_path import source_digest
from thinned.studies.design.arm import Arm
from thinned.studies.design.budget import choose_budget
from thinned.studies.design.choose_arms import choose_arms
from thinned.studies.design.plan import Plan
from thinned.studies.design.splits import VALIDATION
from thinned.studies.table.load import Table

__all__ = ["check_options", "make_plan"]

_WIDEST = 65_536
_SMALLEST = 32  # training rows of a study at several sizes


def check_options(
    rates: object = None, hidden: object = None, sizes: object = (), *, learning_rate: object = 1e-3, **counts: object
) -> None:
    """Refuse options that no plan can be made of, before the table is read.

    Args:
        rates: dropout rates, or None.
        hidden: widths of the hidden layers, or None.
        sizes: numbers of training rows.
        learning_rate: Adam's learning rate.
        counts: whole numbers by name, or None.

    Raises:
        InputError: a count is no whole number or too small; rates lie outside [0, 1) or are all 0; a width is
            too large; a size is too small; the learning rate is not positive.
    """
    for name, value in counts.items():
        least = {"folds": 2, "seed": 0}.get(name, 1)
        if value is not None and (type(value) is not int or value < least):
            raise InputError(sentence(f"{name} must be a whole number of at least {least}", f"got {value!r}"))
    if rates is not None:
        values = _numbers(rates)
        if values is None or not all(0 <= rate < 1 for rate in values) or not any(values):
            raise InputError(sentence("rates must lie in [0, 1) and one must be above 0", f"got {rates!r}"))
    if hidden is not None:
        widths = _numbers(hidden)
        if not widths or not all(1 <= width <= _WIDEST for width in widths):
            seen = f"got {hidden!r}"
            raise InputError(sentence(f"hidden widths must lie between 1 and {_WIDEST:,}", seen, "give them as 64,64"))
    rows = _numbers(sizes)
    if rows is None or not all(type(size) is int and size >= _SMALLEST for size in rows):
        seen = f"got {sizes!r}"
        raise InputError(sentence(f"sizes must be whole numbers of at least {_SMALLEST} rows", seen, "as 250,500,1000"))
    if not isinstance(learning_rate, int | float) or not 0 < learning_rate < float("inf"):
        raise InputError(sentence("the learning rate must be positive", f"got {learning_rate!r}"))


def _numbers(values: object) -> Sequence[float] | None:
    """The values if they are a sequence of numbers, else None."""
    if not isinstance(values, Sequence) or not all(isinstance(value, int | float) for value in values):
        return None
    return values


def make_plan(
    table: Table,
    *,
    arms: Sequence[str | Arm] | None = None,
    rates: Sequence[float] | None = None,
    folds: int = 5,
    seeds: int = 2,
    hidden: tuple[int, ...] | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    learning_rate: float = 1e-3,
    seed: int = 0,
    sizes: Sequence[int] = (),
    network: str | None = None,
) -> Plan:
    """Make the plan of a study; what the user left open follows from the number of rows: :func:`choose_budget`.

    Raises:
        InputError: a value can't be used.
    """
    check_options(learning_rate=learning_rate)
    rows = len(table.target)
    outside = 1 / 2 if table.time else 1 - 1 / folds  # of a test fold; by time, in the mean over growing windows
    return Plan(
        arms=choose_arms(arms, rates, own_network=network is not None),
        folds=folds,
        seeds=seeds,
        **choose_budget(rows, int(rows * outside * (1 - VALIDATION)), hidden, epochs, batch_size)._asdict(),
        learning_rate=learning_rate,
        seed=seed,
        task=table.task,
        data=table.sha256,
        rows=rows,
        sizes=tuple(sorted(set(sizes))),
        network=network,
        network_source=None if network is None else source_digest(network),
        group=table.group,
        time=table.time,
    )
