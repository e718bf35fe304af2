"""The entries of ``results.json``, all but the claims.

Lower losses are better. Improvements and differences are positive where the arm is better.
"""

from typing import Annotated, Generic, Literal, TypeVar

import msgspec
from msgspec import Meta

__all__ = [
    "ArmReading",
    "ArmResult",
    "Choice",
    "Comparison",
    "Count",
    "DataSummary",
    "Entry",
    "Interval",
    "LearningCurves",
    "LossSummary",
    "MetricSummary",
    "Number",
    "OptionalInterval",
    "Outcome",
    "Positive",
    "PositiveCount",
    "Probability",
    "Rate",
    "Reading",
    "ReadingPair",
    "Recommendation",
    "RunSummary",
    "SettingResult",
    "StudyWarning",
    "SupposedTest",
    "Verdict",
]

Number = Annotated[float, Meta(ge=-1e100, le=1e100)]
Positive = Annotated[float, Meta(gt=0, le=1e100)]
Probability = Annotated[float, Meta(ge=0, le=1)]
Rate = Annotated[float, Meta(ge=0, lt=1)]
Count = Annotated[int, Meta(ge=0, le=10**15)]
PositiveCount = Annotated[int, Meta(ge=1, le=10**15)]

Task = Literal["binary", "multiclass", "regression", "multilabel", "tokens", "other"]
#: which weights of a network are scored: those of its best validation epoch, or those of the last epoch
Reading = Literal["best", "end"]
Outcome = Literal["helps", "hurts", "practically equal", "not enough evidence", "budget too small"]
T = TypeVar("T")
_MOST_CHARACTERS = 80  # of a field that `repr` shows


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One object of ``results.json``: ``results.verdict``, or ``results["verdict"]`` as in the file."""

    def __getitem__(self, name: str) -> object:
        """The value under this name of the file."""
        return getattr(self, dict(zip(self.__struct_encode_fields__, self.__struct_fields__, strict=True))[name])

    def __repr__(self) -> str:
        """One line: the fields, long ones without what they hold."""
        fields = {name: getattr(self, name) for name in self.__struct_fields__}
        shown = [f"{name}={_short(value)}" for name, value in fields.items() if value is not msgspec.UNSET]
        return f"{type(self).__name__}({', '.join(shown)})"


def _short(value: object) -> str:
    text = repr(value)
    if len(text) <= _MOST_CHARACTERS:
        return text
    if isinstance(value, tuple | dict):
        return f"<{len(value)} entries>"
    return f"{text[: _MOST_CHARACTERS - 1]}…" if isinstance(value, str) else f"<{type(value).__name__}>"


class Interval(Entry, frozen=True, kw_only=True):
    """A mean over splits with its 95 % interval."""

    mean: Number
    low: Number
    high: Number

    def side(self, level: float = 0.0) -> int:
        """1 where the interval lies above the level, -1 where it lies below, 0 where it contains the level."""
        return int(self.low > level) - int(self.high < level)


class OptionalInterval(Entry, frozen=True, kw_only=True):
    """A mean over splits with its 95 % interval; all None where fewer than two splits have a value.

    The limits alone are None where no sample of a given test set was drawn of a score.
    """

    mean: Number | None
    low: Number | None
    high: Number | None

    @property
    def known(self) -> Interval | None:
        """The interval, or None where it is unknown."""
        if self.mean is None or self.low is None or self.high is None:
            return None
        return Interval(mean=self.mean, low=self.low, high=self.high)

    def side(self, level: float = 0.0) -> int:
        """As :meth:`Interval.side`; 0 where the interval is unknown."""
        return 0 if self.known is None else self.known.side(level)


class ReadingPair(Entry, Generic[T], frozen=True, kw_only=True):
    """A value at the best epoch and one at the end of the budget."""

    best: T
    end: T

    def read(self, reading: Reading) -> T:
        """The value of one reading."""
        return self.best if reading == "best" else self.end


class DataSummary(Entry, frozen=True, kw_only=True):
    """The table: its size, its target, how many rows each class has, and how each column was read, also in words."""

    name: str
    rows: PositiveCount
    columns: Count
    target: str
    task: Task
    classes: dict[str, Count]
    sha256: str
    read_as: dict[str, str]
    readings: dict[str, str] | msgspec.UnsetType = msgspec.UNSET


class RunSummary(Entry, frozen=True, kw_only=True):
    """How the networks were trained: time in seconds, versions, and the arms that were not.

    ``left_out`` were not finished in time; ``untried`` gives the reason why an arm never began.
    """

    networks: PositiveCount
    left_out: tuple[str, ...]
    seconds: Number
    networks_per_second: Number
    finished: str
    threads: PositiveCount
    versions: dict[str, str]
    command: str | None
    untried: dict[str, str] | msgspec.UnsetType = msgspec.UNSET


class MetricSummary(Entry, frozen=True, kw_only=True):
    """A score: its name, its unit, and its direction."""

    label: str
    unit: str
    higher_is_better: bool


Scores = Annotated[dict[str, OptionalInterval], Meta(min_length=1)]


class LossSummary(Entry, frozen=True, kw_only=True):
    """Losses of a setting on training, validation and test rows, and its test scores by metric.

    The training loss is unknown where a training function of the user's alone can score.
    """

    train: OptionalInterval
    validation: Interval
    test: Interval
    scores: Scores

    @property
    def losses(self) -> dict[str, Interval | OptionalInterval]:
        """The losses by the part of the rows on which they are measured."""
        return {"train": self.train, "validation": self.validation, "test": self.test}


class LearningCurves(Entry, frozen=True, kw_only=True):
    """Mean loss after each epoch, ``(epochs,)`` each; without training losses where the user's own function trains."""

    train: tuple[Number, ...]
    validation: Annotated[tuple[Number, ...], Meta(min_length=1)]

    @property
    def parts(self) -> dict[str, tuple[float, ...]]:
        """The curves by the part of the rows on which they are measured."""
        curves = {"train": self.train, "validation": self.validation}
        return {part: curve for part, curve in curves.items() if curve}


