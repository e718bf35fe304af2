"""Held-out ROC-AUC of the recommended network against scikit-learn's MLPClassifier with early stopping, same folds.

    python benchmarks/sklearn_mlp.py [--out runs/churn]

Runs (or takes over) the demo's study, then fits MLPClassifier(early_stopping=True), with its other defaults, on the
training and validation rows of every outer fold (it holds out its own validation tenth), once on the study's encoding
and once on scikit-learn's usual one, standardised numbers and one-hot levels.
"""

import argparse
import warnings
from pathlib import Path

import numpy as np
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import roc_auc_score
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import thinned
from thinned.studies.design.make_plan import make_plan
from thinned.studies.design.splits import make_splits
from thinned.studies.table.encoding import Encoder
from thinned.studies.table.load import load


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/churn"))
    args = parser.parse_args()
    study = thinned.study(thinned.datasets.churn(), "churn", out=args.out)
    table = load(thinned.datasets.churn(), "churn")
    chosen = study.results.verdict.recommended.setting
    setting = next(setting for setting in study.results.settings if setting.index == chosen)
    found: dict[str, list[float]] = {"the study's encoding": [], "scikit-learn's usual encoding": []}
    warnings.simplefilter("ignore", ConvergenceWarning)
    for split in make_splits(make_plan(table), table):
        rows = np.concatenate([split.train, split.validation])
        usual = make_column_transformer(
            (StandardScaler(), make_column_selector(dtype_include="number")),
            (OneHotEncoder(handle_unknown="ignore"), make_column_selector(dtype_exclude="number")),
            sparse_threshold=0,
        )
        for name, encoder in zip(found, (Encoder(), usual), strict=True):
            encoder.fit(table.features.iloc[rows])
            model = MLPClassifier(early_stopping=True, random_state=split.repeat)
            model.fit(encoder.transform(table.features.iloc[rows]), table.target[rows])
            probability = model.predict_proba(encoder.transform(table.features.iloc[split.test]))[:, 1]
            found[name].append(float(roc_auc_score(table.target[split.test], probability)))
    print(f"recommended network ({setting.label}): ROC-AUC {setting.best.scores['roc_auc'].mean:.4f}")
    for name, values in found.items():
        print(f"MLPClassifier, early stopping, {name}: ROC-AUC {np.mean(values):.4f}")


if __name__ == "__main__":
    main()
