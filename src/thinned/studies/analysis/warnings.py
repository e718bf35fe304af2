"""What a reader should know before trusting a study: an enumerated kind each, with the numbers and a next step."""

import enum
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from thinned.studies.analysis.comparisons import label_of, metric_name
from thinned.studies.analysis.leakage import chance, telling_columns
from thinned.studies.analysis.selection import Trained
from thinned.studies.table.load import Table

__all__ = ["Caution", "Warned", "cautions"]

_ROWS = 500  # Srivastava et al. 2014, fig. 10: no gain from dropout with 100 and with 500 examples
_SPLITS = 6  # 5 degrees of freedom: with fewer the interval is half as wide again as with many
_TOO_COARSE = 0.05  # of the baseline's loss
_RARE = 20  # test rows of a class: the share of them that is told right has a standard error of up to 0.11
_LAST = 0.95  # of the budget
_MOST = 0.5  # of the splits
_BLOWN_UP = 2.0  # times the first epoch's training loss
_GRIDS = ("dropout", "weight_decay", "max_norm")


class Caution(enum.Enum):
    """A kind of warning: the name in lower case is its code, the value its next step."""

    DIVERGED = "Lower the learning rate, or look for extreme values in the target and the numeric columns."
    LEAKING_COLUMN = (
        "Ask whether the column is known at the time of prediction; if it is not, remove it and run the study again."
    )
    NOTHING_LEARNT = (
        "Look at the target and the columns first: no regularisation helps where there is nothing to learn."
    )
    FEW_ROWS = "Collect more rows if you can; until then take a simpler model into the comparison."
    FEW_SPLITS = "Run the study with more folds or seeds (--folds, --seeds)."
    SMALL_TEST_FOLD = (
        "Do not read it as “no difference”: more rows narrow the interval, and more seeds (--seeds) do to some extent."
    )
    RARE_CLASS = "Use fewer folds (--folds), or collect more rows of that class."
    BUDGET = "Run the study with more epochs (--epochs): the ranking of these arms may change."
    GRID_EDGE = "Extend the grid beyond the end that was chosen."
    NO_OVERFITTING = (
        "Expect little of any regularisation here; a wider network or more epochs (--hidden, --epochs) may do more."
    )

    @property
    def code(self) -> str:
        """As ``results.json`` has it."""
        return self.name.lower()


class Warned(NamedTuple):
    """A warning of this study."""

    caution: Caution
    message: str

    def to_dict(self) -> dict[str, str]:
        """As ``results.json`` has it."""
        return {"code": self.caution.code, "message": self.message, "next_step": self.caution.value}


def cautions(trained: Trained, comparisons: Sequence[Mapping[str, Any]], table: Table | None = None) -> list[Warned]:
    """The warnings of a study, in the order of :class:`Caution`.

    Args:
        trained: its networks.
        comparisons: of ``results.json``.
        table: what was studied; without it, what would need it is not checked.
    """
    found = [
        *_diverged(trained),
        *_few(trained),
        *_coarse(trained, comparisons),
        *_budget(trained),
        *_edges(trained),
        *_no_overfitting(trained),
    ]
    if table is not None:
        found += [*_leaks(table), *_nothing_learnt(trained, table), *_rare_class(trained, table)]
    order = list(Caution)
    return sorted(found, key=lambda warned: order.index(warned.caution))


def _diverged(trained: Trained) -> Iterator[Warned]:
    for setting, count in trained.diverged.items():
        message = (
            f"With {trained.setting(setting)['label']}, the losses of {count} of {len(trained.splits)} networks are "
            "not finite: the setting is left out."
        )
        yield Warned(Caution.DIVERGED, message)
    for setting in trained.settings:
        curves = [split[setting]["curves"]["train"] for split in trained.splits]
        count = sum(curve[-1] > _BLOWN_UP * curve[0] for curve in curves)
        if count:
            message = (
                f"With {trained.setting(setting)['label']}, the training loss of {count} of {len(curves)} networks is "
                f"more than {_BLOWN_UP:g} times as large at the end as after the first epoch."
            )
            yield Warned(Caution.DIVERGED, message)


def _few(trained: Trained) -> Iterator[Warned]:
    rows = int(trained.plan["rows"] * (1 / 2 if trained.plan["time"] else 1 - 1 / trained.plan["folds"]))
    if rows < _ROWS:
        each = "On average a network" if trained.plan["time"] else "Each network"
        yield Warned(
            Caution.FEW_ROWS,
            f"{each} had {rows} rows for training and validation; below {_ROWS}, what is found depends much on which "
            "rows there are.",
        )
    if len(trained.splits) < _SPLITS:
        yield Warned(
            Caution.FEW_SPLITS, f"All intervals come from {len(trained.splits)} splits, and are the wider for it."
        )


