"""Dropout directly before batch norm, the order that shifts variances (Li et al. 2019)."""

from thinned.studies.design.arm import Arm
from thinned.studies.design.definition import ArmDefinition, QuestionDefinition, dropout_settings
from thinned.studies.design.setting import Setting

__all__ = ["DEFINITION"]

DEFINITION = ArmDefinition(
    order=80,
    arm=Arm(
        "dropout_before_bn",
        "dropout before batch norm",
        dropout_settings(base=Setting(batch_norm="before")),
    ),
    questions=(QuestionDefinition(120, "dropout_after_bn", "Is dropout better before batch norm than after it?"),),
)
