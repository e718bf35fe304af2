"""The options of a study: all that a user may choose, checked before the table is read."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TypedDict, get_args

from thinned.errors import InputError, sentence
from thinned.studies.design.arm import Arm
from thinned.studies.table.load import Task

__all__ = ["OptionKeywords", "StudyOptions"]

_WIDEST = 65_536
_SMALLEST = 32  # training rows of a study at several sizes


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudyOptions:
    """The options of :func:`thinned.study` with a table.

    Attributes:
        task: "binary", "multiclass" or "regression"; None infers it from the target.
        arms: names of :data:`thinned.studies.design.arms.ARMS` ("cocktail" is the best of all by validation) and
            :class:`thinned.Arm` objects; None takes all. No regularisation is always included.
        rates: dropout rates of the arm "dropout", in [0, 1); None takes 0.1, 0.2, ..., 0.8.
        folds: number of test folds.
        seeds: number of repeats, each with its own folds, initial weights and data order; None takes 4 up to 2,000
            rows, and otherwise, or with a network of one's own, 2.
        hidden: widths of the hidden layers; None chooses two by the number of rows.
        epochs: training budget; None chooses it by the number of rows.
        batch_size: rows of a step; None chooses it by the number of rows.
        learning_rate: Adam's learning rate.
        seed: the number from which everything random follows.
        group: column of groups, such as patients; all rows of a group stay on one side of every split.
        time: column of numbers or dates; every split trains on older rows than it validates and tests on, and repeats
            differ in initial weights, data order and masks alone. Neither is a feature.
        sizes: training rows at which dropout, weight decay and early stopping are measured as well.
        network: path "module:function" of the function that builds the user's network, or None.
        minutes: no cohort starts after this time; arms that are unfinished then wait for the next such call.
        group_duplicates: keep copies of a row (but for an identifier or a time stamp) on one side of each split.
        columns: readings by column name: "number", "level", "text", "date:day-first", "date:month-first", "drop".

    Raises:
        InputError: no study can be made with an option.
    """

    task: Task | None = None
    arms: Sequence[str | Arm] | None = None
    rates: Sequence[float] | None = None
    folds: int = 5
    seeds: int | None = None
    hidden: Sequence[int] | None = None
    epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float = 1e-3
    seed: int = 0
    group: str | None = None
    time: str | None = None
    sizes: Sequence[int] = ()
    network: str | None = None
    minutes: float | None = None
    group_duplicates: bool = False
    columns: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        """Refuse options that no plan can be made of."""
        if self.task is not None and self.task not in get_args(Task):
            raise InputError(sentence(f"task must be one of {', '.join(get_args(Task))}", f"got {self.task!r}"))
        for name, least in (("folds", 2), ("seeds", 1), ("epochs", 1), ("batch_size", 1), ("seed", 0)):
            value = getattr(self, name)
            optional = name in ("seeds", "epochs", "batch_size")
            if not (optional and value is None) and (type(value) is not int or value < least):
                raise InputError(sentence(f"{name} must be a whole number of at least {least}", f"got {value!r}"))
        if self.rates is not None and not (
            _are_numbers(self.rates) and all(0 <= rate < 1 for rate in self.rates) and any(self.rates)
        ):
            raise InputError(sentence("rates must lie in [0, 1) and one must be above 0", f"got {self.rates!r}"))
        if self.hidden is not None and not (
            _are_numbers(self.hidden) and self.hidden and all(1 <= width <= _WIDEST for width in self.hidden)
        ):
            requirement, value = f"hidden widths must lie between 1 and {_WIDEST:,}", f"got {self.hidden!r}"
            raise InputError(sentence(requirement, value, "give them as 64,64"))
        if not (_are_numbers(self.sizes) and all(type(n) is int and n >= _SMALLEST for n in self.sizes)):
            requirement, value = f"sizes must be whole numbers of at least {_SMALLEST} rows", f"got {self.sizes!r}"
            raise InputError(sentence(requirement, value, "give them as 250,500,1000"))
        for name, words in (("learning_rate", "the learning rate"), ("minutes", "minutes")):
            value = getattr(self, name)
            if not (name == "minutes" and value is None) and not (
                isinstance(value, int | float) and 0 < value < float("inf")
            ):
                raise InputError(sentence(f"{words} must be a number above 0", f"got {value!r}"))


class OptionKeywords(TypedDict, total=False):
    """The fields of :class:`StudyOptions` as keyword arguments."""

    task: Task | None
    arms: Sequence[str | Arm] | None
    rates: Sequence[float] | None
    folds: int
    seeds: int | None
    hidden: Sequence[int] | None
    epochs: int | None
    batch_size: int | None
    learning_rate: float
    seed: int
    group: str | None
    time: str | None
    sizes: Sequence[int]
    network: str | None
    minutes: float | None
    group_duplicates: bool
    columns: Mapping[str, str] | None


def _are_numbers(values: object) -> bool:
    return isinstance(values, Sequence) and all(isinstance(value, int | float) for value in values)
