"""The recommended model against RealMLP's defaults: held-out scores on the churn table, same folds, in one run.

    pip install -c constraints.txt -e '.[bench]'
    python benchmarks/realmlp.py [--refit-only] [--arms dropout,piecewise_dropout,cocktail] [--folds 3] [--seed 0]

Each outer training part is given whole to both: to pytabkit's ``RealMLP_TD_Classifier()`` with nothing but a seed (text
columns as pandas categories, which it takes for such), and to ``thinned.study``, whose recommended model predicts the
test part. What is recommended is thus chosen anew in every fold, and without its test rows. ``--refit-only`` leaves
the study out and fits the recommended model's networks for one setting, the mix named in ``MIX``: what a user pays who
knows it already.
"""

import argparse
import importlib.metadata
import time
from collections.abc import Callable

import numpy as np
import pandas as pd
from pytabkit import RealMLP_TD_Classifier
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.model_selection import StratifiedKFold

import thinned
from thinned import datasets
from thinned.studies.design.arm import Arm
from thinned.studies.design.make_plan import make_plan
from thinned.studies.design.setting import Setting
from thinned.studies.model import model
from thinned.studies.table.load import load
from thinned.studies.training.config import TrainingConfig

MIX = Setting(dropout=0.3, embedding="piecewise", weight_decay=1.0)
LINE = "ROC-AUC {:.4f}, log loss {:.4f}, {:.1f} s"


def realmlp(train: pd.DataFrame, test: pd.DataFrame, seed: int) -> np.ndarray:
    def features(frame: pd.DataFrame) -> pd.DataFrame:
        frame = frame.drop(columns="churn")
        text = frame.columns[[not pd.api.types.is_numeric_dtype(kind) for kind in frame.dtypes]]
        return frame.astype(dict.fromkeys(text, "category"))

    peer = RealMLP_TD_Classifier(random_state=seed, device="cpu")
    peer.fit(features(train), (train.churn == "yes").astype(int))
    return peer.predict_proba(features(test))[:, 1]


def study(arms: list[str] | None) -> Callable[[pd.DataFrame, pd.DataFrame, int], np.ndarray]:
    def fit(train: pd.DataFrame, test: pd.DataFrame, seed: int) -> np.ndarray:
        finished = thinned.study(train, target="churn", arms=arms, seed=seed)
        print(f"  recommended: {finished.results['verdict']['recommended']['label']}")
        return finished.model.predict(test.drop(columns="churn"))[:, 1]

    return fit


def refit(train: pd.DataFrame, test: pd.DataFrame, seed: int) -> np.ndarray:
    table = load(train, "churn")
    plan = make_plan(table, arms=[Arm("mix", "the mix", (MIX,))], seed=seed)
    return model.fit(table, TrainingConfig.of_plan(plan), MIX).predict(test.drop(columns="churn"))[:, 1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arms", type=lambda text: text.split(","))
    parser.add_argument("--refit-only", action="store_true")
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    frame = datasets.churn()
    y = (frame.churn == "yes").to_numpy()
    own = {f"refit of {MIX.label}": refit} if args.refit_only else {"study and recommended model": study(args.arms)}
    contenders = own | {"RealMLP_TD_Classifier()": realmlp}
    rows: dict[str, list[tuple[float, float, float]]] = {name: [] for name in contenders}
    folds = StratifiedKFold(args.folds, shuffle=True, random_state=args.seed).split(frame, y)
    for fold, (train, test) in enumerate(folds):
        for name, fit in contenders.items():
            start = time.perf_counter()
            probability = fit(frame.iloc[train], frame.iloc[test], args.seed + fold)
            seconds = time.perf_counter() - start
            rows[name].append((roc_auc_score(y[test], probability), log_loss(y[test], probability), seconds))
            print(f"fold {fold}, {name}: {LINE.format(*rows[name][-1])}", flush=True)
    print(f"pytabkit {importlib.metadata.version('pytabkit')}, means of {args.folds} folds:")
    for name, found in rows.items():
        print(f"{name}: {LINE.format(*np.mean(found, axis=0))}")


if __name__ == "__main__":
    main()
