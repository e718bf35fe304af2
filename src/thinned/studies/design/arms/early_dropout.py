"""Dropout in the first epochs only, against underfitting (Liu et al. 2023)."""

from thinned.studies.design.arm import Arm
from thinned.studies.design.definition import ArmDefinition, QuestionDefinition, dropout_settings
from thinned.studies.design.setting import Setting

__all__ = ["DEFINITION"]

DEFINITION = ArmDefinition(
    order=130,
    arm=Arm(
        "early_dropout",
        "early dropout",
        dropout_settings(base=Setting(schedule="early")),
    ),
    questions=(QuestionDefinition(160, "dropout", "Is early dropout better than dropout throughout?"),),
)
