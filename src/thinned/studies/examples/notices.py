"""What a user should know of the examples before anything trains."""

from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np

from thinned.studies.examples.groups import GroupNumbers
from thinned.studies.examples.targets import Targets

__all__ = ["ExampleNotice", "example_notices"]

_FAR = 10.0  # times the scale of a network's first outputs, which is about 1


class ExampleNotice(NamedTuple):
    """One sentence, and the code of the warning that it becomes."""

    code: Literal["shared_groups", "target_scale"]
    message: str


def example_notices(targets: Targets, groups: GroupNumbers, *, has_loss: bool) -> tuple[ExampleNotice, ...]:
    """What was found in the examples.

    Args:
        targets: those of the examples.
        groups: those of the examples and of the given test set.
        has_loss: the user's own loss trains, which may standardise the targets.
    """
    scale = () if has_loss else _target_scale(targets)
    return (*_shared_groups(groups), *scale)


def _shared_groups(groups: GroupNumbers) -> Iterator[ExampleNotice]:
    if groups.of_examples is None or groups.of_test is None:
        return
    tested = np.unique(groups.of_test)
    shared = np.isin(tested, groups.of_examples).sum()
    if shared:
        yield ExampleNotice(
            "shared_groups",
            f"{shared:,} of {len(tested):,} groups of the test set have examples in the training set, too: the test "
            "says how well the network does on known groups, not on new ones.",
        )


def _target_scale(targets: Targets) -> Iterator[ExampleNotice]:
    if targets.task != "regression":
        return
    mean, spread = float(targets.values.mean()), float(targets.values.std())
    if 1 / _FAR <= spread <= _FAR and abs(mean) <= _FAR:
        return
    yield ExampleNotice(
        "target_scale",
        f"The targets have a mean of {mean:.3g} and a standard deviation of {spread:.3g}, and are not standardised. A "
        "network's first outputs are about 1 in size, and each step changes its weights by about the learning rate: "
        "such targets may be reached late or never.",
    )
