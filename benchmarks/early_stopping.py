"""``ThinnedClassifier`` and ``ThinnedRegressor`` with their patience and with the whole budget, on several tables.

    python benchmarks/early_stopping.py [--seeds 4] [--tables wine churn] [--patience 5] [--dropout 0.6]

All else is the default, as is the patience if none is given. Seven tenths of the rows are for fitting, others for each
seed. Printed are the mean losses on the rest (log loss in nats, or squared error in variances of the target), their
difference in pairs with its standard error, the error rates, and the processor's seconds of a fit.
"""

import argparse
import time
import warnings
from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from sklearn.datasets import (
    load_breast_cancer,
    load_diabetes,
    load_digits,
    load_iris,
    load_wine,
    make_classification,
    make_friedman1,
)
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split

from thinned import datasets
from thinned.estimators import ThinnedClassifier, ThinnedRegressor, UnlikeStudyWarning

Rows = tuple[pd.DataFrame, np.ndarray]
NO_PATIENCE = 10**6  # epochs


def churn(rows: int) -> Rows:
    frame = datasets.churn().sample(rows, random_state=0)
    return frame.drop(columns="churn"), frame["churn"].to_numpy()


def framed(rows: tuple[np.ndarray, np.ndarray]) -> Rows:
    return pd.DataFrame(rows[0]).add_prefix("x"), rows[1]


def noisy(rows: int) -> Rows:
    return framed(make_classification(rows, 20, n_informative=6, n_redundant=0, flip_y=0.2, random_state=1))


def friedman(rows: int) -> Rows:
    return framed(make_friedman1(rows, 10, noise=1.0, random_state=0))


CLASSES: dict[str, Callable[[], Rows]] = {
    "iris": lambda: framed(load_iris(return_X_y=True)),
    "wine": lambda: framed(load_wine(return_X_y=True)),
    "breast cancer": lambda: framed(load_breast_cancer(return_X_y=True)),
    "digits": lambda: framed(load_digits(return_X_y=True)),
    "churn, 600 rows": lambda: churn(600),
    "churn": lambda: churn(5000),
    "noisy classes": lambda: noisy(2000),
}
VALUES: dict[str, Callable[[], Rows]] = {
    "diabetes": lambda: framed(load_diabetes(return_X_y=True)),
    "friedman, 200 rows": lambda: friedman(200),
    "friedman": lambda: friedman(1500),
}


def measure(x: pd.DataFrame, y: np.ndarray, classes: bool, seed: int, **options: float | None) -> tuple[float, ...]:
    """Loss and error on held-out rows, and the processor's seconds of the fit."""
    parts = train_test_split(x, y, test_size=0.3, random_state=seed, stratify=y if classes else None)
    training, rest, truth, others = parts
    estimator = (ThinnedClassifier if classes else ThinnedRegressor)(random_state=seed, **options)
    began = time.process_time()
    estimator.fit(training, truth)
    seconds = time.process_time() - began
    if not classes:
        return float(np.mean((estimator.predict(rest) - others) ** 2) / others.var()), np.nan, seconds
    probability = estimator.predict_proba(rest)
    wrong = estimator.classes_[probability.argmax(1)] != others
    return log_loss(others, probability, labels=estimator.classes_), float(wrong.mean()), seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--tables", nargs="*", default=[*CLASSES, *VALUES])
    parser.add_argument("--patience", type=int, help="epochs; the default is by rows")
    parser.add_argument("--dropout", type=float, default=0.2)
    args = parser.parse_args()
    warnings.simplefilter("ignore", UnlikeStudyWarning)
    torch.set_num_threads(1)
    print(
        f"{'table':>18}{'rows':>6}{'loss':>9}{'budget':>9}{'difference':>18}{'error':>8}{'budget':>8}  seconds, budget"
    )
    for name in args.tables:
        x, y = (CLASSES | VALUES)[name]()
        stopped, whole = (
            np.array(
                [
                    measure(x, y, name in CLASSES, seed, patience=patience, dropout=args.dropout)
                    for seed in range(args.seeds)
                ]
            )
            for patience in (args.patience, NO_PATIENCE)
        )
        apart = (stopped - whole)[:, 0]
        error = apart.std(ddof=1) / args.seeds**0.5
        (loss, wrong, seconds), (other_loss, other_wrong, other_seconds) = stopped.mean(0), whole.mean(0)
        print(
            f"{name:>18}{len(y):>6}{loss:9.4f}{other_loss:9.4f}{apart.mean():+10.4f} ± {error:.4f}"
            f"{wrong:8.4f}{other_wrong:8.4f}{seconds:9.2f}{other_seconds:8.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
