"""The ends of the grids that arms choose from: beyond them a better value may lie."""

from collections.abc import Iterator
from typing import Literal, NamedTuple

from thinned.studies.analysis.selection import TrainedNetworks
from thinned.studies.design.arms import GRIDS
from thinned.studies.design.definition import Grid
from thinned.studies.design.own_network.network_arms import NETWORK_GRIDS
from thinned.studies.design.setting import Setting
from thinned.studies.wording import capitalise

__all__ = ["ChoicesAtEnd", "choices_at_ends", "grid_end_remark"]

_ALL_GRIDS = (*GRIDS, *NETWORK_GRIDS)
_MOST = 0.5  # of the splits
_DECADES = ("weight decay", "learning rate")  # grids of about a decade a step, with no upper bound as rates have


class _GridEnd(NamedTuple):
    """The lowest or the highest value that an arm tries of a quantity."""

    grid: Grid
    end: Literal["lowest", "highest"]
    value: float

    def holds(self, setting: Setting) -> bool:
        """Whether a setting has this value."""
        return self.grid.value(setting) == self.value

    @property
    def advice(self) -> str:
        """What to try besides."""
        if self.grid.name not in _DECADES:
            return f"try {'higher' if self.end == 'highest' else 'lower'} ones, too"
        near, far = (3.0, 10.0) if self.end == "highest" else (0.3, 0.1)
        return f"try {near * self.value:g} and {far * self.value:g}, too"


def _grid_ends(trained: TrainedNetworks, arm: str) -> Iterator[_GridEnd]:
    """The ends of an arm's grids that have an inside. 0 is none: nothing lies beyond no regularisation."""
    for grid in _ALL_GRIDS:
        values = sorted({grid.value(trained.setting(s)) for s in trained.arms[arm]})
        if len(values) > 2:
            ends = (_GridEnd(grid, "lowest", values[0]), _GridEnd(grid, "highest", values[-1]))
            yield from (end for end in ends if end.value > 0)


class ChoicesAtEnd(NamedTuple):
    """An arm that was chosen at an end of a grid on most splits, and the words that name both."""

    arm: str
    words: str


def choices_at_ends(trained: TrainedNetworks) -> Iterator[ChoicesAtEnd]:
    """The arms whose chosen setting lies at an end of their grid on most splits."""
    for name, settings in trained.arms.items():
        chosen = trained.choose(settings, "best")
        for end in _grid_ends(trained, name):
            splits = sum(end.holds(trained.setting(s)) for s in chosen)
            if splits > _MOST * len(chosen):
                place = f"{end.end} {end.grid.name} {end.value:g}, {splits} of {len(chosen)} {trained.split_noun}"
                yield ChoicesAtEnd(name, f"{trained.arm_label(name)} ({place})")


def grid_end_remark(trained: TrainedNetworks, arm: str, setting: int) -> str:
    """A sentence for each value of a setting that is an end of its arm's grid, and that no other arm exceeds."""
    remarks = []
    for end in _grid_ends(trained, arm):
        tried = [value for s in trained.settings if (value := end.grid.value(trained.setting(s))) > 0]
        limit = min(tried) if end.end == "lowest" else max(tried)
        if end.holds(trained.setting(setting)) and limit == end.value:
            quantity = f"{capitalise(end.grid.name)} {end.value:g}"
            remarks.append(f" {quantity} is the {end.end} that was tried: {end.advice}.")
    return "".join(remarks)
