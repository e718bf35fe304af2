"""Dropout together with a limit on the norm of incoming weights (Srivastava et al. 2014, §5.1)."""

from thinned.studies.design.arm import Arm
from thinned.studies.design.definition import ArmDefinition, Grid, QuestionDefinition
from thinned.studies.design.setting import Setting

__all__ = ["DEFINITION"]

DEFINITION = ArmDefinition(
    order=110,
    arm=Arm(
        "dropout_max_norm",
        "dropout and max-norm",
        tuple(Setting(dropout=rate, max_norm=norm) for rate in (0.3, 0.5) for norm in (1.0, 2.0)),
    ),
    questions=(QuestionDefinition(140, "dropout", "Does max-norm help beside dropout?"),),
    grids=(Grid("max norm", lambda setting: setting.max_norm or 0.0),),
)
