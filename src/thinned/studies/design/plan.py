"""The plan of a study: everything that its numbers follow from, frozen and hashable."""

import dataclasses
import hashlib
import json
from collections.abc import Collection
from typing import Any, NamedTuple

from thinned.errors import sentence
from thinned.studies.design.arm import Arm
from thinned.studies.design.arms import DEFINITIONS
from thinned.studies.design.budget import default_batch_size, table_epochs
from thinned.studies.design.own_network.network_design import NetworkDesign
from thinned.studies.design.questions import Question, declare
from thinned.studies.design.setting import Setting

__all__ = ["Member", "Plan"]


@dataclasses.dataclass(frozen=True)
class Plan:
    """The grid that a study trains (arms x settings x folds x repeats) and the questions that it asks.

    Attributes:
        arms: ways to regularise; "none" is always the first.
        folds: number of outer test folds.
        seeds: number of repeats. Each shuffles the folds anew and has its own initial weights, data order and masks.
        hidden: widths of the hidden layers; empty where the network is one's own.
        epochs: training budget of every network.
        batch_size: rows of a step. An incomplete last batch is left out; the order of the rows is new every epoch.
        learning_rate: Adam's learning rate.
        seed: the number from which everything random follows.
        task: "binary", "multiclass" or "regression"; of a network of one's own also "multilabel", "tokens" or "other".
        data: SHA-256 of the table.
        rows: number of rows of the table.
        sizes: numbers of training rows at which dropout, weight decay and early stopping are measured as well.
        network: "module:function" of the user's network, or None.
        network_source: SHA-256 of the file that holds the function.
        group: column whose groups stay on one side of each split.
        time: column by which the training rows precede the test rows.
        group_duplicates: copies of a row stay on one side of each split.
        columns: how columns are read, as (name, kind), where the user said so.
        own: what follows from a network of one's own and its examples; None in a study of a table.
        planned_arms: all arms of the plan that this one was restricted from, by which settings are numbered and
            questions are declared; None stands for ``arms``.
    """

    arms: tuple[Arm, ...]
    folds: int
    seeds: int
    hidden: tuple[int, ...]
    epochs: int
    batch_size: int
    learning_rate: float
    seed: int
    task: str
    data: str
    rows: int
    sizes: tuple[int, ...] = ()
    network: str | None = None
    network_source: str | None = None
    group: str | None = None
    time: str | None = None
    group_duplicates: bool = False
    columns: tuple[tuple[str, str], ...] = ()
    own: NetworkDesign | None = None
    planned_arms: tuple[Arm, ...] | None = None

    @property
    def settings(self) -> tuple[Setting, ...]:
        """The distinct settings of all planned arms; a record names its setting by the index here."""
        return tuple(dict.fromkeys(setting for arm in self.planned_arms or self.arms for setting in arm.settings))

    @property
    def questions(self) -> tuple[Question, ...]:
        """The declared comparisons of these arms."""
        names = {arm.name for arm in self.arms}
        declared = declare(self.planned_arms or self.arms) if self.own is None else self.own.questions
        return tuple(q for q in declared if {q.arm, q.against} <= names)

    @property
    def network_design(self) -> NetworkDesign:
        """The part that only a study of a network of one's own has.

        Raises:
            ValueError: it is the plan of a table.
        """
        if self.own is None:
            raise ValueError(sentence("the plan must be that of a network of one's own", "it is that of a table"))
        return self.own

    @property
    def rows_outside_test(self) -> int:
        """The number of rows that train or validate one network; by time, in the mean over the folds."""
        stage = "nested" if self.own is None else self.own.stage
        if self.own is not None and (self.own.test_examples or stage == "pilot"):
            return self.rows if self.own.test_examples else self.rows // 2
        tested = 2 * self.folds if stage == "confirm" else self.folds
        if self.time:
            return int(self.rows * (3 / 4 - 1 / (4 * self.folds) if stage == "confirm" else 1 / 2))
        return int(self.rows * (1 - 1 / tested))

    def arm(self, name: str) -> Arm:
        """The arm of this name.

        Raises:
            KeyError: the plan has no such arm.
        """
        for arm in self.arms:
            if arm.name == name:
                return arm
        raise KeyError(name)

    def setting_indices(self, arm: Arm) -> list[int]:
        """The indices of an arm's settings in :attr:`settings`, in the arm's order."""
        settings = self.settings
        return [settings.index(setting) for setting in arm.settings]

    def restricted_to(self, finished: Collection[Setting]) -> "Plan":
        """Return the part of the plan whose settings are all finished; settings keep their indices.

        An arm that is a mix of others keeps the settings that are finished; any other arm is kept whole or left out.
        """
        arms = []
        for arm in self.arms:
            settings = tuple(setting for setting in arm.settings if setting in finished)
            if settings == arm.settings:
                arms.append(arm)
            elif settings and arm.kind == "mix":
                arms.append(dataclasses.replace(arm, settings=settings))
        return dataclasses.replace(self, arms=tuple(arms), planned_arms=self.planned_arms or self.arms)

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON types; arms refer to the settings by index."""
        shown = dataclasses.asdict(self) | {
            "arms": [
                {"name": arm.name, "label": arm.label, "settings": self.setting_indices(arm), "warning": arm.warning}
                for arm in self.arms
            ],
            "settings": [setting.to_dict() | {"label": setting.label} for setting in self.settings],
            "questions": [question._asdict() for question in self.questions],
        }
        shown["own"] = None if self.own is None else self.own.to_dict()
        del shown["planned_arms"]
        for name in ("group_duplicates", "columns", "own"):  # of later versions: plans without them keep their digest
            if not shown[name]:
                del shown[name]
        return json.loads(json.dumps(shown))  # type: ignore[no-any-return]

    @property
    def digest(self) -> str:
        """Hexadecimal hash by which a finished run is recognised."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:16]

    @property
    def networks(self) -> int:
        """The number of networks that the study trains."""
        return len(self.members())

    def members(self) -> list["Member"]:
        """Every network of the study."""
        places = [(repeat, fold) for repeat in range(self.seeds) for fold in range(self.folds)]
        sized = [number for number, setting in enumerate(self.settings) if setting in self.sized]
        return [Member(*place, number) for place in places for number in range(len(self.settings))] + [
            Member(*place, number, size) for size in self.sizes for place in places for number in sized
        ]

    @property
    def sized(self) -> tuple[Setting, ...]:
        """The settings that are measured at several sizes."""
        names = {definition.arm.name for definition in DEFINITIONS if definition.at_sizes}
        return tuple(setting for arm in self.arms if arm.name in names for setting in arm.settings)

    def at_size(self, size: int) -> "Plan":
        """Budget and batch size for so many training rows; 0 is all of them."""
        if not size:
            return self
        batch_size = min(default_batch_size(size), size)
        return dataclasses.replace(self, epochs=table_epochs(size, batch_size), batch_size=batch_size)


class Member(NamedTuple):
    """One network of the study: its split, the number of its setting, and of its training rows (0: all)."""

    repeat: int
    fold: int
    setting: int
    size: int = 0
