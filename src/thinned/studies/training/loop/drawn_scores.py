"""Scores of a network on samples of a given test set, from which the interval of such a score is made.

Every network of a study is scored on the same samples. Their scores are all that is kept of them: kilobytes, whatever
the size of the test set.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch

from thinned.errors import InputError
from thinned.studies import metrics
from thinned.studies.design.streams import stream
from thinned.studies.examples import outcomes
from thinned.studies.examples.examples import ExampleSet
from thinned.studies.examples.weighted_scores import score_samples, score_tokens
from thinned.studies.training.loop.evaluation import Outcome
from thinned.studies.training.records import DrawnScores

__all__ = ["DRAWS", "draw_counts", "drawn_scores"]

Integers = npt.NDArray[np.integer]

#: samples of the test set; so many give the variance due to examples to 10 %
DRAWS = 200
#: test examples times classes up to which scores that need the order of the examples are drawn: some 25 s a network
_MOST_RANKED = 10**6
_CELLS = 2**20  # counts that are held at once: 8 MiB


def drawn_scores(examples: ExampleSet, at_best: Outcome, at_end: Outcome, seed: int) -> DrawnScores:
    """The scores of a network on samples of the given test set, but for its loss, of which each example's is kept.

    Samples hold as many examples as the test set, or as many groups where it has groups, drawn with replacement.

    Args:
        examples: the examples; they have a given test set.
        at_best: outcome on it at the best epoch.
        at_end: the same after the last epoch.
        seed: seed of the study.
    """
    best = _scores(examples, at_best, seed)
    return DrawnScores(best, best if at_end is at_best else _scores(examples, at_end, seed))


def draw_counts(units: npt.NDArray[np.int64], seed: int) -> Iterator[Integers]:
    """How often each example is in each of :data:`DRAWS` samples, some samples at a time, ``(samples, n)``.

    Args:
        units: ``(n,)`` number of what is drawn as a whole, from 0: the example itself, or its group.
        seed: seed of the study, from which the samples follow.
    """
    rng, count = stream(seed, "test draws"), int(units.max()) + 1
    for batch in np.array_split(np.arange(DRAWS), min(DRAWS, -(-DRAWS * len(units) // _CELLS))):
        samples = len(batch)
        drawn = rng.integers(count, size=(samples, count)) * samples + np.arange(samples)[:, None]
        # the samples of one unit side by side in memory: scores sort units, and gather three times as fast
        yield np.bincount(drawn.ravel(), minlength=samples * count).reshape(count, samples)[units].T


def _scores(examples: ExampleSet, outcome: Outcome, seed: int) -> dict[str, bytes]:
    groups = examples.test_groups
    numbers = np.arange(examples.test_count) if groups is None else np.unique(groups, return_inverse=True)[1]
    if outcome.right_tokens is not None:
        right, counted = outcome.right_tokens.numpy().T
        drawn = [{"token_accuracy": score_tokens(right, counted, counts)} for counts in draw_counts(numbers, seed)]
    elif outcome.outputs is not None and outcome.y is not None and examples.task in metrics.TASKS:
        try:
            predicted = outcomes.predictions(examples.task, outcome.outputs, outcome.y)
        except InputError:  # outputs that only a score of the user's own understands
            return {}
        y = _targets(outcome.y, examples.task)
        ranked = predicted.size <= _MOST_RANKED
        drawn = [
            score_samples(examples.task, predicted, y, counts, ranked=ranked) for counts in draw_counts(numbers, seed)
        ]
    else:
        return {}
    return {name: np.concatenate([part[name] for part in drawn]).astype("<f4").tobytes() for name in drawn[0]}


def _targets(y: torch.Tensor, task: str) -> npt.NDArray[np.generic]:
    flat: npt.NDArray[np.generic] = y.reshape(-1).numpy()
    return flat.astype(np.float64 if task == "regression" else np.int64)