class SettingResult(ReadingPair[LossSummary], frozen=True, kw_only=True):
    """A setting: its losses and scores, learning curves, and improvement over no regularisation."""

    index: Count
    label: str
    networks: Count
    best_epoch: Positive
    curves: LearningCurves
    improvement: ReadingPair[Interval]


class ArmReading(Entry, frozen=True, kw_only=True):
    """An arm in one reading.

    ``chosen`` holds the setting that validation rows chose on each split, ``test`` its selection score there, and
    ``improvement`` what it takes off the score of no regularisation.
    """

    scores: Scores
    chosen: Annotated[tuple[Count, ...], Meta(min_length=1)]
    test: Annotated[tuple[Number, ...], Meta(min_length=1)]
    improvement: Interval


class ArmResult(ReadingPair[ArmReading], frozen=True, kw_only=True):
    """An arm in both readings; ``warning`` says why it is not to be recommended."""

    name: str
    label: str
    warning: str | None


class SupposedTest(Entry, frozen=True, kw_only=True):
    """The corrected resampled t test of Nadeau & Bengio (2003) of one comparison."""

    low: Number
    high: Number
    p_value: Probability


class Comparison(Entry, frozen=True, kw_only=True):
    """The answer to a declared question.

    ``difference`` is what the arm takes off the selection score of ``against``, with its 95 % interval. ``rope`` is the
    half-width of the region of practical equivalence, ``detectable`` the true difference that the design finds in 80 %
    of studies. ``p_better``, ``p_equal`` and ``p_worse`` are posterior probabilities.
    """

    question: str
    arm: str
    when: Reading
    against: str
    against_when: Reading
    primary: bool
    difference: Number
    low: Number
    high: Number
    p_value: Probability
    p_adjusted: Probability
    detectable: Number
    splits: PositiveCount
    rope: Number
    p_better: Probability
    p_equal: Probability
    p_worse: Probability
    outcome: Outcome
    sentence: str
    nadeau_bengio: SupposedTest


class Choice(Entry, frozen=True, kw_only=True):
    """A setting, and the first arm that has it."""

    arm: str
    setting: Count
    label: str


class Recommendation(Choice, frozen=True, kw_only=True):
    """The setting to use, and why."""

    reason: str


class Verdict(Entry, frozen=True, kw_only=True):
    """The answer to the primary question, and what to use.

    ``best_on_validation`` is the setting of least validation loss, which is recommended only if it is shown to be
    better than all simpler ones. ``warnings`` are the codes of the warnings that bear on the answer.
    """

    outcome: Outcome
    headline: str
    detail: str
    recommended: Recommendation
    best_on_validation: Choice
    simplest_rate: Rate | None
    metric: str
    warnings: tuple[str, ...]


class StudyWarning(Entry, frozen=True, kw_only=True):
    """What a reader should know before trusting the study: what was found, and what to do next."""

    code: str
    title: str
    message: str
    next_step: str
