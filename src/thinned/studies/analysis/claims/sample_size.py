"""Claim: dropout pays from about a thousand training rows on."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from thinned.errors import InputError
from thinned.studies.analysis.selection import Array, TrainedNetworks
from thinned.studies.design.plan import Plan
from thinned.studies.metrics import METRICS, SELECTION
from thinned.studies.results import OptionalInterval, SampleSizeClaim
from thinned.studies.training.records import TrainedNetwork
from thinned.studies.wording import in_text

__all__ = ["CLAIMED_SIZE", "sample_size_claim"]

#: dropout gains nothing on 100 and 500 rows, then more and more up to a point (Srivastava et al. 2014, fig. 10)
CLAIMED_SIZE = 1000
_REGULARISERS = ("dropout", "weight_decay", "early_stopping")
_NEARLY_EQUAL = 1.05  # ratio of the largest training part to the smallest


class _Size(NamedTuple):
    """The networks of one size, and the gain of each regulariser on each split."""

    trained: TrainedNetworks
    gains: dict[str, Array]

    def interval(self, regulariser: str) -> OptionalInterval:
        unknown = np.full(len(self.trained.splits), np.nan)
        return self.trained.optional_interval(self.gains.get(regulariser, unknown))


def sample_size_claim(
    networks: Sequence[TrainedNetwork], plan: Plan, training_rows: Sequence[int]
) -> SampleSizeClaim | None:
    """Gain of dropout, weight decay and early stopping against the number of training rows.

    At each size an arm's setting is chosen on each split by validation loss. The gain of an arm is what it takes off
    the score of no regularisation, both stopped early; that of early stopping is what the best epoch takes off the
    score of the last. Validation and test rows are the same at all sizes. Where all splits train on nearly as many
    rows, their whole training part is a size as well.

    ``threshold`` is the smallest size at which dropout's interval lies above 0. The claim fails where the interval
    lies above 0 at a size below 1,000, or below 0 at the first size from 1,000 on. It holds where that size's interval
    lies above 0 and the paired rise since the last size below 1,000 does, too. It cannot be decided otherwise: a gain
    that is not detected may still exist.

    Args:
        networks: all networks of the study.
        plan: the plan, restricted to what was finished.
        training_rows: number of training rows of each split.

    Returns:
        None where the plan has no sizes, or dropout was never trained beside no regularisation.
    """
    if not plan.sizes:
        return None
    recorded = {size: size for size in plan.sizes}  # by the number of rows; records of all rows have size 0
    if max(plan.sizes) < min(training_rows) and max(training_rows) < _NEARLY_EQUAL * min(training_rows):
        recorded[min(training_rows)] = 0
    measured = {rows: _measure(networks, plan, size, len(training_rows)) for rows, size in recorded.items()}
    sizes = {rows: size for rows, size in measured.items() if size is not None}
    regularisers = [name for name in _REGULARISERS if any(name in size.gains for size in sizes.values())]
    if "dropout" not in regularisers:
        return None
    threshold = min((rows for rows, size in sizes.items() if size.interval("dropout").side() > 0), default=None)
    return SampleSizeClaim(
        sizes=tuple(sizes),
        gain={name: tuple(size.interval(name) for size in sizes.values()) for name in regularisers},
        threshold=threshold,
        holds=_holds({rows: size for rows, size in sizes.items() if "dropout" in size.gains}),
        sentence=_sentence(list(sizes), threshold, METRICS[SELECTION[plan.task]].label),
    )


def _measure(networks: Sequence[TrainedNetwork], plan: Plan, size: int, splits: int) -> _Size | None:
    """The gains at one size, from the settings that were trained on every split."""
    counts = Counter(network.setting for network in networks if network.size == size)
    complete = [network for network in networks if network.size == size and counts[network.setting] == splits]
    try:
        trained = TrainedNetworks(complete, plan, size=size)
    except InputError:  # nothing was trained on every split, or nothing stayed finite
        return None
    if "none" not in trained.arms:
        return None
    none = trained.arm_scores("none", "best")
    gains = {arm: none - trained.arm_scores(arm, "best") for arm in _REGULARISERS if arm in trained.arms}
    return _Size(trained, gains | {"early_stopping": trained.arm_scores("none", "end") - none})


def _holds(sizes: Mapping[int, _Size]) -> bool | None:
    small = [rows for rows in sizes if rows < CLAIMED_SIZE]
    large = [rows for rows in sizes if rows >= CLAIMED_SIZE]
    if any(sizes[rows].interval("dropout").side() > 0 for rows in small):
        return False
    if not small or not large:
        return None
    below, first = sizes[max(small)], sizes[min(large)]
    gain = first.interval("dropout")
    if gain.side() < 0:
        return False
    rise = first.trained.optional_interval(first.gains["dropout"] - below.gains["dropout"])
    return True if gain.side() > 0 and rise.side() > 0 else None


def _sentence(sizes: Sequence[int], threshold: int | None, score: str) -> str:
    rows = f"from {min(sizes):,} to {max(sizes):,} rows" if len(sizes) > 1 else f"of {sizes[0]:,} rows"
    gain = f"a gain of dropout in {in_text(score)}"
    if threshold is None:
        finding = f"At no training size {rows} can {gain} be distinguished from zero"
    else:
        finding = f"The smallest training size {rows} at which {gain} can be distinguished from zero is {threshold:,}"
    return f"{finding}. Fewer rows widen the intervals: a gain that is not detected may still exist."
