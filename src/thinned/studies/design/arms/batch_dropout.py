"""One sub-network for all rows of a mini-batch."""

from thinned.studies.design.arm import Arm
from thinned.studies.design.definition import ArmDefinition, QuestionDefinition, dropout_settings
from thinned.studies.design.setting import Setting

__all__ = ["DEFINITION"]

DEFINITION = ArmDefinition(
    order=120,
    arm=Arm(
        "batch_dropout",
        "one mask for each mini-batch",
        dropout_settings(base=Setting(one_mask=True)),
    ),
    questions=(QuestionDefinition(150, "dropout", "Is one mask for each mini-batch better than one for each row?"),),
)
