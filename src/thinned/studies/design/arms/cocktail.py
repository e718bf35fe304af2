"""The best of all other arms' settings and of a few mixes, by validation loss."""

from thinned.studies.design.arm import Arm
from thinned.studies.design.definition import ArmDefinition, QuestionDefinition
from thinned.studies.design.setting import Setting

__all__ = ["DEFINITION"]

DEFINITION = ArmDefinition(
    order=170,
    arm=Arm(
        "cocktail",
        "the best mix",
        (
            Setting(dropout=0.3, batch_norm="after", weight_decay=0.1),
            Setting(dropout=0.1, embedding="piecewise", weight_decay=1.0),
            Setting(dropout=0.3, embedding="piecewise", weight_decay=1.0),
        ),
        kind="mix",
    ),
    questions=(QuestionDefinition(200, "none", "Does the best mix help?"),),
)
