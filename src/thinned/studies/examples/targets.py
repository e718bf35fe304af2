"""What is predicted: the task, its classes, and the values by which examples are stratified."""

from typing import Literal, NamedTuple, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
import torch

from thinned.errors import InputError, sentence

__all__ = ["ExampleTask", "Targets", "check_task", "read_targets"]

ExampleTask: TypeAlias = Literal["binary", "multiclass", "regression", "multilabel", "tokens", "other"]


class Targets(NamedTuple):
    """The targets of a set of examples.

    Attributes:
        task: what is predicted.
        classes: names of the classes that occur, ``()`` where an example has not one class.
        values: (examples,) class codes, positions in ``classes``; float64 values for regression; zeros elsewhere.
    """

    task: ExampleTask
    classes: tuple[str, ...]
    values: npt.NDArray[np.int64] | npt.NDArray[np.float64]


def check_task(task: str | None) -> None:
    """Refuse a task that there is none of.

    Raises:
        InputError: there is no such task.
    """
    if task is not None and task not in get_args(ExampleTask):
        raise InputError(sentence(f"task must be one of {', '.join(get_args(ExampleTask))}", f"got {task!r}"))


def read_targets(y: torch.Tensor | None, count: int, task: ExampleTask | None = None) -> Targets:
    """Settle the task, and read classes or values.

    Without ``task``, one whole number or truth value an example is a class: "binary" of two, else "multiclass". So is
    one number that is 0 or 1 everywhere. Every other single number is "regression". Several numbers an example that are
    0 or 1 are several labels ("multilabel"); several whole numbers, or zeros and ones in two or more dimensions, are
    one class a token or pixel ("tokens"); anything else is "other".

    Args:
        y: (examples, ...) targets; None where their shape differs from batch to batch.
        count: number of examples.
        task: overrides what would be inferred.

    Raises:
        InputError: there is no such task, targets are not finite or don't fit the task, or there is one class only.
    """
    check_task(task)
    zeros = np.zeros(count, dtype=np.int64)
    if y is None:
        return Targets(task or "other", (), zeros)
    if y.is_floating_point() and not bool(torch.isfinite(y).all()):
        example = int((~torch.isfinite(y)).reshape(len(y), -1).any(1).nonzero()[0])
        raise InputError(sentence("targets must be finite numbers", f"that of example {example} is not"))
    settled = task or _infer(y)
    single = y.ndim == 1 or (y.ndim == 2 and y.shape[1] == 1)
    if settled in ("binary", "multiclass", "regression") and not single:
        raise InputError(
            sentence(f'task="{settled}" needs one target an example', f"one has the shape {tuple(y.shape[1:])}")
        )
    if settled == "regression":
        return Targets(settled, (), y.reshape(-1).numpy().astype(np.float64))
    if settled in ("binary", "multiclass"):
        return _classes(y.reshape(-1), settled)
    return Targets(settled, (), zeros)


def _infer(y: torch.Tensor) -> ExampleTask:
    labels = bool(((y == 0) | (y == 1)).all())
    if y.ndim == 1 or (y.ndim == 2 and y.shape[1] == 1):
        if y.is_floating_point() and not labels:
            return "regression"
        return "binary" if len(np.unique(y.numpy())) == 2 else "multiclass"
    if labels and (y.is_floating_point() or y.ndim == 2):
        return "multilabel"
    return "other" if y.is_floating_point() or y.is_complex() else "tokens"


def _classes(y: torch.Tensor, task: ExampleTask) -> Targets:
    present, codes = np.unique(y.numpy(), return_inverse=True)
    wanted = sentence("class labels must be whole numbers from 0", f"got {present[0]:g}", "pass floats for numbers")
    if present[0] < 0 or (present != present.round()).any():
        raise InputError(wanted)
    if len(present) < 2:
        raise InputError(sentence("targets must differ", f"all examples have the label {present[0]:g}"))
    if task == "binary" and present.tolist() != [0, 1]:
        remedy = "number them so, or pass task='multiclass'"
        raise InputError(sentence("two classes must have the labels 0 and 1", f"got {present.tolist()[:5]}", remedy))
    return Targets(task, tuple(f"{label:g}" for label in present), codes.reshape(-1).astype(np.int64))
