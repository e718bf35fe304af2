"""Dropout on all hidden layers (Srivastava et al. 2014)."""

from thinned.studies.design.arm import Arm
from thinned.studies.design.definition import ArmDefinition, Grid, QuestionDefinition, dropout_settings

__all__ = ["DEFINITION", "RATES"]

#: rates that are tried unless the user chooses
RATES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)

DEFINITION = ArmDefinition(
    order=10,
    arm=Arm(
        "dropout",
        "dropout",
        dropout_settings(RATES),
    ),
    questions=(
        QuestionDefinition(10, "none", "Does dropout help, when both stop early?"),
        QuestionDefinition(30, "none", "Is dropout for the full budget better than early stopping?", when="end"),
        QuestionDefinition(50, "weight_decay", "Is dropout better than weight decay?"),
    ),
    grids=(Grid("rate", lambda setting: setting.dropout),),
    at_sizes=True,
)
