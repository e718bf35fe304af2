"""Batch norm on the hidden layers, without dropout (Ioffe & Szegedy 2015)."""

from thinned.studies.design.arm import Arm
from thinned.studies.design.definition import ArmDefinition, QuestionDefinition
from thinned.studies.design.setting import Setting

__all__ = ["DEFINITION"]

DEFINITION = ArmDefinition(
    order=70,
    arm=Arm(
        "batch_norm",
        "batch norm",
        (Setting(batch_norm="after"),),
    ),
    questions=(QuestionDefinition(60, "none", "Does batch norm help?"),),
)
