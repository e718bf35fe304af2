"""Dropout after the first epochs only (Liu et al. 2023)."""

from thinned.studies.design.arm import Arm
from thinned.studies.design.definition import ArmDefinition, QuestionDefinition, dropout_settings
from thinned.studies.design.setting import Setting

__all__ = ["DEFINITION"]

DEFINITION = ArmDefinition(
    order=140,
    arm=Arm(
        "late_dropout",
        "late dropout",
        dropout_settings(base=Setting(schedule="late")),
    ),
    questions=(QuestionDefinition(170, "dropout", "Is late dropout better than dropout throughout?"),),
)
