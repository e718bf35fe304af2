"""Claim: dropout keeps hidden units from relying on each other."""

import numpy as np

from thinned.studies.analysis.claims.underfitting import rate_grid
from thinned.studies.analysis.selection import Array, TrainedNetworks
from thinned.studies.results import CoadaptationClaim, UnitRemoval
from thinned.studies.training.probes import FRACTIONS
from thinned.studies.wording import interval_decimals, loss_unit, number, number_with_interval

__all__ = ["coadaptation_claim"]

_MEASURE = (
    "mean absolute correlation of the activations of two units of a hidden layer on test rows, dropout off, "
    "averaged over the layers"
)
_SOURCE = "the cross-covariance of Cogswell et al. 2016 (DeCov), standardised"


def coadaptation_claim(trained: TrainedNetworks) -> CoadaptationClaim | None:
    """Dependence between hidden units, and the loss after some are removed from a trained network.

    The claim is that of Srivastava et al. (2014, §7.1). It holds where the dependence without dropout exceeds that at
    the rate of least mean validation loss, the interval of the paired difference above 0, and fails where the interval
    lies below. The losses after removal (Morcos et al. 2018) show what the dependence means for predictions.

    Returns:
        None where arms ``none`` and ``dropout`` were not both trained and probed.
    """
    grid = rate_grid(trained)
    if grid is None:
        return None
    best = trained.setting(trained.least_loss(trained.arms["dropout"])).dropout
    dependence = {rate: _dependence(trained, setting) for rate, setting in grid.items()}
    none = min(grid)
    difference = trained.optional_interval(dependence[none] - dependence[best])
    if difference.known is None:
        return None
    losses = {rate: _removal(trained, grid[rate]) for rate in (none, best)}
    return CoadaptationClaim(
        measure=_MEASURE,
        source=_SOURCE,
        rates=tuple(grid),
        dependence=tuple(trained.optional_interval(values) for values in dependence.values()),
        removal=UnitRemoval(
            fractions=FRACTIONS,
            loss={
                np.format_float_positional(rate, trim="-"): tuple(map(trained.optional_interval, values.T))
                for rate, values in losses.items()
            },
        ),
        best_rate=best,
        difference=difference,
        holds={1: True, 0: None, -1: False}[difference.side()],
        sentence=_sentence(trained, best, (dependence[none], dependence[best]), (losses[none], losses[best])),
    )


def _dependence(trained: TrainedNetworks, setting: int) -> Array:
    """Dependence on each split, ``(splits,)``; NaN where a network was not probed."""
    probes = [split[setting].probes.coadaptation for split in trained.splits]
    return np.array([None if probe is None else probe.dependence for probe in probes], dtype=np.float64)


def _removal(trained: TrainedNetworks, setting: int) -> Array:
    """Test loss after the removal of each fraction, ``(splits, fractions)``; NaN where a network was not probed."""
    probes = [split[setting].probes.coadaptation for split in trained.splits]
    unknown = (None,) * len(FRACTIONS)
    return np.array([unknown if probe is None else probe.removal for probe in probes], dtype=np.float64)


def _sentence(
    trained: TrainedNetworks, rate: float, dependence: tuple[Array, Array], losses: tuple[Array, Array]
) -> str:
    none, dropout = (float(np.nanmean(values)) for values in dependence)
    rise, dropout_rise = (values[:, -1] - values[:, 0] for values in losses)
    saved, decimals, difference = trained.optional_interval(rise - dropout_rise).known, 4, "unknown"
    if saved is not None:
        decimals = interval_decimals(saved.low, saved.high)
        difference = number_with_interval(saved.mean, saved.low, saved.high)
    rises = number(rise.mean(), decimals), number(dropout_rise.mean(), decimals)
    return (
        f"The mean absolute correlation of two hidden units is {none:.3f} without dropout and {dropout:.3f} with a "
        f"rate of {rate:g}. Removing {100 * FRACTIONS[-1]:.0f}\u00a0% of the units raises the test loss, in "
        f"{loss_unit(trained.plan.task)}, by {rises[0]} without dropout and by {rises[1]} with it; the difference is "
        f"{difference}."
    )
