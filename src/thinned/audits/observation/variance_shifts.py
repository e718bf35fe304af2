"""The variance that dropout adds before a batch norm, measured against a pass without dropout."""

from typing import NamedTuple

import torch

from thinned.audits.observation.passes import Passes
from thinned.audits.observation.recorder import BatchNormCall

__all__ = ["NOTABLE_RATIO", "VarianceShift", "measure_shifts"]

#: Li et al. 2019 see accuracy suffer from shifts of some tenths
NOTABLE_RATIO = 1.1
_ENOUGH_VALUES = 32  # in a channel, for its variance in one pass; with fewer, several passes are compared
_MORE_PASSES = 8


class VarianceShift(NamedTuple):
    """A batch norm after dropout.

    Attributes:
        batch_norm: the call of batch norm.
        ratio: its input's variance with dropout over that without; None where not measured, and where several passes
            leave open on which side of :data:`NOTABLE_RATIO` it is.
    """

    batch_norm: BatchNormCall
    ratio: float | None


def measure_shifts(batch_norms: list[BatchNormCall], passes: Passes) -> list[VarianceShift]:
    """Compare the variances at batch norms with those of a training pass from the same state without dropout."""
    if not batch_norms or not passes.measure:
        return [VarianceShift(call, None) for call in batch_norms]
    plain = _variances(passes.recorded(True, 0, without_dropout=True).batch_norms)
    has_small = any(call.variance is not None and call.channel_size < _ENOUGH_VALUES for call in batch_norms)
    seeds = range(40, 40 + _MORE_PASSES) if has_small else ()
    repeated = [_variances(passes.recorded(True, seed).batch_norms) for seed in seeds]
    return [VarianceShift(call, _ratio(call, plain, repeated)) for call in batch_norms]


_Variances = dict[tuple[str, int], torch.Tensor]


def _variances(calls: list[BatchNormCall]) -> _Variances:
    return {(call.path, call.call_index): call.variance for call in calls if call.variance is not None}


def _ratio(call: BatchNormCall, plain_variances: _Variances, repeated: list[_Variances]) -> float | None:
    key = call.path, call.call_index
    plain = plain_variances.get(key)
    if call.variance is None or plain is None or not float(plain.mean()) > 0:
        return None
    if call.channel_size >= _ENOUGH_VALUES:
        live = plain > 1e-3 * plain.mean()  # a channel that is all but constant has no variance to shift
        return float((call.variance[live] / plain[live]).clamp(max=100).mean())
    others = [variances[key] for variances in repeated if key in variances]
    ratios = torch.stack([call.variance, *others]).mean(1) / plain.mean()
    mean, error = float(ratios.mean()), float(ratios.std(correction=1)) / len(ratios) ** 0.5
    sides = {mean + 2 * error > NOTABLE_RATIO, mean - 2 * error > NOTABLE_RATIO}
    return mean if len(ratios) > 2 and len(sides) == 1 else None
