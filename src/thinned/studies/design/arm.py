"""An arm: one way to regularise, with the settings among which validation rows choose."""

import dataclasses
from typing import Literal, TypeAlias

from thinned.errors import InputError, sentence
from thinned.studies.design.setting import Setting

__all__ = ["Arm", "ArmKind"]

#: without regularisation; with some; the best of all other arms' settings
ArmKind: TypeAlias = Literal["reference", "method", "mix"]


@dataclasses.dataclass(frozen=True)
class Arm:
    """One way to regularise, with the settings among which validation rows choose.

    Attributes:
        name: short name, unique in a study.
        label: the arm in words, for tables and charts.
        settings: at least one setting; the choice among them is made anew in every split.
        warning: the reason not to recommend the arm although it is measured; None where there is none.
        kind: "reference" is without regularisation, a "mix" holds the settings of all other arms, and a "method" is
            any other arm.
    """

    name: str
    label: str
    settings: tuple[Setting, ...]
    warning: str | None = None
    kind: ArmKind = dataclasses.field(default="method", kw_only=True, compare=False)

    def __post_init__(self) -> None:
        """Refuse an arm without settings."""
        if not self.settings:
            raise InputError(sentence("an arm must have a setting", f"{self.name!r} has none"))
