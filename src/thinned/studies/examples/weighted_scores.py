"""Scores of one network on many samples of its test examples at once; a sample says how often it holds each example."""

import numpy as np
import numpy.typing as npt

__all__ = ["RANKED", "score_samples", "score_tokens"]

Array = npt.NDArray[np.float64]
Integers = npt.NDArray[np.integer]

#: scores that need the order of the examples, and so more time than the others
RANKED = ("roc_auc", "pr_auc")
_AT_ONCE = 2**16  # examples whose bins are in memory
_BINS = 15  # of the calibration error, as thinned.uncertainty.reliability has them


def score_samples(
    task: str, predicted: Array, y: npt.NDArray[np.generic], counts: Integers, *, ranked: bool = True
) -> dict[str, Array]:
    """All scores of :func:`thinned.studies.metrics.score` on each of some samples.

    Args:
        task: "binary", "multiclass" or "regression".
        predicted: ``(n, classes)`` probabilities, or ``(n,)`` values.
        y: ``(n,)`` class codes or values.
        counts: ``(samples, n)`` how often each example is in each sample.
        ranked: compute :data:`RANKED`, too.

    Returns:
        ``(samples,)`` of each score; NaN where a sample lacks a class, or holds nothing.
    """
    if task == "regression":
        return _score_values(predicted, y.astype(np.float64), counts)
    truth = np.eye(predicted.shape[1])[y]
    clipped = np.clip(predicted, np.finfo(np.float64).eps, 1 - np.finfo(np.float64).eps)
    rows = np.arange(len(y))
    squares = ((predicted - truth) ** 2).sum(1) / (2 if task == "binary" else 1)
    additive = np.stack([-np.log(clipped[rows, y]), predicted.argmax(1) == y, squares], axis=1)
    found = dict(zip(("log_loss", "accuracy", "brier"), _means(additive, counts).T, strict=True))
    is_binary = task == "binary"
    confidence, is_right = (predicted[:, 1], y == 1) if is_binary else (predicted.max(1), predicted.argmax(1) == y)
    found["ece"] = _calibration_errors(confidence, is_right, counts)
    if ranked:
        columns = [1] if is_binary else range(predicted.shape[1])
        each = [_ranked(predicted[:, column], y == column, counts) for column in columns]
        found |= dict(zip(RANKED, np.mean(each, axis=0), strict=True))
    return found


def score_tokens(right: Integers, counted: Integers, counts: Integers) -> Array:
    """Share of the tokens of each sample that are predicted right.

    Args:
        right: ``(n,)`` number of each example's tokens that are predicted right.
        counted: ``(n,)`` number of its tokens.
        counts: ``(samples, n)`` how often each example is in each sample.

    Returns:
        ``(samples,)``; NaN where a sample has no token.
    """
    sums = _sums(np.stack([right, counted], axis=1), counts)
    return _ratio(sums[:, 0], sums[:, 1])


def _score_values(predicted: Array, y: Array, counts: Integers) -> dict[str, Array]:
    errors, centred = y - predicted, y - y.mean()
    means = _means(np.stack([errors**2, np.abs(errors), centred, centred**2], axis=1), counts)
    variance = means[:, 3] - means[:, 2] ** 2
    return {"rmse": np.sqrt(means[:, 0]), "mae": means[:, 1], "r2": 1 - _ratio(means[:, 0], variance)}


def _sums(values: npt.NDArray[np.generic], counts: Integers) -> Array:
    """Sums of ``(n, k)`` values over each sample, ``(samples, k)``; not by BLAS, whose rounding depends on threads."""
    return np.asarray(np.einsum("sn,nk->sk", counts, values.astype(np.float64, copy=False)))


def _means(values: npt.NDArray[np.generic], counts: Integers) -> Array:
    return _ratio(_sums(values, counts), counts.sum(1)[:, None])


def _calibration_errors(confidence: Array, is_right: npt.NDArray[np.bool_], counts: Integers) -> Array:
    """Mean distance of frequency and confidence over the bins, each with the weight of its examples."""
    edges = np.linspace(0, 1, _BINS + 1)[1:-1]
    total = np.zeros((len(counts), _BINS))
    for start in range(0, len(confidence), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        own = confidence[part]
        gaps = np.zeros((len(own), _BINS))
        gaps[np.arange(len(own)), np.searchsorted(edges, own)] = is_right[part] - own
        total += _sums(gaps, counts[:, part])
    return _ratio(np.abs(total).sum(1), counts.sum(1))


def _ranked(outputs: Array, positive: npt.NDArray[np.bool_], counts: Integers) -> tuple[Array, Array]:
    """Area under the ROC curve and average precision of one class against the rest, ``(samples,)`` each.

    The first is the share of pairs in which the positive example has the higher output; a tie counts half. The second
    is the precision at each distinct output, averaged over the positive examples at it.
    """
    positives, negatives = _tied_counts(outputs, positive, counts)
    hits, number = np.cumsum(positives, axis=0), positives.sum(0)
    twice_won = np.einsum("os,os->s", negatives, 2 * hits - positives)
    area = _ratio(twice_won / 2, number * negatives.sum(0))
    found = hits + np.cumsum(negatives, axis=0)
    precision = np.divide(hits, found, out=np.zeros(hits.shape), where=found > 0)
    return area, _ratio(np.einsum("os,os->s", positives, precision), number)


def _tied_counts(outputs: Array, positive: npt.NDArray[np.bool_], counts: Integers) -> tuple[Integers, Integers]:
    """Positives and negatives at each distinct output, from the highest to the lowest, ``(outputs, samples)``."""
    order = np.argsort(outputs, kind="stable")[::-1]
    ordered, samples = outputs[order], counts.T[order]
    is_start = np.concatenate([[True], ordered[1:] != ordered[:-1]])
    positives = samples * positive[order, None]
    if not is_start.all():
        starts = np.flatnonzero(is_start)
        samples, positives = np.add.reduceat(samples, starts), np.add.reduceat(positives, starts)
    return positives, samples - positives


def _ratio(a: Array | Integers, b: Array | Integers) -> Array:
    """NaN where ``b`` is 0."""
    found = np.full(a.shape, np.nan)
    np.divide(a, b, out=found, where=np.broadcast_to(b > 0, a.shape))
    return found
