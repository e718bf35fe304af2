"""Dropout on the output: a common mistake, measured and never recommended."""

from thinned.studies.design.arm import Arm
from thinned.studies.design.definition import ArmDefinition, QuestionDefinition, dropout_settings
from thinned.studies.design.setting import Setting

__all__ = ["DEFINITION"]

DEFINITION = ArmDefinition(
    order=60,
    arm=Arm(
        "output",
        "dropout on the output",
        dropout_settings((0.1,), Setting(where="output")),
        warning="dropout on the output only adds noise to the prediction that is learned from",
    ),
    questions=(QuestionDefinition(100, "dropout", "Is dropout better on the output than on the hidden layers?"),),
)
