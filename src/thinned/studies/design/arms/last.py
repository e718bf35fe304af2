"""Dropout on the last hidden layer alone."""

from thinned.studies.design.arm import Arm
from thinned.studies.design.definition import ArmDefinition, QuestionDefinition, dropout_settings
from thinned.studies.design.setting import Setting

__all__ = ["DEFINITION"]

DEFINITION = ArmDefinition(
    order=50,
    arm=Arm(
        "last",
        "dropout on the last hidden layer",
        dropout_settings(base=Setting(where="last")),
    ),
    questions=(QuestionDefinition(90, "dropout", "Is dropout better on the last hidden layer than on all?"),),
)
