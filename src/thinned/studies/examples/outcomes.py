"""Losses and scores of a network's output on examples."""

import warnings
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from sklearn.exceptions import UndefinedMetricWarning

from thinned.errors import InputError, sentence
from thinned.studies import metrics
from thinned.studies.examples.targets import ExampleTask
from thinned.studies.user_code import user_code

__all__ = ["ExampleScore", "count_right_tokens", "example_losses", "output_tensor", "predictions", "scores"]

#: from a network's output and the targets of a batch to a number for each example; lower is better
ExampleScore = Callable[..., torch.Tensor]
_IGNORED = -100  # torch's ignore_index: a padded token


def output_tensor(output: object) -> torch.Tensor:
    """The tensor of a network's output: itself, or its ``logits``, as networks of transformers return them.

    Raises:
        InputError: there is none.
    """
    found = output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", output)
    if not isinstance(found, torch.Tensor):
        remedy = "return a tensor, or pass loss= and score="
        raise InputError(sentence("the network must return a tensor", f"got {type(output).__name__}", remedy))
    return found


def example_losses(
    task: ExampleTask, output: object, y: torch.Tensor, loss: ExampleScore | None = None
) -> torch.Tensor:
    """Loss of each example, in nats or squared units.

    - "multiclass": cross-entropy of logits ``(n, classes)``.
    - "binary": cross-entropy of one logit, ``(n,)`` or ``(n, 1)``, or of two, ``(n, 2)``.
    - "regression" and "other": squared error, its mean where an example has several numbers.
    - "multilabel": binary cross-entropy, its mean over an example's labels.
    - "tokens": cross-entropy of logits ``(n, classes, …)`` or ``(n, …, classes)``, its mean over an example's tokens or
      pixels except those with the label −100.

    Args:
        task: what is predicted.
        output: of the network; for the losses above a tensor, or an object with one as ``logits``.
        y: ``(n, …)`` targets.
        loss: takes output and targets, and returns the loss of each example instead.

    Returns:
        ``(n,)``, float32 or more.

    Raises:
        InputError: the output does not fit the targets.
    """
    if loss is not None:
        with user_code("score must take every output of the network with its targets"):
            own = loss(output, y)
        if not isinstance(own, torch.Tensor) or own.shape != (len(y),):
            value = f"got {tuple(own.shape) if isinstance(own, torch.Tensor) else type(own).__name__}"
            raise InputError(sentence(f"score must return one number for each of {len(y)} examples", value))
        return own.float()
    z = output_tensor(output)
    z = z.float() if z.dtype in (torch.bfloat16, torch.float16) else z
    if task == "multiclass":
        return F.cross_entropy(_logits(z, y), _labels(y).reshape(-1), reduction="none")
    if task == "binary":
        return F.binary_cross_entropy_with_logits(_one_logit(z, y), y.reshape(-1).to(z.dtype), reduction="none")
    if task == "tokens":
        return _token_losses(z, _labels(y))
    if z.shape != y.shape and z.numel() != y.numel():
        raise _misfit(z, y, "numbers of the targets' shape")
    target = y.reshape(z.shape).to(z.dtype)
    if task == "multilabel":
        errors = F.binary_cross_entropy_with_logits(z, target, reduction="none")
    elif task == "regression" or y.is_floating_point():
        errors = (z - target) ** 2
    else:
        raise InputError(sentence("these targets have no loss of their own", f"they are {y.dtype}", "pass score="))
    return errors.reshape(len(y), -1).mean(1)


