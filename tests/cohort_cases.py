"""Small cohorts: a plan, data of every task, and a setting of every kind."""

import numpy as np
import torch

from thinned.studies.design.arm import Arm
from thinned.studies.design.plan import Plan
from thinned.studies.design.setting import Setting
from thinned.studies.training import cohort

__all__ = ["EVERY_KIND", "PLAN", "SETTINGS", "make_data"]

SETTINGS = (Setting(), Setting(dropout=0.3), Setting(dropout=0.7))
PLAN = Plan(
    arms=(Arm("none", "none", SETTINGS[:1]), Arm("dropout", "dropout", SETTINGS[1:])),
    folds=2,
    seeds=1,
    hidden=(8, 8),
    epochs=3,
    batch_size=16,
    learning_rate=1e-2,
    seed=5,
    task="binary",
    data="",
    rows=120,
)
EVERY_KIND = [
    Setting(weight_decay=2.0),
    Setting(dropout=0.4, where="input"),
    Setting(dropout=0.4, where="first"),
    Setting(dropout=0.4, where="last"),
    Setting(dropout=0.4, where="output"),
    Setting(batch_norm="after"),
    Setting(dropout=0.4, batch_norm="after"),
    Setting(dropout=0.4, batch_norm="before"),
    Setting(dropout=0.4, one_mask=True),
    Setting(dropout=0.4, max_norm=0.5, weight_decay=1.0),
    Setting(dropout=0.4, schedule="early"),
    Setting(dropout=0.4, schedule="late"),
]


def make_data(seed: int, task: str = "binary") -> cohort.Data:
    """120 rows of five columns: 70 to train, 25 to validate, 25 to test."""
    rng = np.random.default_rng(seed)
    x = torch.tensor(rng.normal(size=(120, 5)), dtype=torch.float32)
    signal = x[:, 0] + 0.5 * x[:, 1]
    y = {
        "binary": (signal > 0).long(),
        "multiclass": (signal > 0).long() + (signal > 1).long(),
        "regression": signal,
    }[task]
    rows = torch.tensor(rng.permutation(120))
    return cohort.Data(x, y, rows[:70], rows[70:95], rows[95:])
