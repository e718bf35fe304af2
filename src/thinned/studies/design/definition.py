"""The parts of an arm's definition: all that a file in ``design/arms`` says about its arm."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import torch

from thinned.studies.design.arm import Arm
from thinned.studies.design.setting import Setting
from thinned.studies.results import Reading

__all__ = ["ArmDefinition", "Grid", "QuestionDefinition", "Technique", "dropout_settings"]

_RATES = (0.1, 0.3, 0.5)


class QuestionDefinition(NamedTuple):
    """A comparison that is declared before the run, of the arm that defines it with another.

    Attributes:
        order: place among all questions; they are asked in increasing order.
        against: name of the other arm.
        text: the question in words.
        when: weights of the arm that are scored.
        against_when: weights of the other arm that are scored.
    """

    order: int
    against: str
    text: str
    when: Reading = "best"
    against_when: Reading = "best"


class Grid(NamedTuple):
    """A quantity that arms choose from a grid; the study warns where the choice lies at an end of it.

    Attributes:
        name: the quantity in words.
        value: the quantity of a setting, 0 where it has none.
    """

    name: str
    value: Callable[[Setting], float]


class Technique(NamedTuple):
    """The effect of one entry of :attr:`Setting.extras` on a network's training; None leaves a step as it is.

    Attributes:
        training_loss: from the amount, the task, a network's output ``(rows, outputs)`` and its targets ``(rows,)`` to
            the loss of each row, ``(rows,)``; replaces :func:`thinned.studies.training.cohort.losses` in training.
        site_rates: from the amount and the rate of each dropout site, by name in the order of the layers, to their
            new rates.
    """

    training_loss: Callable[[float, str, torch.Tensor, torch.Tensor], torch.Tensor] | None = None
    site_rates: Callable[[float, Mapping[str, float]], Mapping[str, float]] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class ArmDefinition:
    """All that a file in ``design/arms`` says about its arm.

    Attributes:
        order: place of the arm among all; settings are numbered in this order.
        arm: the arm; of a "mix", the settings that are tried besides those of the other arms.
        questions: the comparisons that are declared where both arms are in a study.
        grids: the quantities that the arm chooses from a grid.
        at_sizes: the arm is also trained on the smaller training sets of ``sizes``.
        techniques: the effects of the names in :attr:`Setting.extras` that the arm's settings use.
    """

    order: int
    arm: Arm
    questions: tuple[QuestionDefinition, ...] = ()
    grids: tuple[Grid, ...] = ()
    at_sizes: bool = False
    techniques: Mapping[str, Technique] = dataclasses.field(default_factory=dict)


def dropout_settings(rates: Iterable[float] = _RATES, base: Setting | None = None) -> tuple[Setting, ...]:
    """Return a setting for each dropout rate, otherwise like ``base``."""
    return tuple(dataclasses.replace(base or Setting(), dropout=rate) for rate in rates)
