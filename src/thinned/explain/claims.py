"""What is commonly printed about dropout on the churn network, beside what running it gives.

``docs/claims.md`` is made from :func:`claims`. Trained networks: learning rate 0.1, all five rows at every step,
initial weights and masks by the seed. Held out are the other 4,995 rows of the table.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

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
    """One claim.

    ``table`` has a row of headings first, or no rows at all.
    """

    title: str
    printed: str
    found: str
    verdict: str
    table: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class Sweep:
    """Losses without dropout of networks trained with it, (seeds, rates)."""

    train: npt.NDArray[np.float64]
    held_out: npt.NDArray[np.float64]


def claims() -> list[Claim]:
    """All of them, computed now."""
    one = [_mask_of_seed(), _scaled(), _thousand_masks(), _half(), _every_step_another(), _no_change_for_prediction()]
    two = [_average_of_subnetworks(), _left_on(), _doubled_variance(), _on_the_output()]
    return [*one, *two, _forgotten_mask(), _validation_on_training_rows(), _after_100_epochs(), _overfits_less()]


@cache
def _rows() -> tuple[numbers.Array, numbers.Array, numbers.Array, numbers.Array]:
    """Inputs and labels of the five rows, and of all others."""
    x, y = numbers.churn_rows()
    five = numbers.five_rows(y)
    return x[five], y[five], np.delete(x, five, axis=0), np.delete(y, five)


def _losses(network: net.Network) -> tuple[float, float]:
    x, y, others, labels = _rows()
    return net.loss(net.forward(network, x), y), net.loss(net.forward(network, others), labels)


def _swept(networks: Sequence[Sequence[net.Network]]) -> Sweep:
    losses = np.array([[_losses(network) for network in row] for row in networks])
    return Sweep(losses[..., 0], losses[..., 1])


@cache
def sweep(epochs: int) -> Sweep:
    """Ten seeds by the rates 0, 0.3, 0.5 and 0.7."""
    x, y, _, _ = _rows()
    return _swept([[net.train(net.initial(seed), x, y, p, epochs, key=seed) for p in RATES] for seed in range(SEEDS)])


def forgetful(network: net.Network, trace: net.Trace, y: numbers.Array) -> net.Network:
    """What a backward pass gives that was written for a network without dropout: the multiplier is left out."""
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
    return _swept(trained)


@cache
def self_validation(epochs: int = 1000, seed: int = 1) -> list[tuple[float, float, float, float]]:
    """For each rate: p, the loss in training mode (mean of 1,000 masks), in evaluation, and of the held-out rows."""
    x, y, _, _ = _rows()
    found = []
    for p in RATES:
        network = net.train(net.initial(seed), x, y, p, epochs, key=seed)
        masks = net.keep((1000, 5, 4), p, key=seed + SEEDS)
        losses = [net.loss(net.forward(network, x, mask, p), y) for mask in masks]
        # fsum is exact before it rounds: at p = 0 all 1,000 losses are one number, and so is their mean
        found.append((p, math.fsum(losses) / len(losses), *_losses(network)))
    return found


def _bits(mask: npt.ArrayLike) -> str:
    return "[" + ", ".join(str(int(bit)) for bit in np.asarray(mask)) + "]"


def _with_error(values: npt.NDArray[np.float64]) -> str:
    return f"{fixed(values.mean(), 3)} ± {values.std(ddof=1) / math.sqrt(len(values)):.3f}"


def _mask_of_seed() -> Claim:
    legacy = np.random.RandomState(42).rand(4) > 0.5  # what np.random.seed(42); np.random.rand(4) > 0.5 gives
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
        f"Up to a standard error of 3.2 % of the activation at p = 0.5. The farthest of the four is off by "
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
        f"Half on average. Two of the four are off in {chance[2]:.1%} of the steps, all four in {chance[0]:.2%} (at "
        f"p = 0.7 in {none:.1%}): the output is then the same for every customer.",
        PARTLY,
    )


def _every_step_another() -> Claim:
    seen = {_bits(net.keep((4,), 0.5, numbers.KEY, call)) for call in range(100)}
    repeated = sum(
        bool((net.keep((4,), 0.5, numbers.KEY, c) == net.keep((4,), 0.5, numbers.KEY, c + 1)).all()) for c in range(99)
    )
    return Claim(
        "A different sub-network at each step",
        "Each training step trains a different sub-network.",
        f"There are sixteen. The first 100 masks of key {numbers.KEY} are of {len(seen)} kinds, and {repeated} of them "
        "are followed by themselves.",
        FAILS,
    )


def _no_change_for_prediction() -> Claim:
    found = numbers.subnetworks(0.5, logistic=False)
    bias = float(net.EXAMPLE.output_bias)
    unscaled = bias + (found.mean - bias) / 2
    return Claim(
        "Nothing to scale for prediction",
        "With survivors scaled in training, nothing need be scaled for prediction.",
        f"The mean input of the logistic function in training is {found.mean:.4f}, that in prediction "
        f"{found.weight_scaled:.4f}. Without the factor 1 / (1 − p) it would be {fixed(unscaled, 4)} in training.",
        HOLDS if math.isclose(found.mean, found.weight_scaled) else FAILS,
    )


def _average_of_subnetworks() -> Claim:
    rows = []
    for p in (0.1, *RATES[1:]):
        found = numbers.subnetworks(p)
        values = (found.mean, found.geometric_mean, found.weight_scaled, found.weight_scaled - found.mean)
        rows.append((f"{p:g}", *(f"{value:.4f}" for value in values)))
    return Claim(
        "The average of the sub-networks",
        "The network without dropout predicts the average of its sub-networks.",
        "It predicts their normalised geometric mean, exactly (Baldi & Sadowski 2013); their mean differs, the more "
        "the larger p. Without the logistic function at the output, both are the same.",
        PARTLY,
        (("p", "mean", "geometric mean", "without dropout", "difference to the mean"), *rows),
    )


def _left_on() -> Claim:
    found = numbers.subnetworks(0.5)
    spread = math.sqrt(found.probability @ (found.output - found.mean) ** 2)
    return Claim(
        "Dropout left on",
        "A prediction with dropout left on is only a little noisier.",
        f"For the example’s customer it lies between {found.output.min():.3f} and {found.output.max():.3f}, with a "
        f"standard deviation of {spread:.3f}; with dropout off it is {found.weight_scaled:.3f}.",
        FAILS,
    )


def _doubled_variance() -> Claim:
    shift = numbers.batch_norm(0.5)
    ratio = shift.trained_variance / shift.variance
    return Claim(
        "The variance of activations",
        "Dropout multiplies the variance of activations by 1 / (1 − p), by 2 at p = 0.5.",
        "That is so for the second moment, and for the variance if the mean is 0. ReLU’s activations have another "
        f"mean: here the variance grows {ratio.min():.1f} to {ratio.max():.1f} times, and a batch norm behind it puts "
        f"out {shift.evaluation.min():.2f} to {shift.evaluation.max():.2f} standard deviations in evaluation, not 1, "
        "until `thinned.recalibrate_batchnorm`.",
        FAILS,
    )


def _on_the_output() -> Claim:
    _, _, dropped, losses = numbers.on_output(0.5)
    counts = numbers.outcomes(losses)
    return Claim(
        "Dropout on the output",
        "Dropout can be put on the output layer, too.",
        f"On the five rows the loss is finite in {counts['finite']} of 1,000 steps and infinite in "
        f"{counts['infinite']}; “probabilities” go up to {dropped.max():.2f}.",
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
        "In the training loop, the backward pass of the network without dropout will do.",
        "It gives the weights into dropped units a gradient, and those into kept units 1 − p of theirs. On so small a "
        "problem the loss does not give this away: means of "
        f"{SEEDS} seeds ± standard errors at p = 0.5, and of the difference seed by seed.",
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
        f"At p = 0 that gap is {evaluation - training:g} by construction, however much the network overfits. Elsewhere "
        "it is what the masks add to the loss, with its sign turned. Only other rows tell (one network for each p, "
        "1,000 epochs).",
        FAILS,
        (("p", "training loss", "“validation” loss", "gap", "loss on 4,995 other rows"), *rows),
    )


def _after_100_epochs() -> Claim:
    found = sweep(100).train
    low, high = found.min(), found.max()
    rows = [
        (f"{p:g}", f"{column.mean():.4f}", f"{column.min():.4f} to {column.max():.4f}")
        for p, column in zip(RATES, found.T, strict=True)
    ]
    base = -(0.4 * math.log(0.4) + 0.6 * math.log(0.6))
    return Claim(
        "Losses after 100 epochs",
        "After 100 epochs on five rows the losses at p = 0, 0.3, 0.5 and 0.7 lie between 0.18 and 0.43.",
        f"They lie between {low:.3f} and {high:.3f} for all rates and {SEEDS} seeds. Two of the five left: a network "
        f"that has learnt nothing else has {base:.4f}. With 1,000 epochs they differ: see the next claim.",
        HOLDS if low >= 0.18 and high <= 0.43 else FAILS,
        (("p", "mean loss", "least to largest"), *rows),
    )


def _overfits_less() -> Claim:
    short, found = sweep(100).held_out, sweep(1000)
    constant = float(np.mean(_rows()[3]))
    entropy = -(constant * math.log(constant) + (1 - constant) * math.log(1 - constant))
    rows = []
    for column, p in enumerate(RATES):
        difference = found.held_out[:, column] - found.held_out[:, 0]
        means = (_with_error(found.train[:, column]), _with_error(found.held_out[:, column]))
        rows.append((f"{p:g}", f"{short[:, column].mean():.3f}", *means, _with_error(difference) if p else ""))
    return Claim(
        "Less overfitting",
        "Dropout makes the network overfit less.",
        "Not after 100 epochs, when there is nothing to undo. After 1,000 it does, on these five rows: means over "
        f"{SEEDS} seeds ± standard errors. Even the best of these networks has {found.held_out.min():.3f} on the other "
        f"rows; to say {constant:.1%} of everybody gives {entropy:.3f}. Five rows teach too little.",
        PARTLY,
        (("p", "other rows, 100 epochs", "five rows, 1,000", "other rows, 1,000", "difference to p = 0"), *rows),
    )
