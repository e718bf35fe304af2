"""Scores of one network on many samples of its test examples at once; a sample says how often it holds each example."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

__all__ = ["average_precision", "by_rows", "roc_auc"]

Array = npt.NDArray[np.float64]
Integers = npt.NDArray[np.integer]
Values = npt.NDArray[np.generic]


def roc_auc(outputs: Values, targets: Values, counts: Integers) -> Array:
    """Area under the ROC curve; of more than two classes, the mean over classes of one against the rest.

    Args:
        outputs: ``(n,)`` or ``(n, 1)`` scores of class 1, or ``(n, classes)``.
        targets: ``(n,)`` class codes.
        counts: ``(samples, n)`` how often each example is in each sample.

    Returns:
        ``(samples,)``; NaN where a sample lacks a class, or holds nothing else.
    """
    return _of_classes(_binary_roc_auc, outputs, targets, counts)


def average_precision(outputs: Values, targets: Values, counts: Integers) -> Array:
    """Average precision (PR-AUC); arguments and result as for :func:`roc_auc`."""
    return _of_classes(_binary_average_precision, outputs, targets, counts)


def by_rows(score: Callable[[Values, Values], float]) -> Callable[[Values, Values, Integers], Array]:
    """A score of samples from ``score(outputs, targets)``: slower, since each sample's rows are copied and scored."""

    def of_samples(outputs: Values, targets: Values, counts: Integers) -> Array:
        rows = (np.repeat(np.arange(len(targets)), sample) for sample in counts)
        return np.array([score(outputs[sample], targets[sample]) for sample in rows])

    return of_samples


def _of_classes(
    binary: Callable[[Values, npt.NDArray[np.bool_], Integers], Array],
    outputs: Values,
    targets: Values,
    counts: Integers,
) -> Array:
    if outputs.ndim == 1 or outputs.shape[1] == 1:
        return binary(outputs.reshape(-1), targets == 1, counts)
    each: Array = np.stack([binary(outputs[:, i], targets == i, counts) for i in range(outputs.shape[1])])
    return np.asarray(each.mean(0))


def _tied_counts(outputs: Values, positive: npt.NDArray[np.bool_], counts: Integers) -> tuple[Integers, Integers]:
    """Positives and negatives at each distinct output, from the highest to the lowest, ``(outputs, samples)``."""
    order = np.argsort(outputs, kind="stable")[::-1]
    ordered, samples = outputs[order], counts.T[order]
    is_start = np.concatenate([[True], ordered[1:] != ordered[:-1]])
    positives = samples * positive[order, None]
    if not is_start.all():
        starts = np.flatnonzero(is_start)
        samples, positives = np.add.reduceat(samples, starts), np.add.reduceat(positives, starts)
    return positives, samples - positives


def _binary_roc_auc(outputs: Values, positive: npt.NDArray[np.bool_], counts: Integers) -> Array:
    """Share of pairs in which the positive example has the higher output; a tie counts half."""
    positives, negatives = _tied_counts(outputs, positive, counts)
    twice_won = np.einsum("os,os->s", negatives, 2 * np.cumsum(positives, axis=0) - positives)
    pairs = positives.sum(0) * negatives.sum(0)
    return _ratio(twice_won / 2, pairs)


def _binary_average_precision(outputs: Values, positive: npt.NDArray[np.bool_], counts: Integers) -> Array:
    """Precision at each distinct output, averaged over the positive examples at it."""
    positives, negatives = _tied_counts(outputs, positive, counts)
    hits = np.cumsum(positives, axis=0)
    predicted = hits + np.cumsum(negatives, axis=0)
    precision = np.divide(hits, predicted, out=np.zeros(hits.shape), where=predicted > 0)
    return _ratio(np.einsum("os,os->s", positives, precision), positives.sum(0))


def _ratio(above: Array, below: Integers) -> Array:
    """NaN where ``below`` is 0."""
    known = below > 0
    return np.asarray(np.where(known, above / np.where(known, below, 1), np.nan))
