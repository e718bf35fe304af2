"""Claim: dropout before batch norm shifts the variance between training and use, and costs accuracy."""

import numpy as np

from thinned.studies.analysis.selection import Array, TrainedNetworks
from thinned.studies.results import VarianceShift, VarianceShiftClaim
from thinned.studies.wording import capitalise, interval_decimals, loss_unit, number, number_with_interval

__all__ = ["variance_shift_claim"]

#: by the side of an interval: of the ratio of variances, and of what new statistics take off the test loss
_SHIFTS = {
    1: "the variance shifts",
    0: "the variance does not clearly shift",
    -1: "the variance is smaller in training than in use",
}
_COSTS = {
    1: "new statistics lower the test loss",
    0: "whether new statistics lower the test loss cannot be told",
    -1: "new statistics do not help, but raise the test loss",
}


def variance_shift_claim(trained: TrainedNetworks) -> VarianceShiftClaim | None:
    """Shift of the variance that batch norms receive between training and use, and its cost.

    For every setting of the arms with batch norm: the ratio of the variance in training to that in evaluation, of the
    batch norm where it is largest, and the test loss before and after the running statistics are estimated anew with
    dropout off. The claim is that of Li et al. (2019). It is judged in the plan's first arm with dropout, at the rate
    of least mean validation loss: it holds where the ratio's interval lies above 1 and that of the repaired loss above
    0, and fails where either lies below. Batch norm without dropout, if trained, shows what the running averages lose
    by themselves.

    Returns:
        None where no arm has both batch norm and dropout, or none was probed.
    """
    judged: int | None = None
    shifts: dict[int, VarianceShift] = {}
    for arm in trained.plan.arms:
        if not all(setting.batch_norm for setting in arm.settings):
            continue
        own = {s: shift for s in trained.arms.get(arm.name, []) if (shift := _measure(trained, arm.name, s))}
        shifts |= {s: shift for s, shift in own.items() if s not in shifts}
        with_dropout = [s for s, shift in own.items() if shift.rate]
        if with_dropout and judged is None:
            judged = trained.least_loss(with_dropout)
    if judged is None:
        return None
    shift = shifts[judged]
    return VarianceShiftClaim(
        arms=tuple(shifts.values()), holds=_holds(shift), sentence=_sentence(shift, loss_unit(trained.plan.task))
    )


def _measure(trained: TrainedNetworks, arm: str, setting: int) -> VarianceShift | None:
    probes = [split[setting].probes.variance_shift for split in trained.splits]
    width = next((len(probe.ratios) for probe in probes if probe is not None), 1)
    unknown = (None,) * width
    ratios = np.array([unknown if probe is None else probe.ratios for probe in probes], dtype=np.float64)
    before: Array = np.array([None if probe is None else probe.before for probe in probes], dtype=np.float64)
    after: Array = np.array([None if probe is None else probe.after for probe in probes], dtype=np.float64)
    largest = ratios.max(1)  # NaN where one is NaN
    ratio = trained.optional_interval(largest, "train").known
    repaired = trained.optional_interval(before - after).known
    if ratio is None or repaired is None:
        return None
    return VarianceShift(
        arm=arm,
        label=trained.setting(setting).label,
        rate=trained.setting(setting).dropout,
        ratio=ratio,
        loss_before=trained.optional_interval(before),
        loss_after=trained.optional_interval(after),
        repaired=repaired,
    )


def _holds(shift: VarianceShift) -> bool | None:
    sides = shift.ratio.side(1.0), shift.repaired.side()
    if -1 in sides:
        return False
    return True if sides == (1, 1) else None


def _sentence(shift: VarianceShift, unit: str) -> str:
    ratio, repaired = shift.ratio, shift.repaired
    places = interval_decimals(ratio.low, ratio.high)
    mean, low, high = (number(value, places) for value in (ratio.mean, ratio.low, ratio.high))
    change = number_with_interval(-repaired.mean, -repaired.high, -repaired.low)
    return (
        f"{capitalise(shift.label)}: {_SHIFTS[ratio.side(1.0)]}; {_COSTS[repaired.side()]}. The input of a batch norm "
        f"has {mean} times the variance in training that it has in use (95\u00a0% interval {low} to {high}). New "
        f"statistics with dropout off change the test loss, in {unit}, by {change}."
    )
