"""Scores of a network's output on held-out rows."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import expit, softmax
from sklearn import metrics

from thinned import uncertainty

__all__ = ["METRICS", "SELECTION", "TASKS", "Metric", "names", "predictions", "score"]

Array = npt.NDArray[np.float64]


class Metric(NamedTuple):
    """The label and the unit of a score, and its direction."""

    label: str
    unit: str
    higher_is_better: bool


METRICS = {
    "log_loss": Metric("Log loss", "nats", False),
    "roc_auc": Metric("ROC-AUC", "0.5 = chance, 1 = perfect", True),
    "pr_auc": Metric("PR-AUC", "share of the class = chance, 1 = perfect", True),
    "accuracy": Metric("Accuracy", "share of examples", True),
    "brier": Metric("Brier score", "squared probability error", False),
    "ece": Metric("Calibration error", "probability", False),
    "rmse": Metric("RMSE", "target units", False),
    "mae": Metric("Mean absolute error", "target units", False),
    "r2": Metric("R²", "share of variance", True),
    "token_accuracy": Metric("Token accuracy", "share of tokens or pixels", True),
    "loss": Metric("Loss", "mean of the examples", False),
}

#: tasks with scores of their own; the others have the mean loss of the examples
TASKS = ("binary", "multiclass", "regression")

#: the score by which networks are compared, for each task
SELECTION = {
    "binary": "log_loss",
    "multiclass": "log_loss",
    "regression": "rmse",
    "multilabel": "loss",
    "tokens": "loss",
    "other": "loss",
}


def names(task: str) -> list[str]:
    """Return the names of a task's scores; the one that selects comes first."""
    if task == "tokens":
        return ["token_accuracy"]
    if task not in TASKS:
        return ["loss"]
    regression = ("rmse", "mae", "r2")
    others = ("loss", "token_accuracy")
    return [name for name in METRICS if name not in others and (name in regression) == (task == "regression")]


def predictions(task: str, output: Array, center: float = 0.0, spread: float = 1.0) -> Array:
    """Turn the output of a network into predictions.

    Args:
        task: "binary", "multiclass" or "regression".
        output: ``(rows, outputs)`` logits, or the standardised value.
        center: mean of the training target (regression).
        spread: standard deviation of the training target (regression).

    Returns:
        Probabilities ``(rows, classes)``, or values ``(rows,)`` in target units.
    """
    if task == "regression":
        return output[:, 0] * spread + center
    if task == "binary":
        positive = expit(output[:, 0])
        return np.stack([1 - positive, positive], axis=1)
    return np.asarray(softmax(output, axis=1))


def score(task: str, predicted: Array, y: npt.NDArray[np.generic], classes: int = 0) -> dict[str, float]:
    """Compute all scores of a task.

    Args:
        task: "binary", "multiclass" or "regression".
        predicted: the result of :func:`predictions`.
        y: ``(rows,)`` class codes, or values in target units.
        classes: number of classes; 0 for regression.
    """
    if task == "regression":
        return {
            "rmse": float(metrics.root_mean_squared_error(y, predicted)),
            "mae": float(metrics.mean_absolute_error(y, predicted)),
            "r2": float(metrics.r2_score(y, predicted)),
        }
    labels = np.arange(classes)
    truth = np.eye(classes)[y]
    probability = predicted[:, 1] if task == "binary" else predicted
    positive = truth[:, 1] if task == "binary" else truth
    return {
        "log_loss": float(metrics.log_loss(y, predicted, labels=labels)),
        "roc_auc": float(metrics.roc_auc_score(y, probability, multi_class="ovr", labels=labels)),
        "pr_auc": float(metrics.average_precision_score(positive, probability)),
        "accuracy": float(metrics.accuracy_score(y, predicted.argmax(1))),
        "brier": float(((predicted - truth) ** 2).sum(1).mean() / (2 if task == "binary" else 1)),
        "ece": uncertainty.expected_calibration_error(torch.from_numpy(probability), torch.from_numpy(y)),
    }