def count_right_tokens(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Number of tokens or pixels whose own class is the most probable one, and of all but those of −100.

    Args:
        output: ``(n, classes, …)`` or ``(n, …, classes)`` logits.
        y: ``(n, …)`` classes.

    Returns:
        ``(n, 2)`` both numbers of each example, int64.

    Raises:
        InputError: the output does not fit the targets.
    """
    counted = y != _IGNORED
    predicted = output.argmax(_class_axis(output, y))
    return torch.stack([((predicted == y) & counted).reshape(len(y), -1).sum(1), counted.reshape(len(y), -1).sum(1)], 1)


def scores(task: ExampleTask, outputs: torch.Tensor | None, y: torch.Tensor, losses: torch.Tensor) -> dict[str, float]:
    """Scores of a network on a test set: the mean loss, and those of its task.

    Args:
        task: what is predicted.
        outputs: ``(n, outputs)``; None where the network returns no tensor.
        y: ``(n,)`` targets.
        losses: ``(n,)``.

    Raises:
        InputError: the output does not fit the targets.
    """
    mean = {"loss": float(losses.double().mean())}
    if outputs is None or task not in ("binary", "multiclass", "regression"):
        return mean
    predicted = predictions(task, outputs, y)
    if task == "regression":
        return mean | metrics.score(task, predicted, y.reshape(-1).double().numpy())
    classes = predicted.shape[1]
    with warnings.catch_warnings():  # NaN says it, where not every class is there
        warnings.simplefilter("ignore", UndefinedMetricWarning)
        warnings.filterwarnings("ignore", "No positive class", UserWarning)
        return mean | metrics.score(task, predicted, y.reshape(-1).numpy().astype(np.int64), classes)


def predictions(task: ExampleTask, outputs: torch.Tensor, y: torch.Tensor) -> npt.NDArray[np.float64]:
    """What a network predicts: probabilities ``(n, classes)``, or values ``(n,)``.

    Args:
        task: "binary", "multiclass" or "regression".
        outputs: ``(n, outputs)``.
        y: ``(n,)`` targets.

    Raises:
        InputError: the output does not fit the targets.
    """
    z = outputs.double()
    if task == "binary":
        z = _one_logit(z, y)[:, None]
    predicted = metrics.predictions(task, z.reshape(len(y), -1).numpy())
    if task != "regression" and predicted.shape[1] <= int(y.max()):
        raise _misfit(z, y, "(examples, classes)")
    return predicted


def _logits(z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    if z.ndim != 2 or len(z) != len(y) or z.shape[1] < 2:
        raise _misfit(z, y, "(examples, classes)")
    return z


def _one_logit(z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    if z.shape == (len(y), 2):
        return z[:, 1] - z[:, 0]
    if z.numel() != len(y):
        raise _misfit(z, y, "(examples,), (examples, 1) or (examples, 2)")
    return z.reshape(-1)


def _labels(y: torch.Tensor) -> torch.Tensor:
    return y if y.dtype == torch.int64 else y.long()


def _token_losses(z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    errors = F.cross_entropy(z.movedim(_class_axis(z, y), 1), y, reduction="none", ignore_index=_IGNORED)
    counted = (y != _IGNORED).reshape(len(y), -1).sum(1)
    return errors.reshape(len(y), -1).sum(1) / counted.clamp_min(1)


def _class_axis(z: torch.Tensor, y: torch.Tensor) -> int:
    """The axis of the classes of tokens: the second or the last."""
    first = z.ndim == y.ndim + 1 and z.shape[0] == y.shape[0] and z.shape[2:] == y.shape[1:]
    last = z.ndim == y.ndim + 1 and z.shape[:-1] == y.shape
    if first and last:
        remedy = "pass loss= and score="
        value = f"got {tuple(z.shape)} for targets of {tuple(y.shape)}"
        raise InputError(sentence("the classes must be on one axis of the output", value, remedy))
    if not first and not last:
        raise _misfit(z, y, "(examples, classes, …) or (examples, …, classes)")
    return -1 if last else 1


def _misfit(z: torch.Tensor, y: torch.Tensor, wanted: str) -> InputError:
    value = f"got {tuple(z.shape)} for targets of {tuple(y.shape)}"
    return InputError(sentence(f"the network's output must be {wanted}", value, "change the network, or pass task="))
