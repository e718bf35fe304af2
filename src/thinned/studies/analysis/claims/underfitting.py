"""Claim: dropout rates above 0.7 underfit."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from thinned.studies.analysis.selection import PARTS, Array, Part, TrainedNetworks
from thinned.studies.results import RateCurves, Reading, UnderfittingClaim

__all__ = ["CLAIMED_RATE", "rate_grid", "underfitting_claim"]

CLAIMED_RATE = 0.7

Losses = Mapping[Part, Mapping[float, Array]]


def underfitting_claim(trained: TrainedNetworks) -> UnderfittingClaim | None:
    """Loss against the dropout rate, and the rate from which a network underfits.

    A rate underfits where less dropout would improve both the fit to the training rows and that to new rows: training
    loss (dropout off) and test loss are both higher than at the rate of least mean validation loss, each by more than
    one standard error of the paired difference, and so for every higher rate of the grid. ``worse_than_none_from`` is
    the same against no dropout. The claim holds where the grid brackets it: 0.7 lies between the last rate that does
    not underfit and the first that does. It cannot be decided where the grid does not reach far enough, or where a
    rate that is compared was still improving when the budget ended.

    Returns:
        None where arms ``none`` and ``dropout``, of rates alone, were not both trained, or training losses are unknown.
    """
    grid = rate_grid(trained)
    if grid is None or not all(np.isfinite(trained.losses(s, "best", "train")).all() for s in grid.values()):
        return None
    rates, best = list(grid), _curves(trained, grid, "best")
    start = best.underfits_from
    limited = [
        p for p, s in grid.items() if p >= best.best_rate and trained.is_budget_limited([s] * len(trained.splits))
    ]
    return UnderfittingClaim(
        rates=tuple(rates),
        best=best,
        end=_curves(trained, grid, "end"),
        claimed=CLAIMED_RATE,
        holds=None if limited else _brackets(rates, start),
        sentence=_sentence(rates, best, limited),
    )


def _sentence(rates: Sequence[float], curves: RateCurves, limited: Sequence[float]) -> str:
    start, best = curves.underfits_from, curves.best_rate
    finding = f"no rate up to {rates[-1]:g} underfits"
    if start is not None:
        finding = f"a rate of {start:g} underfits" if start == rates[-1] else f"rates from {start:g} on underfit"
    measure = f"at rate {best:g}" if best else "without dropout"
    finding += f" (training and test loss both higher than {measure}, which has the least validation loss)"
    if not limited:
        return f"At the best epoch, {finding}."
    named = [f"{p:g}" for p in limited]
    improving = f"rate {named[0]} was" if not named[1:] else f"rates {', '.join(named[:-1])} and {named[-1]} were"
    return f"At the best epoch, {finding}. This is provisional: {improving} still improving when the budget ended."


def rate_grid(trained: TrainedNetworks) -> dict[float, int] | None:
    """Settings of ``none`` and ``dropout`` by rate; None where they differ in more than the rate.

    None, too, where a pilot has chosen one rate: two rates are no curve.
    """
    own = trained.plan.own
    if own is not None and own.stage != "nested":
        return None
    if "none" not in trained.arms or "dropout" not in trained.arms:
        return None
    settings = [*trained.arms["none"], *trained.arms["dropout"]]
    grid = {trained.setting(s).dropout: s for s in settings}
    others = {dataclasses.replace(trained.setting(s), dropout=0.0) for s in settings}
    return dict(sorted(grid.items())) if len(grid) == len(settings) and len(others) == 1 else None


def _curves(trained: TrainedNetworks, grid: Mapping[float, int], reading: Reading) -> RateCurves:
    losses: Losses = {part: {p: trained.losses(s, reading, part) for p, s in grid.items()} for part in PARTS}
    best = min(grid, key=lambda p: float(losses["validation"][p].mean()))
    train, validation, test = (
        tuple(trained.optional_interval(values, part) for values in losses[part].values()) for part in PARTS
    )
    return RateCurves(
        train=train,
        validation=validation,
        test=test,
        best_rate=best,
        underfits_from=_worse_from(trained, losses, best),
        worse_than_none_from=_worse_from(trained, losses, min(grid)),
    )


def _worse_from(trained: TrainedNetworks, losses: Losses, reference: float) -> float | None:
    """The smallest rate above the reference from which on training and test loss are both worse than there."""
    start = None
    parts: tuple[Part, ...] = ("train", "test")
    for p in sorted(losses["train"], reverse=True):
        excess = [trained.spread(losses[part][p] - losses[part][reference], part) for part in parts]
        if p <= reference or not all(e.mean > e.error for e in excess):
            break
        start = p
    return start


def _brackets(rates: Sequence[float], start: float | None) -> bool | None:
    if start is None:
        return False if rates[-1] > CLAIMED_RATE else None
    before = rates[rates.index(start) - 1]
    return before <= CLAIMED_RATE <= start
