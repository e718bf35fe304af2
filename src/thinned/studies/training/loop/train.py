"""Trains one network of one's own on one split, and makes its record."""

from collections.abc import Callable

import torch

from thinned.studies.design.plan import Member
from thinned.studies.design.splits import Split
from thinned.studies.examples.examples import ExampleSet
from thinned.studies.training.loop.checkpoint import Checkpoint, Position
from thinned.studies.training.loop.config import NetworkConfig
from thinned.studies.training.loop.drawn_scores import drawn_scores
from thinned.studies.training.loop.evaluation import Outcome, finite
from thinned.studies.training.loop.fit import Prepare, fit
from thinned.studies.training.loop.functions import NetworkFunctions
from thinned.studies.training.records import Curves, Evaluation, ExampleLosses, TrainedNetwork

__all__ = ["train_network"]


def train_network(
    functions: NetworkFunctions,
    prepare: Prepare,
    examples: ExampleSet,
    split: Split,
    config: NetworkConfig,
    seed: int,
    member: Member,
    report: Callable[[int], None] = lambda epoch: None,
    checkpoint: Checkpoint | None = None,
) -> TrainedNetwork:
    """Train one network, and record its curves, losses and scores.

    Networks of one repeat and fold share initial weights, order of examples, augmentation and the seed of masks (a
    higher rate drops what a lower one drops, and more), so that differences between settings are paired. All of it
    follows from ``seed``, the repeat and the fold; the generators of torch, NumPy and Python are as before afterwards.

    Args:
        functions: those of the user.
        prepare: makes the network of the setting of the user's.
        examples: the examples.
        split: numbers of the examples that train, validate and test; without test examples the given test set is taken.
        config: how to train, with the setting's weight decay and learning rate.
        seed: seed of the study.
        member: the network's place in the plan.
        report: called every half second and after each epoch with the number of finished epochs.
        checkpoint: where the training goes on from, should it be interrupted; None keeps none.

    Raises:
        InputError: the network does not fit the examples.
    """
    fitted = fit(functions, prepare, examples, split, config, seed, report, checkpoint)
    position, at_best, at_end = fitted.position, fitted.at_best, fitted.at_end
    if at_best is None or at_end is None:
        raise ValueError("a network is recorded on test examples, of which its split has none")
    last, best = len(position.validation) - 1, max(position.best_epoch, 0)
    losses = drawn = None
    if not len(split.test) and at_best.is_finite and at_end.is_finite:
        losses = ExampleLosses(_float_bytes(at_best.losses), _float_bytes(at_end.losses))
        drawn = drawn_scores(examples, at_best, at_end, seed)
    return TrainedNetwork(
        **member._asdict(),
        best_epoch=best + 1,
        best=_evaluation(examples, at_best, position, best),
        end=_evaluation(examples, at_end, position, last),
        curves=Curves(_whole(position.train, config.epochs), _whole(position.validation, config.epochs)),
        example_losses=losses,
        drawn_scores=drawn,
    )


def _evaluation(examples: ExampleSet, outcome: Outcome, position: Position, epoch: int) -> Evaluation:
    if not outcome.is_finite:  # the network diverged: the analysis leaves its setting out, and says so
        return Evaluation(None, None, None, outcome.scores(examples.task))
    return Evaluation(
        train=position.train[epoch],
        validation=position.validation[epoch],
        test=finite(float(outcome.losses.double().mean())),
        scores=outcome.scores(examples.task),
    )


def _whole(curve: tuple[float | None, ...], epochs: int) -> tuple[float | None, ...]:
    """A curve over the whole budget: a network that is trained no longer keeps its loss."""
    return (*curve, *[curve[-1]] * (epochs - len(curve)))


def _float_bytes(losses: torch.Tensor) -> bytes:
    return losses.float().numpy().astype("<f4").tobytes()
