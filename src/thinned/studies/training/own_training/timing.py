"""Measures how long a training function of the user's takes: by one whole network, since its steps are its own."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from thinned.errors import sentence
from thinned.studies.cores import one_core
from thinned.studies.design.plan import Member
from thinned.studies.design.setting import Setting
from thinned.studies.design.splits import Split
from thinned.studies.training.network_run import NetworkStudy
from thinned.studies.training.own_training.fields import needed_fields
from thinned.studies.training.own_training.train import OwnTraining, train_by_function
from thinned.studies.training.stopwatch import Stopwatch
from thinned.studies.user_code import UserCodeError

__all__ = ["measure_function"]

_SHORT = 60.0  # seconds, against which imports count


def measure_function(study: NetworkStudy, setting: Setting, settings: Sequence[Setting], split: Split) -> float:
    """Train one network of a study and throw it away: seconds that it took, scores included.

    A first call also imports and compiles what it needs: where it is short, a second one is measured. What the function
    does not do as it must is found here, before anything is stored.

    Args:
        study: what its networks are trained from.
        setting: of the network.
        settings: those of the plan, in which the function must let networks differ.
        split: numbers of the examples that train, validate and test.

    Raises:
        InputError: as :func:`thinned.studies.training.own_training.train.train_by_function`.
    """
    needed = needed_fields(settings, study.config)
    training = OwnTraining(study.functions, study.application, study.examples, split, study.config, setting, needed, 0)
    try:
        seconds = _seconds(training)
        return seconds if seconds > _SHORT else _seconds(training)
    except UserCodeError as error:
        log = Path(tempfile.mkdtemp(prefix="thinned-")) / "error.log"
        log.write_text(f"{error}\n\n{error.trace}", encoding="utf-8")
        raise UserCodeError(sentence(str(error), f"the traceback is in {log}"), error.trace) from None


def _seconds(training: OwnTraining) -> float:
    watch = Stopwatch()
    with one_core():
        train_by_function(training, Member(training.split.repeat, training.split.fold, 0))
    return watch.seconds()
