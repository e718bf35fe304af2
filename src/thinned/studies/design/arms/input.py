"""Dropout on the encoded columns."""

from thinned.studies.design.arm import Arm
from thinned.studies.design.definition import ArmDefinition, QuestionDefinition, dropout_settings
from thinned.studies.design.setting import Setting

__all__ = ["DEFINITION"]

DEFINITION = ArmDefinition(
    order=30,
    arm=Arm(
        "input",
        "dropout on the input",
        dropout_settings(base=Setting(where="input")),
    ),
    questions=(QuestionDefinition(70, "dropout", "Is dropout better on the input than on all hidden layers?"),),
)