def _coarse(trained: Trained, comparisons: Sequence[Mapping[str, Any]]) -> Iterator[Warned]:
    """Where the primary comparison could not have found what matters."""
    level = float(trained.nested(trained.baseline, "best").mean())
    for c in comparisons:
        if c["primary"] and c["outcome"] == "not enough evidence" and c["detectable"] > _TOO_COARSE * level:
            yield Warned(
                Caution.SMALL_TEST_FOLD,
                f"The test folds are too small to tell: only a difference of {c['detectable'] / level:.0%} of the "
                f"{metric_name(trained.selection)} would have been found four times out of five.",
            )


def _budget(trained: Trained) -> Iterator[Warned]:
    epochs = trained.plan["epochs"]
    limited = []
    for name, settings in trained.arms.items():
        pairs = zip(trained.splits, trained.choose(settings, "best"), strict=True)
        last = sum(split[setting]["best_epoch"] > _LAST * epochs for split, setting in pairs)
        if last > _MOST * len(trained.splits):
            limited.append(f"{label_of(trained, name)} ({last} of {len(trained.splits)} splits)")
    if limited:
        message = f"These arms were at their best in the last {1 - _LAST:.0%} of {epochs} epochs: {', '.join(limited)}."
        yield Warned(Caution.BUDGET, message)


def _edges(trained: Trained) -> Iterator[Warned]:
    """Arms whose chosen setting lies at an end of their grid, if that has an inside, in most splits."""
    found = []
    for name, settings in trained.arms.items():
        chosen = trained.choose(settings, "best")
        for field in _GRIDS:
            value = _of(trained, field)
            grid = sorted({value(s) for s in settings})
            for end, edge in (("lowest", grid[0]), ("highest", grid[-1])):
                times = sum(value(s) == edge for s in chosen)
                # 0 is no regularisation at all: nothing lies beyond
                if len(grid) > 2 and edge > 0 and times > _MOST * len(chosen):
                    what = "rate" if field == "dropout" else field.replace("_", " ")
                    found.append(f"{label_of(trained, name)} ({end} {what} {edge:g}, {times} of {len(chosen)} splits)")
    if found:
        yield Warned(Caution.GRID_EDGE, f"These arms were mostly chosen at an end of their grid: {', '.join(found)}.")


def _of(trained: Trained, field: str) -> Callable[[int], float]:
    return lambda setting: float(trained.setting(setting).get(field) or 0)


def _no_overfitting(trained: Trained) -> Iterator[Warned]:
    setting = trained.least(trained.arms[trained.baseline])
    gap = trained.losses(setting, "end", "test") - trained.losses(setting, "end", "train")
    interval = trained.interval(gap)
    if interval["low"] is not None and interval["low"] <= 0:
        yield Warned(
            Caution.NO_OVERFITTING,
            f"With {trained.setting(setting)['label']} the networks fit rows that they had not seen about as well as "
            f"those they were trained on: after the last epoch the loss differs by {interval['mean']:.2g}.",
        )


def _leaks(table: Table) -> Iterator[Warned]:
    for column, value in telling_columns(table):
        score = "R²" if table.task == "regression" else "ROC-AUC"
        message = f"Column “{column}” alone predicts the target with a held-out {score} of {value:.3f}."
        yield Warned(Caution.LEAKING_COLUMN, message)


def _nothing_learnt(trained: Trained, table: Table) -> Iterator[Warned]:
    best = trained.least(trained.settings)
    loss, constant = trained.losses(best, "best", "test"), chance(table)
    if trained.interval(constant - loss)["low"] <= 0:  # type: ignore[operator]
        yield Warned(
            Caution.NOTHING_LEARNT,
            f"On new rows the best setting's loss is {loss.mean():.3g}; always predicting the same has {constant:.3g}.",
        )


def _rare_class(trained: Trained, table: Table) -> Iterator[Warned]:
    if table.task == "regression":
        return
    counts = np.bincount(table.target, minlength=len(table.classes))
    rarest = int(counts.argmin())
    rows = counts[rarest] / (trained.plan["folds"] + bool(trained.plan["time"]))
    if rows < _RARE:
        message = f"A test fold has about {rows:.0f} rows of class “{table.classes[rarest]}”."
        yield Warned(Caution.RARE_CLASS, message)
