"""The claims of ``results.json``: what is often said of dropout, measured on the studied table."""

from typing import Annotated

from msgspec import Meta

from thinned.studies.results.entries import (
    Count,
    Entry,
    Interval,
    Number,
    OptionalInterval,
    Positive,
    PositiveCount,
    Probability,
    Rate,
    ReadingPair,
)

__all__ = [
    "Claim",
    "Claims",
    "CoadaptationClaim",
    "EpochCost",
    "EpochCostClaim",
    "RateCurves",
    "Ratio",
    "SampleSizeClaim",
    "UnderfittingClaim",
    "UnitRemoval",
    "VarianceShift",
    "VarianceShiftClaim",
]

Intervals = Annotated[tuple[OptionalInterval, ...], Meta(min_length=1)]
DecimalRate = Annotated[str, Meta(pattern=r"^0?\.?[0-9]{1,20}$")]


class Claim(Entry, frozen=True, kw_only=True):
    """Something often said of dropout: ``holds`` is None where the numbers cannot decide."""

    holds: bool | None
    sentence: str


class RateCurves(Entry, frozen=True, kw_only=True):
    """Losses by rate, the rate of least validation loss, and the rates from which a network is worse."""

    train: Intervals
    validation: Intervals
    test: Intervals
    best_rate: Rate
    underfits_from: Rate | None
    worse_than_none_from: Rate | None

    @property
    def losses(self) -> dict[str, tuple[OptionalInterval, ...]]:
        """The losses by the part of the rows on which they are measured."""
        return {"train": self.train, "validation": self.validation, "test": self.test}


class UnderfittingClaim(ReadingPair[RateCurves], frozen=True, kw_only=True):
    """Underfitting starts at about the ``claimed`` rate; ``holds`` is about the best epoch."""

    holds: bool | None
    sentence: str
    rates: Annotated[tuple[Rate, ...], Meta(min_length=2)]
    claimed: Rate

    @property
    def starts_earlier(self) -> bool:
        """True where the claim fails since lower rates than the claimed one underfit, and all above it, too."""
        start = self.best.underfits_from
        return self.holds is False and start is not None and start < self.claimed


class Ratio(Entry, frozen=True, kw_only=True):
    """A geometric mean over splits with its 95 % interval; ``high`` is None where it is a lower bound."""

    mean: Positive
    low: Positive
    high: Positive | None


class EpochCost(Entry, frozen=True, kw_only=True):
    """Epochs to the reference training loss with one rate.

    ``ratio`` is a multiple of the epochs without dropout, ``reached`` the number of networks that got there, and
    ``epochs`` and ``seconds`` are medians.
    """

    rate: Rate
    ratio: Ratio
    reached: Count
    epochs: Number | None
    seconds: Number | None


class EpochCostClaim(Claim, frozen=True, kw_only=True):
    """Dropout multiplies the number of epochs by ``claimed``; judged at ``rate``."""

    epochs: Positive
    seconds: Number | None
    rates: Annotated[tuple[EpochCost, ...], Meta(min_length=1)]
    rate: Rate
    claimed: Positive


class SampleSizeClaim(Claim, frozen=True, kw_only=True):
    """Dropout pays from a threshold of training rows on: the gain of each regulariser by size."""

    sizes: Annotated[tuple[PositiveCount, ...], Meta(min_length=1)]
    gain: Annotated[dict[str, Intervals], Meta(min_length=1, max_length=3)]
    threshold: Count | None


class UnitRemoval(Entry, frozen=True, kw_only=True):
    """Test loss by the fraction of hidden units that is removed, for no dropout and for the best rate."""

    fractions: Annotated[tuple[Probability, ...], Meta(min_length=1)]
    loss: Annotated[dict[DecimalRate, Intervals], Meta(min_length=1, max_length=2)]


class CoadaptationClaim(Claim, frozen=True, kw_only=True):
    """Dropout keeps hidden units from relying on each other: their dependence by rate."""

    measure: str
    source: str
    rates: Annotated[tuple[Rate, ...], Meta(min_length=1)]
    dependence: Intervals
    removal: UnitRemoval
    best_rate: Rate
    difference: OptionalInterval


class VarianceShift(Entry, frozen=True, kw_only=True):
    """One setting with batch norm.

    ``ratio`` is the variance of a batch norm's input in training over that in evaluation, ``repaired`` what new
    statistics take off the test loss.
    """

    arm: str
    label: str
    rate: Rate
    ratio: Interval
    loss_before: OptionalInterval
    loss_after: OptionalInterval
    repaired: Interval


class VarianceShiftClaim(Claim, frozen=True, kw_only=True):
    """Dropout before batch norm shifts the variance between training and evaluation, and that costs accuracy."""

    arms: Annotated[tuple[VarianceShift, ...], Meta(min_length=1)]

    @property
    def shifts_alone(self) -> bool:
        """True where the variance rises in every setting with dropout, but its cost is not shown."""
        return self.holds is not True and all(arm.ratio.side(1.0) > 0 for arm in self.arms if arm.rate)


class Claims(Entry, frozen=True, kw_only=True):
    """All claims; None where one was not measured."""

    rate: UnderfittingClaim | None
    price: EpochCostClaim | None
    sizes: SampleSizeClaim | None = None
    coadaptation: CoadaptationClaim | None = None
    variance_shift: VarianceShiftClaim | None = None
