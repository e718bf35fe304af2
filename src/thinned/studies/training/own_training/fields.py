"""The fields of a run in which the settings of a plan differ, and which a training function must therefore read."""

from collections.abc import Iterable

from thinned.errors import InputError, sentence
from thinned.studies.design.setting import Setting
from thinned.studies.training.loop.config import NetworkConfig

__all__ = ["check_fields", "needed_fields"]

#: the fields, with the remedy where a training function does not read them
_REMEDIES = {
    "weight_decay": "pass it to the optimizer, or leave the arms of weight decay out with arms=",
    "learning_rate": "pass it to the optimizer, or leave learning_rate= and learning_rates= out",
}


def needed_fields(settings: Iterable[Setting], config: NetworkConfig) -> tuple[str, ...]:
    """Names of the fields that the user or an arm has chosen.

    Args:
        settings: those of the plan.
        config: of the study; its learning rate is chosen where it is not the default.
    """
    chosen = {
        "weight_decay": any(setting.weight_decay for setting in settings),
        "learning_rate": config.learning_rate != NetworkConfig.learning_rate
        or any(setting.learning_rate for setting in settings),
    }
    return tuple(name for name, needed in chosen.items() if needed)


def check_fields(needed: Iterable[str], fields_read: set[str]) -> None:
    """Refuse a function that trains settings alike which differ: the study would report no difference.

    Args:
        needed: names of the fields that it must read.
        fields_read: names of those that it read.

    Raises:
        InputError: it did not read one.
    """
    for name in needed:
        if name not in fields_read:
            requirement = f"train must use run.{name}, in which arms differ or which was given"
            raise InputError(sentence(requirement, "it never read it", _REMEDIES[name]))
