"""Common claims about dropout on the churn network, with the results of running it.

``docs/claims.md`` is generated from :func:`claims`. Networks train on five rows, all of them at every step, with a
learning rate of 0.1; the seed gives initial weights and masks. The other 4,995 rows of the table are held out.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from thinned.explain import numbers
from thinned.explain import numpy_network as net
from thinned.pages import fixed

__all__ = ["Claim", "Sweep", "claims", "forgetful", "self_validation", "sweep"]

RATES = (0.0, 0.3, 0.5, 0.7)
SEEDS = 10
HOLDS, FAILS, PARTLY = "holds", "does not hold", "holds in part"


@dataclass(frozen=True)
class Claim:
    """A claim and its check.

    Attributes:
        title: heading.
        statement: the claim as it is commonly printed.
        result: sentences with the measured numbers.
        verdict: ``HOLDS``, ``FAILS`` or ``PARTLY``.
        table: rows of cells, headings first; empty if there is no table.
    """

    title: str
    statement: str
    result: str
    verdict: str
    table: tuple[tuple[str, ...], ...] = ()


class SelfValidation(NamedTuple):
    """Losses of a network.

    Attributes:
        p: rate in training.
        training: mean loss over 1,000 masks on the training rows.
        evaluation: loss without dropout on the training rows.
        held_out: loss without dropout on all other rows.
    """

    p: float
    training: float
    evaluation: float
    held_out: float


@dataclass(frozen=True)
class Sweep:
    """Losses, in evaluation, of networks trained with dropout: ``(seeds, rates)``."""

    train: npt.NDArray[np.float64]
    held_out: npt.NDArray[np.float64]


def claims() -> list[Claim]:
    """All claims, computed now."""
    first = [_mask_of_seed(), _scaled(), _thousand_masks(), _half(), _every_step_another(), _no_change_for_prediction()]
    second = [_average_of_subnetworks(), _left_on(), _doubled_variance(), _on_the_output()]
    return [*first, *second, _forgotten_mask(), _validation_on_training_rows(), _after_100_epochs(), _overfits_less()]


@cache
def _rows() -> tuple[numbers.Array, numbers.Array, numbers.Array, numbers.Array]:
    """Inputs and labels of the five rows, then of all others."""
    x, y = numbers.churn_rows()
    five = numbers.five_rows(y)
    return x[five], y[five], np.delete(x, five, axis=0), np.delete(y, five)


def _losses(network: net.Network) -> tuple[float, float]:
    x, y, others, labels = _rows()
    return net.loss(net.forward(network, x), y), net.loss(net.forward(network, others), labels)


def _evaluate(networks: Sequence[Sequence[net.Network]]) -> Sweep:
    losses = np.array([[_losses(network) for network in row] for row in networks])
    return Sweep(losses[..., 0], losses[..., 1])


@cache
def sweep(epochs: int) -> Sweep:
    """Train with ten seeds at the rates 0, 0.3, 0.5 and 0.7."""
    x, y, _, _ = _rows()
    return _evaluate(
        [[net.train(net.initial(seed), x, y, p, epochs, key=seed) for p in RATES] for seed in range(SEEDS)]
    )


def forgetful(network: net.Network, trace: net.Trace, y: numbers.Array) -> net.Network:
    """Gradients of a backward pass that was written for a network without dropout: it leaves the multiplier out."""
    return net.backward(network, replace(trace, multiplier=np.ones_like(trace.multiplier)), y)


@cache
def _forgetful_sweep(epochs: int, p: float = 0.5) -> Sweep:
    x, y, _, _ = _rows()
    trained = []
    for seed in range(SEEDS):
        network = net.initial(seed)
        for mask in net.keep((epochs, 5, 4), p, key=seed):
            network = net.descend(network, forgetful(network, net.forward(network, x, mask, p), y), rate=0.1)
        trained.append([network])
    return _evaluate(trained)


@cache
def self_validation(epochs: int = 1000, seed: int = 1) -> list[SelfValidation]:
    """Train one network for each rate, and compare its losses."""
    x, y, _, _ = _rows()
    results = []
    for p in RATES:
        network = net.train(net.initial(seed), x, y, p, epochs, key=seed)
        masks = net.keep((1000, 5, 4), p, key=seed + SEEDS)
        losses = [net.loss(net.forward(network, x, mask, p), y) for mask in masks]
        # fsum is exact before it rounds: at p = 0 all 1,000 losses are one number, and so is their mean
        results.append(SelfValidation(p, math.fsum(losses) / len(losses), *_losses(network)))
    return results


def _bits(mask: npt.ArrayLike) -> str:
    return "[" + ", ".join(str(int(bit)) for bit in np.asarray(mask)) + "]"


def _with_error(values: npt.NDArray[np.float64]) -> str:
    return f"{fixed(values.mean(), 3)} ± {values.std(ddof=1) / math.sqrt(len(values)):.3f}"


def _mask_of_seed() -> Claim:
    legacy = np.random.RandomState(42).rand(4) > 0.5  # np.random.seed(42); np.random.rand(4) > 0.5
    modern = np.random.default_rng(42).random(4) > 0.5
    return Claim(
        "The mask of seed 42",
        "With `np.random.seed(42)`, the mask `np.random.rand(4) > 0.5` is [1, 0, 1, 0].",
        f"It is {_bits(legacy)}; `np.random.default_rng(42).random(4) > 0.5` is {_bits(modern)}. "
        f"At key {numbers.KEY}, call 0 this package has {_bits(net.keep((4,), 0.5, numbers.KEY))}, on every machine.",
        HOLDS if _bits(legacy) == "[1, 0, 1, 0]" else FAILS,
    )


def _scaled() -> Claim:
    trace, _, _ = numbers.step(0.5, np.array([True, False, True, False]))
    same = trace.dropped[0].tolist() == [0.72, 0, 0.84, 0]
    return Claim(
        "The scaled activations",
        "With the mask [1, 0, 1, 0] and p = 0.5 the hidden activations [0.36, 0.13, 0.42, 0.25] become "
        "[0.72, 0, 0.84, 0].",
        f"{trace.dropped[0].tolist()}: {'equal to the last bit' if same else 'not equal'}.",
        HOLDS if same else FAILS,
    )


def _thousand_masks() -> Claim:
    means, errors = numbers.convergence(0.5)
    a = np.array([0.36, 0.13, 0.42, 0.25])
    off = np.abs(means[-1] - a) / errors[-1]
    rows = [(f"{a[j]:.2f}", f"{means[-1, j]:.4f}", f"{errors[-1, j]:.4f}", f"{off[j]:.1f}") for j in range(4)]
    return Claim(
        "A thousand masks",
        "Averaged over 1,000 masks, the activations after dropout are those without dropout.",
        "At p = 0.5 the standard error is 3.2 % of the activation. The farthest of the four is off by "
        f"{off.max():.1f} standard errors.",
        HOLDS if off.max() < 4 else FAILS,
        (("activation", "mean of 1,000", "standard error", "off by standard errors"), *rows),
    )


def _half() -> Claim:
    ensemble = numbers.subnetworks(0.5)
    chance = [float(ensemble.probability[ensemble.masks.sum(1) == kept].sum()) for kept in range(5)]
    none = numbers.subnetworks(0.7).probability[0]
    return Claim(
        "Half of the units",
        "Dropout with p = 0.5 switches half of the units off at each step.",
        f"Half of them on average. Two of the four are off in {chance[2]:.1%} of the steps. All four are off in "
        f"{chance[0]:.2%} (at p = 0.7 in {none:.1%}); the output is then the same for every customer.",
        PARTLY,
    )


def _every_step_another() -> Claim:
    kinds = {_bits(net.keep((4,), 0.5, numbers.KEY, call)) for call in range(100)}
    repeated = sum(
        bool((net.keep((4,), 0.5, numbers.KEY, c) == net.keep((4,), 0.5, numbers.KEY, c + 1)).all()) for c in range(99)
    )
    return Claim(
        "A different sub-network at each step",
        "Each training step trains a different sub-network.",
        f"There are sixteen sub-networks. The first 100 masks of key {numbers.KEY} are of {len(kinds)} kinds, and "
        f"{repeated} of them are followed by the same mask.",
        FAILS,
    )


def _no_change_for_prediction() -> Claim:
    ensemble = numbers.subnetworks(0.5, logistic=False)
    bias = float(net.EXAMPLE.output_bias)
    unscaled = bias + (ensemble.mean - bias) / 2
    return Claim(
        "Nothing to scale for prediction",
        "If survivors are scaled in training, prediction needs no scaling.",
        f"The mean input of the logistic function in training is {ensemble.mean:.4f}, that in prediction "
        f"{ensemble.weight_scaled:.4f}. Without the factor 1 / (1 − p) it would be {fixed(unscaled, 4)} in training.",
        HOLDS if math.isclose(ensemble.mean, ensemble.weight_scaled) else FAILS,
    )


def _average_of_subnetworks() -> Claim:
    rows = []
    for p in (0.1, *RATES[1:]):
        ensemble = numbers.subnetworks(p)
        values = (
            ensemble.mean,
            ensemble.geometric_mean,
            ensemble.weight_scaled,
            ensemble.weight_scaled - ensemble.mean,
        )
        rows.append((f"{p:g}", *(f"{value:.4f}" for value in values)))
    return Claim(
        "The average of the sub-networks",
        "The network without dropout predicts the average of its sub-networks.",
        "It predicts exactly their normalised geometric mean (Baldi & Sadowski 2013). Their mean differs, and the "
        "difference grows with p. Without the logistic function at the output, both are the same.",
        PARTLY,
        (("p", "mean", "geometric mean", "without dropout", "difference to the mean"), *rows),
    )


def _left_on() -> Claim:
    ensemble = numbers.subnetworks(0.5)
    spread = math.sqrt(ensemble.probability @ (ensemble.output - ensemble.mean) ** 2)
    return Claim(
        "Dropout left on",
        "A prediction with dropout left on is only a little noisier.",
        f"For the example’s customer it lies between {ensemble.output.min():.3f} and {ensemble.output.max():.3f}. The "
        f"standard deviation is {spread:.3f}; with dropout off the prediction is {ensemble.weight_scaled:.3f}.",
        FAILS,
    )


def _doubled_variance() -> Claim:
    shift = numbers.batch_norm(0.5)
    ratio = shift.trained_variance / shift.variance
    return Claim(
        "The variance of activations",
        "Dropout multiplies the variance of activations by 1 / (1 − p), by 2 at p = 0.5.",
        "That holds for the second moment, and for the variance if the mean is 0. Activations of ReLU have another "
        f"mean: here the variance grows {ratio.min():.1f} to {ratio.max():.1f} times. In evaluation, the output of a "
        f"batch norm behind the dropout has a standard deviation of {shift.evaluation.min():.2f} to "
        f"{shift.evaluation.max():.2f} instead of 1, until `thinned.recalibrate_batchnorm` corrects it.",
        FAILS,
    )


def _on_the_output() -> Claim:
    _, _, dropped, losses = numbers.on_output(0.5)
    counts = numbers.outcomes(losses)
    return Claim(
        "Dropout on the output",
        "Dropout can also act on the output layer.",
        f"On the five rows the loss is finite in {counts['finite']} of 1,000 steps and infinite in "
        f"{counts['infinite']}. “Probabilities” reach {dropped.max():.2f}.",
        FAILS,
    )


def _forgotten_mask() -> Claim:
    trace, right, _ = numbers.step(0.5, np.array([True, False, True, False]))
    wrong = forgetful(net.EXAMPLE, trace, np.array([numbers.LEFT]))
    cells = [[fixed(value, 4) if value else "0" for value in g.hidden_weight[0]] for g in (right, wrong)]
    gradients = [(f"gradient of the weight from calls to unit {j + 1}", cells[0][j], cells[1][j], "") for j in range(4)]
    losses = []
    for epochs in (100, 1000):
        through, past = sweep(epochs), _forgetful_sweep(epochs)
        for rows, right_loss, wrong_loss in (
            ("the five rows", through.train[:, RATES.index(0.5)], past.train[:, 0]),
            ("4,995 other rows", through.held_out[:, RATES.index(0.5)], past.held_out[:, 0]),
        ):
            compared = map(_with_error, (right_loss, wrong_loss, wrong_loss - right_loss))
            losses.append((f"loss on {rows}, {epochs:,} epochs", *compared))
    return Claim(
        "A backward pass that forgets the mask",
        "The training loop can use the backward pass of the network without dropout.",
        "That pass gives weights into dropped units a gradient, and weights into kept units 1 − p of theirs. On so "
        "small a problem the loss does not reveal this. The table has means over "
        f"{SEEDS} seeds ± standard errors at p = 0.5, and the difference seed by seed.",
        FAILS,
        (("", "through the mask", "mask forgotten", "difference"), *gradients, *losses),
    )


def _validation_on_training_rows() -> Claim:
    rows = [
        (
            f"{p:g}",
            *(f"{value:.4f}" for value in (training, evaluation)),
            fixed(evaluation - training, 4),
            f"{others:.4f}",
        )
        for p, training, evaluation, others in self_validation()
    ]
    _, training, evaluation, _ = self_validation()[0]
    return Claim(
        "A validation loss of training rows",
        "The gap between training loss and validation loss shows how dropout reduces overfitting (both computed on the "
        "training rows).",
        f"At p = 0 that gap is {evaluation - training:g} by construction, however much the network overfits. At other "
        "rates it is the loss that the masks add, with its sign reversed. Only other rows show overfitting (one "
        "network for each p, 1,000 epochs).",
        FAILS,
        (("p", "training loss", "“validation” loss", "gap", "loss on 4,995 other rows"), *rows),
    )


def _after_100_epochs() -> Claim:
    losses = sweep(100).train
    low, high = losses.min(), losses.max()
    rows = [
        (f"{p:g}", f"{column.mean():.4f}", f"{column.min():.4f} to {column.max():.4f}")
        for p, column in zip(RATES, losses.T, strict=True)
    ]
    base = -(0.4 * math.log(0.4) + 0.6 * math.log(0.6))
    return Claim(
        "Losses after 100 epochs",
        "After 100 epochs on five rows the losses at p = 0, 0.3, 0.5 and 0.7 lie between 0.18 and 0.43.",
        f"They lie between {low:.3f} and {high:.3f} for all rates and {SEEDS} seeds. Two of the five left; a network "
        f"that learned nothing else has a loss of {base:.4f}. After 1,000 epochs losses differ; see the next claim.",
        HOLDS if low >= 0.18 and high <= 0.43 else FAILS,
        (("p", "mean loss", "smallest to largest"), *rows),
    )


def _overfits_less() -> Claim:
    short, long = sweep(100).held_out, sweep(1000)
    constant = float(np.mean(_rows()[3]))
    entropy = -(constant * math.log(constant) + (1 - constant) * math.log(1 - constant))
    rows = []
    for column, p in enumerate(RATES):
        difference = long.held_out[:, column] - long.held_out[:, 0]
        means = (_with_error(long.train[:, column]), _with_error(long.held_out[:, column]))
        rows.append((f"{p:g}", f"{short[:, column].mean():.3f}", *means, _with_error(difference) if p else ""))
    return Claim(
        "Less overfitting",
        "Dropout makes the network overfit less.",
        "It does not after 100 epochs, when nothing is overfitted yet. It does after 1,000 epochs on these five rows; "
        f"the table has means over {SEEDS} seeds ± standard errors. Even the best of these networks has a loss of "
        f"{long.held_out.min():.3f} on the other rows, and a constant prediction of {constant:.1%} has {entropy:.3f}. "
        "Five rows teach too little.",
        PARTLY,
        (("p", "other rows, 100 epochs", "five rows, 1,000", "other rows, 1,000", "difference to p = 0"), *rows),
    )
