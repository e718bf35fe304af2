"""The plan of a study: everything that its numbers follow from, frozen and hashable."""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from thinned import philox
from thinned.errors import InputError, sentence
from thinned.import_path import source_digest
from thinned.studies.analysis.selection import VALIDATION
from thinned.studies.design.arms import Arm, Question, Setting, choose_arms, declare
from thinned.studies.table.load import Table

__all__ = ["Member", "Plan", "check_options", "make_plan", "stream"]

_WIDEST = 65_536
_SMALLEST = 32  # training rows of a study at several sizes


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is trained: every setting of every arm on every fold of every repeat, and what is asked of it.

    Attributes:
        arms: ways to regularise; "none" is always the first.
        folds: outer test folds.
        seeds: repeats. Each shuffles the folds anew, and has its own initial weights, data order and masks.
        hidden: widths of the hidden layers.
        epochs: training budget of every network.
        batch_size: rows a step; an incomplete last batch is left out, and the rows are in new order every epoch.
        learning_rate: of Adam.
        seed: the number that everything random follows from.
        task: "binary", "multiclass" or "regression".
        data: SHA-256 of the table.
        rows: of the table.
        sizes: numbers of training rows at which dropout, weight decay and early stopping are measured besides.
        network: "module:function" of the user's own network, or None.
        network_source: SHA-256 of the file that the function is in.
        group: column whose groups stay on one side of each split.
        time: column by which rows are trained on before those they are tested on.
    """

    arms: tuple[Arm, ...]
    folds: int
    seeds: int
    hidden: tuple[int, ...]
    epochs: int
    batch_size: int
    learning_rate: float
    seed: int
    task: str
    data: str
    rows: int
    sizes: tuple[int, ...] = ()
    network: str | None = None
    network_source: str | None = None
    group: str | None = None
    time: str | None = None

    @property
    def settings(self) -> tuple[Setting, ...]:
        """The different settings of all arms; a record names its own by its place here."""
        return tuple(dict.fromkeys(setting for arm in self.arms for setting in arm.settings))

    @property
    def questions(self) -> tuple[Question, ...]:
        """The comparisons that are declared."""
        return declare(self.arms)

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON types; arms refer to the settings by number."""
        settings = self.settings
        shown = dataclasses.asdict(self) | {
            "arms": [
                dataclasses.asdict(arm) | {"settings": [settings.index(setting) for setting in arm.settings]}
                for arm in self.arms
            ],
            "settings": [dataclasses.asdict(setting) | {"label": setting.label} for setting in settings],
            "questions": [question._asdict() for question in self.questions],
        }
        return json.loads(json.dumps(shown))  # type: ignore[no-any-return]

    @property
    def digest(self) -> str:
        """Hexadecimal hash by which a finished run is recognised."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:16]

    @property
    def networks(self) -> int:
        """How many networks the study trains."""
        return len(self.members())

    def members(self) -> list["Member"]:
        """Every network of the study."""
        places = [(repeat, fold) for repeat in range(self.seeds) for fold in range(self.folds)]
        sized = [number for number, setting in enumerate(self.settings) if setting in self.sized]
        return [Member(*place, number) for place in places for number in range(len(self.settings))] + [
            Member(*place, number, size) for size in self.sizes for place in places for number in sized
        ]

    @property
    def sized(self) -> tuple[Setting, ...]:
        """The settings that are measured at several sizes."""
        return tuple(s for arm in self.arms if arm.name in ("none", "dropout", "weight_decay") for s in arm.settings)

    def at_size(self, size: int) -> "Plan":
        """Budget and batch size for so many training rows; 0 is all of them."""
        if not size:
            return self
        return dataclasses.replace(self, epochs=_epochs(size), batch_size=min(_batch(size), size))


class Member(NamedTuple):
    """One network of the study: its split, the number of its setting, and of its training rows (0: all)."""

    repeat: int
    fold: int
    setting: int
    size: int = 0


def check_options(rates: Any, hidden: Any, sizes: Any = (), **counts: Any) -> None:
    """Refuse options that no plan can be made of, before the table is read.

    Raises:
        InputError: a count is no whole number or too small; rates lie outside [0, 1) or are all 0; a width is
            too large; a size is too small.
    """
    for name, value in counts.items():
        least = {"folds": 2, "seed": 0}.get(name, 1)
        if value is not None and (type(value) is not int or value < least):
            raise InputError(sentence(f"{name} must be a whole number of at least {least}", f"got {value!r}"))
    if rates is not None and (not _all_numbers(rates) or not all(0 <= rate < 1 for rate in rates) or not any(rates)):
        raise InputError(sentence("rates must lie in [0, 1) and one must be above 0", f"got {rates!r}"))
    if hidden is not None and (not _all_numbers(hidden) or not hidden or not all(1 <= w <= _WIDEST for w in hidden)):
        seen = f"got {hidden!r}"
        raise InputError(sentence(f"hidden widths must lie between 1 and {_WIDEST:,}", seen, "give them as 64,64"))
    if not _all_numbers(sizes) or not all(type(size) is int and size >= _SMALLEST for size in sizes):
        seen = f"got {sizes!r}"
        raise InputError(sentence(f"sizes must be whole numbers of at least {_SMALLEST} rows", seen, "as 250,500,1000"))


def _all_numbers(values: Any) -> bool:
    return isinstance(values, Sequence) and all(isinstance(v, int | float) for v in values)


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
    """Fill in what the user left open from the size of the table.

    Two hidden layers of the power of two nearest to √rows, between 16 and 256; about 100 steps an epoch with batches
    between 16 and 512 rows; 50 epochs, fewer from 5,000 training rows on.

    Raises:
        InputError: a value can't be used.
    """
    if not learning_rate > 0:
        raise InputError(sentence("the learning rate must be positive", f"got {learning_rate}"))
    rows = len(table.target)
    outside = 1 / 2 if table.time else 1 - 1 / folds  # of a test fold; by time, in the mean over growing windows
    training = int(rows * outside * (1 - VALIDATION))
    width = int(np.clip(2 ** round(np.log2(rows) / 2), 16, 256))
    return Plan(
        arms=choose_arms(arms, rates, own_network=network is not None),
        folds=folds,
        seeds=seeds,
        hidden=hidden or (width, width),
        epochs=epochs or _epochs(training),
        batch_size=min(batch_size or _batch(training), training),
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


def _epochs(training: int) -> int:
    return int(np.clip(round(50 * (5000 / training) ** 0.5), 10, 50))


def _batch(training: int) -> int:
    return int(np.clip(2 ** int(np.log2(max(training / 100, 1))), 16, 512))


def stream(plan: Plan, *path: int | str) -> np.random.Generator:
    """A random stream of its own for each purpose: its key is the study's seed with the path folded in."""
    return np.random.Generator(np.random.Philox(key=stream_key(plan, *path)))


def stream_key(plan: Plan, *path: int | str) -> int:
    """The 64-bit key of a stream."""
    key = plan.seed
    for step in path:
        key = philox.fold_in(key, philox.site_number(step) if isinstance(step, str) else step)
    return key
