"""Dropout together with weight decay."""

from thinned.studies.design.arm import Arm
from thinned.studies.design.definition import ArmDefinition, QuestionDefinition
from thinned.studies.design.setting import Setting

__all__ = ["DEFINITION"]

DEFINITION = ArmDefinition(
    order=100,
    arm=Arm(
        "dropout_weight_decay",
        "dropout and weight decay",
        tuple(Setting(dropout=rate, weight_decay=decay) for rate in (0.3, 0.5) for decay in (0.1, 0.3)),
    ),
    questions=(QuestionDefinition(130, "dropout", "Does weight decay help beside dropout?"),),
)
