"""No regularisation; read at its best epoch, this is early stopping."""

from thinned.studies.design.arm import Arm
from thinned.studies.design.definition import ArmDefinition, QuestionDefinition
from thinned.studies.design.setting import Setting

__all__ = ["DEFINITION"]

DEFINITION = ArmDefinition(
    order=0,
    arm=Arm(
        "none",
        "no regularisation",
        (Setting(),),
        kind="reference",
    ),
    questions=(QuestionDefinition(20, "none", "Does early stopping help?", against_when="end"),),
    at_sizes=True,
)
