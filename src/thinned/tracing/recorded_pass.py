"""Runs one training forward pass of a copy of a model under a recorder."""

from collections.abc import Callable, Mapping
from typing import Generic, NamedTuple, TypeVar

from torch import nn

from thinned.errors import sentence
from thinned.tracing.eager_stance import eager_stance
from thinned.tracing.model_copy import copy_modules
from thinned.tracing.silent_recorder import SilentRecorder, generators_kept

__all__ = ["RecordedPass", "run_recorded"]

OneRecorder = TypeVar("OneRecorder", bound=SilentRecorder)


class RecordedPass(NamedTuple, Generic[OneRecorder]):
    """A recorder after its pass, and what the model returned in it."""

    recorder: OneRecorder
    output: object


def run_recorded(
    model: nn.Module, make: Callable[[nn.Module], OneRecorder], args: tuple[object, ...], kwargs: Mapping[str, object]
) -> RecordedPass[OneRecorder]:
    """Run a copy of ``model``, with the same parameters and all submodules training.

    Args:
        model: any module, which stays as it is.
        make: makes the recorder of the copy.
        args: positional arguments of the forward.
        kwargs: keyword arguments of the forward.

    Raises:
        TypeError: ``model`` is not a module.
        Exception: whatever the forward pass raises.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(sentence("model must be a torch.nn.Module", f"got {type(model).__name__}"))
    copied = copy_modules(model)
    recorder = make(copied)
    with generators_kept(), eager_stance(), recorder.hooks(), recorder:
        copied.train()
        recorder.recording = True
        output = copied(*args, **kwargs)
    return RecordedPass(recorder, output)
