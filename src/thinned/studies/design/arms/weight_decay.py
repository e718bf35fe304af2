"""Decoupled weight decay (AdamW, Loshchilov & Hutter 2019)."""

from thinned.studies.design.arm import Arm
from thinned.studies.design.definition import ArmDefinition, Grid, QuestionDefinition
from thinned.studies.design.setting import Setting

__all__ = ["DEFINITION"]

DEFINITION = ArmDefinition(
    order=20,
    arm=Arm(
        "weight_decay",
        "weight decay",
        tuple(Setting(weight_decay=decay) for decay in (0.01, 0.1, 0.3, 1.0)),
    ),
    questions=(QuestionDefinition(40, "none", "Does weight decay help, when both stop early?"),),
    grids=(Grid("weight decay", lambda setting: setting.weight_decay),),
    at_sizes=True,
)
