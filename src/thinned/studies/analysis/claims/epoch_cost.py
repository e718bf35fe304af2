"""Claim: dropout doubles the number of epochs."""

import math
from collections.abc import Sequence

import numpy as np

from thinned.studies.analysis.claims.underfitting import rate_grid
from thinned.studies.analysis.selection import Array, TrainedNetworks
from thinned.studies.results import EpochCost, EpochCostClaim
from thinned.studies.results.claims import Ratio

__all__ = ["CLAIMED_RATIO", "epoch_cost_claim"]

#: "dropout roughly doubles the number of iterations" (Krizhevsky et al. 2012)
CLAIMED_RATIO = 2.0


def epoch_cost_claim(trained: TrainedNetworks, epoch_seconds: float | None = None) -> EpochCostClaim | None:
    """Epochs with dropout to the best-epoch training loss of the network without dropout, as a multiple.

    Training losses are measured with dropout off; between two epochs they are interpolated linearly. The ratio of
    epochs is averaged over splits as its logarithm. A split on which dropout does not get there within the budget
    counts with the whole budget: then ratio and interval are lower bounds, and the upper limit is None. The claim is
    judged at the rate of least mean validation loss: it holds where the interval contains 2 and not 1, and cannot be
    decided where it contains both.

    Args:
        trained: the trained networks.
        epoch_seconds: training time of one network for one epoch, if known.

    Returns:
        None where arms ``none`` and ``dropout``, of rates alone, were not both trained, or by a function of the user's.
    """
    grid = rate_grid(trained)
    if grid is None or not trained.trains_itself:
        return None
    none = grid[min(grid)]
    levels = [_training_curve(trained, none, k)[s[none].best_epoch - 1] for k, s in enumerate(trained.splits)]
    reference = _epochs_to(trained, none, levels)
    costs = []
    for rate, setting in list(grid.items())[1:]:
        costs.append(_cost(trained, rate, _epochs_to(trained, setting, levels), reference, epoch_seconds))
    best = trained.setting(trained.least_loss(trained.arms["dropout"])).dropout
    judged = next(cost for cost in costs if cost.rate == best)
    median = float(np.median(reference))
    return EpochCostClaim(
        epochs=median,
        seconds=None if epoch_seconds is None else median * epoch_seconds,
        rates=tuple(costs),
        rate=judged.rate,
        claimed=CLAIMED_RATIO,
        holds=_holds(judged.ratio),
        sentence=_sentence(judged, len(trained.splits)),
    )


def _training_curve(trained: TrainedNetworks, setting: int, split: int) -> list[float]:
    curve = trained.splits[split][setting].curves.train
    return [math.nan if loss is None else loss for loss in curve]


def _epochs_to(trained: TrainedNetworks, setting: int, levels: Sequence[float]) -> Array:
    """Epochs of a setting to the level of each split, ``(splits,)``; infinite where it is not reached."""
    curves = [_training_curve(trained, setting, split) for split in range(len(levels))]
    return np.array([_epochs_to_level(curve, level) for curve, level in zip(curves, levels, strict=True)])


def _epochs_to_level(curve: Sequence[float], level: float) -> float:
    for epoch, loss in enumerate(curve, start=1):
        if loss <= level:
            before = curve[epoch - 2] if epoch > 1 else loss  # before the first epoch nothing is known
            return epoch - (level - loss) / (before - loss) if before > loss else float(epoch)
    return math.inf


def _cost(
    trained: TrainedNetworks, rate: float, epochs: Array, reference: Array, epoch_seconds: float | None
) -> EpochCost:
    reached = int(np.isfinite(epochs).sum())
    bounded = np.minimum(epochs, trained.plan.epochs)
    logarithm = trained.interval(np.log(bounded / reference), "train")
    median = float(np.median(epochs))
    return EpochCost(
        rate=rate,
        ratio=Ratio(
            mean=math.exp(logarithm.mean),
            low=math.exp(logarithm.low),
            high=math.exp(logarithm.high) if reached == len(epochs) else None,
        ),
        reached=reached,
        epochs=median if math.isfinite(median) else None,
        seconds=median * epoch_seconds if epoch_seconds is not None and math.isfinite(median) else None,
    )


def _holds(ratio: Ratio) -> bool | None:
    high = math.inf if ratio.high is None else ratio.high
    if ratio.low > CLAIMED_RATIO or high < CLAIMED_RATIO:
        return False
    return True if ratio.low > 1 and math.isfinite(high) else None


def _sentence(cost: EpochCost, splits: int) -> str:
    ratio, level = cost.ratio, "the best-epoch training loss of the network without dropout"
    if not cost.reached:
        return f"With a rate of {cost.rate:g}, no network reached {level} within the budget."
    if ratio.high is None:
        return (
            f"With a rate of {cost.rate:g}, {cost.reached} of {splits} networks reached {level} within the budget; on "
            f"average it takes at least {ratio.mean:.1f} times the epochs."
        )
    return (
        f"With a rate of {cost.rate:g}, it takes {ratio.mean:.1f} times the epochs (95\u00a0% interval {ratio.low:.1f} "
        f"to {ratio.high:.1f}) to reach {level}."
    )
