"""How numbers should enter the network: held-out scores of encodings on the churn table.

    python benchmarks/encodings.py

Ten outer splits, no dropout, a rate of 0.3, and that with weight decay, batches of 128, at most 50 epochs, best
validation epoch. Only the numeric columns differ; categories are one-hot in all.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.preprocessing import OneHotEncoder, QuantileTransformer, StandardScaler
from skrub import SquashingScaler

from thinned import datasets
from thinned.studies.design.arm import Arm
from thinned.studies.design.make_plan import make_plan
from thinned.studies.design.setting import Setting
from thinned.studies.table.encoding import Encoder
from thinned.studies.table.load import load
from thinned.studies.training import jobs as studies_run
from thinned.studies.training.store import Store

NUMBERS = make_column_selector(dtype_include="number")
LEVELS = make_column_selector(dtype_exclude="number")


class Scaled:
    """A scikit-learn scaler for numbers, one-hot levels."""

    def __init__(self, scaler: Any) -> None:
        self.columns = make_column_transformer(
            (scaler, NUMBERS), (OneHotEncoder(handle_unknown="ignore"), LEVELS), sparse_threshold=0
        )

    def fit(self, features: pd.DataFrame, rows: np.ndarray) -> "Scaled":
        self.columns.fit(features.iloc[rows])
        return self

    def transform(self, features: pd.DataFrame) -> np.ndarray:
        return np.ascontiguousarray(self.columns.transform(features), dtype=np.float32)


ENCODERS: dict[str, Callable[[str | None], Any]] = {
    "value and rank (ours)": lambda embedding: Encoder(),
    "value, rank and pieces (ours, piecewise)": lambda embedding: Encoder("piecewise"),
    "standardised value": lambda embedding: Scaled(StandardScaler()),
    "normal scores of ranks": lambda embedding: Scaled(
        QuantileTransformer(output_distribution="normal", n_quantiles=1000)
    ),
    "robust scaling, soft clip": lambda embedding: Scaled(SquashingScaler()),
}
SETTINGS = (Setting(), Setting(dropout=0.3), Setting(dropout=0.3, weight_decay=1.0))


def main() -> None:
    table = load(datasets.churn(), "churn")
    plan = make_plan(table, arms=[Arm("own", "the settings", SETTINGS[1:])], batch_size=128, epochs=50)
    heads = [f"{score}, {setting.label}" for score in ("log loss", "ROC-AUC") for setting in SETTINGS]
    print(f"| numbers | {' | '.join(heads)} |\n|{'---|' * (1 + len(heads))}")
    for name, encoder in ENCODERS.items():
        studies_run.Encoder = encoder  # type: ignore[misc, assignment]
        store = Store.in_memory(plan)
        studies_run.run(table, plan, store, lambda step: None)
        scores = [
            np.mean([n.best.scores[score] for n in store.networks() if plan.settings[n.setting] == setting])
            for score in ("log_loss", "roc_auc")
            for setting in SETTINGS
        ]
        print(f"| {name} | {' | '.join(f'{score:.4f}' for score in scores)} |", flush=True)


if __name__ == "__main__":
    main()
