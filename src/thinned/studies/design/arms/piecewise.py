"""Piecewise-linear encoding of numeric columns (Gorishniy et al. 2022), without dropout."""

from thinned.studies.design.arm import Arm
from thinned.studies.design.definition import ArmDefinition, QuestionDefinition
from thinned.studies.design.setting import Setting

__all__ = ["DEFINITION"]

DEFINITION = ArmDefinition(
    order=150,
    arm=Arm(
        "piecewise",
        "piecewise-linear numbers",
        (Setting(embedding="piecewise"),),
    ),
    questions=(QuestionDefinition(180, "none", "Do piecewise-linear numbers help?"),),
)
