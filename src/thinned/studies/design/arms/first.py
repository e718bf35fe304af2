"""Dropout on the first hidden layer alone."""

from thinned.studies.design.arm import Arm
from thinned.studies.design.definition import ArmDefinition, QuestionDefinition, dropout_settings
from thinned.studies.design.setting import Setting

__all__ = ["DEFINITION"]

DEFINITION = ArmDefinition(
    order=40,
    arm=Arm(
        "first",
        "dropout on the first hidden layer",
        dropout_settings(base=Setting(where="first")),
    ),
    questions=(QuestionDefinition(80, "dropout", "Is dropout better on the first hidden layer than on all?"),),
)
