"""Piecewise-linear encoding of numeric columns together with dropout."""

from thinned.studies.design.arm import Arm
from thinned.studies.design.definition import ArmDefinition, QuestionDefinition, dropout_settings
from thinned.studies.design.setting import Setting

__all__ = ["DEFINITION"]

DEFINITION = ArmDefinition(
    order=160,
    arm=Arm(
        "piecewise_dropout",
        "piecewise-linear numbers and dropout",
        dropout_settings(base=Setting(embedding="piecewise")),
    ),
    questions=(QuestionDefinition(190, "piecewise", "Does dropout help a network with piecewise-linear numbers?"),),
)
