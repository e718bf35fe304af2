"""Dropout after batch norm and the activation."""

from thinned.studies.design.arm import Arm
from thinned.studies.design.definition import ArmDefinition, QuestionDefinition, dropout_settings
from thinned.studies.design.setting import Setting

__all__ = ["DEFINITION"]

DEFINITION = ArmDefinition(
    order=90,
    arm=Arm(
        "dropout_after_bn",
        "dropout after batch norm",
        dropout_settings(base=Setting(batch_norm="after")),
    ),
    questions=(QuestionDefinition(110, "batch_norm", "Does dropout help a network with batch norm?"),),
)
