"""How numbers should enter the network: held-out scores of encodings on the churn table.

    python benchmarks/encodings.py

Ten outer splits, no dropout and a rate of 0.3, batches of 128, at most 50 epochs, best validation epoch. Only the
numeric columns differ; categories are one-hot in all.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.preprocessing import OneHotEncoder, QuantileTransformer, StandardScaler
from skrub import SquashingScaler

from thinned import datasets
from thinned.studies import run as studies_run
from thinned.studies.analysis import analyse
from thinned.studies.encoding import Encoder
from thinned.studies.plan import make_plan
from thinned.studies.store import Store
from thinned.studies.table import load

NUMBERS = make_column_selector(dtype_include="number")
LEVELS = make_column_selector(dtype_exclude="number")


class Scaled:
    """A scikit-learn scaler for numbers, one-hot levels."""

    def __init__(self, scaler: Any) -> None:
        self.columns = make_column_transformer(
            (scaler, NUMBERS), (OneHotEncoder(handle_unknown="ignore"), LEVELS), sparse_threshold=0
        )

    def fit(self, features: pd.DataFrame) -> "Scaled":
        self.columns.fit(features)
        return self

    def transform(self, features: pd.DataFrame) -> np.ndarray:
        return np.ascontiguousarray(self.columns.transform(features), dtype=np.float32)


ENCODERS: dict[str, Callable[[], Any]] = {
    "value and rank (ours)": Encoder,
    "standardised value": lambda: Scaled(StandardScaler()),
    "normal scores of ranks": lambda: Scaled(QuantileTransformer(output_distribution="normal", n_quantiles=1000)),
    "robust scaling, soft clip": lambda: Scaled(SquashingScaler()),
}


def main() -> None:
    table = load(datasets.churn(), "churn")
    plan = make_plan(table, rates=(0.0, 0.3), batch_size=128, epochs=50)
    print(
        "| numbers | log loss, no dropout | log loss, 0.3 | ROC-AUC, no dropout | ROC-AUC, 0.3 |\n|---|---|---|---|---|"
    )
    for name, encoder in ENCODERS.items():
        studies_run.Encoder = encoder  # type: ignore[misc, assignment]
        store = Store.in_memory(plan)
        studies_run.run(table, plan, store, lambda step: None)
        arms = analyse(store.records(), plan.to_dict())["arms"]
        scores = [f"{arm['best']['scores'][score]['mean']:.4f}" for score in ("log_loss", "roc_auc") for arm in arms]
        print(f"| {name} | {' | '.join(scores)} |")


if __name__ == "__main__":
    main()
