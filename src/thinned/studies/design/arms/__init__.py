"""The arms of a study, one a file; this package collects the ``DEFINITION`` of each in their declared order."""

import importlib
import pkgutil
from collections.abc import Mapping

from thinned.studies.design.arm import Arm
from thinned.studies.design.definition import ArmDefinition, Grid, Technique

__all__ = ["ARMS", "DEFINITIONS", "GRIDS", "TECHNIQUES"]


def _definitions() -> tuple[ArmDefinition, ...]:
    modules = (importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__))
    return tuple(sorted((module.DEFINITION for module in modules), key=lambda definition: definition.order))


DEFINITIONS = _definitions()
#: what is compared unless the user chooses; early stopping is arm "none", read at its best epoch
ARMS: Mapping[str, Arm] = {definition.arm.name: definition.arm for definition in DEFINITIONS}
#: the quantities that arms choose from a grid
GRIDS: tuple[Grid, ...] = tuple(grid for definition in DEFINITIONS for grid in definition.grids)
#: the effects of the names in ``Setting.extras``
TECHNIQUES: Mapping[str, Technique] = {
    name: technique for definition in DEFINITIONS for name, technique in definition.techniques.items()
}
