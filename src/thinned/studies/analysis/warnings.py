"""Warnings: what a reader should know before trusting a study, each with its numbers and a next step."""

import enum
import shlex
from collections.abc import Iterator, Mapping, Sequence

import msgspec
import numpy as np

from thinned.studies.analysis.grid_ends import choices_at_ends
from thinned.studies.analysis.leakage import baseline_loss, leaking_columns, lookup_score
from thinned.studies.analysis.selection import TrainedNetworks
from thinned.studies.design.duplicates import find_duplicates
from thinned.studies.design.splits import make_splits
from thinned.studies.examples.notices import ExampleNotice
from thinned.studies.metrics import METRICS
from thinned.studies.results import Comparison, StudyWarning
from thinned.studies.table.load import Table
from thinned.studies.table.names import quote
from thinned.studies.table.readings import DropReading
from thinned.studies.wording import capitalise, in_text, interval_decimals, number, plural

__all__ = ["WarningKind", "few_seeds", "pilot_warnings", "study_warnings"]

_FEW_ROWS = 500  # Srivastava et al. 2014, fig. 10: no gain from dropout with 100 and with 500 examples
_FEW_SPLITS = 6  # 5 degrees of freedom: with fewer the interval is half as wide again as with many
_FEW_SEEDS = 5  # benchmarks/coverage_crossed.py: fewer seeds cover less than 93 % where seeds and examples both matter
_TOO_COARSE = 0.05  # of the baseline's loss
_FEW_CLASS_ROWS = (
    20  # test rows of a class: the share of them that is predicted right has a standard error of up to 0.11
)
_MORE_EPOCHS = 4  # times the present budget
_SMALL = 0.05  # of a loss
_NEAR_CHANCE = 0.1  # of ROC-AUC or R²
_DIVERGED = 2.0  # times the first epoch's training loss


class WarningKind(enum.Enum):
    """A kind of warning: its title and its next step. The name in lower case is its code."""

    ROW_NUMBERS = (
        "A column that numbers the rows is used as an input",
        "Leave it out with --column NAME=drop, unless its values mean something.",
    )
    DIVERGED = (
        "Some networks diverged",
        "Lower the learning rate, or look for extreme values in the target and the numeric columns.",
    )
    LEAKING_COLUMN = (
        "One column predicts the target by itself",
        "Ask whether the column is known when a prediction is made. If not, remove it and run the study again.",
    )
    DUPLICATE_ROWS = (
        "Rows occur several times",
        "Keep copies on one side of every split (--group-duplicates), or remove them from the table.",
    )
    NOTHING_LEARNT = (
        "Hardly anything was learnt",
        "Look at the target and the columns first: no regularisation helps where there is nothing to learn.",
    )
    NO_GAIN_SHOWN = (
        "The loss is not shown to be below that of a constant prediction",
        "Judge by the other scores as well. Look for extreme values in the target, or for overconfident predictions.",
    )
    FEW_ROWS = (
        "Each network had few examples",
        "Collect more examples if you can. Until then, compare with a simpler model.",
    )
    FEW_SPLITS = ("The intervals come from few splits", "Run the study with more folds or seeds.")
    FEW_SEEDS = (
        "The intervals come from few seeds",
        "Run the study with at least 5 seeds, better 10.",
    )
    SMALL_TEST_FOLD = (
        f"A difference of {100 * _TOO_COARSE:.0f}\u00a0% could have been missed",
        "Do not read this as “no difference”. More examples narrow the interval most; more seeds help a little.",
    )
    FEW_CLASS_ROWS = (
        "A test fold has few rows of a class",
        "Use fewer folds, or collect more rows of that class.",
    )
    BUDGET = (
        "Some arms were still improving when the budget ended",
        "Run the study with more epochs: these arms may move up.",
    )
    UNREPORTED = (
        "It is unknown whether networks were still improving",
        "Call run.report(epoch, validation_loss) in the training function after each epoch.",
    )
    GRID_EDGE = ("Some choices lie at an end of their grid", "Extend the grid beyond the end that was chosen.")
    NO_OVERFITTING = (
        "Without regularisation the networks fit new examples as well as those that they trained on",
        "Expect little of regularisation here. A wider network or more epochs may do more.",
    )
    SHARED_GROUPS = (
        "The test set has groups of the training set",
        "Take these groups out of one of the two sets, unless new data will come from the same groups.",
    )
    TARGET_SCALE = (
        "The targets are far from the scale of a network's first outputs",
        "Subtract the targets' mean, divide by their standard deviation, and run the study again.",
    )
    COLUMN_READING = (
        "Cells of a column can be read in another way",
        "Look at these cells. If the reading is wrong, choose another with --column NAME=KIND.",
    )
    IDENTIFIER = (
        "A column with a different value in every row was left out",
        "Keep it only if its values mean something beyond this table.",
    )

    @property
    def code(self) -> str:
        """The warning's code in ``results.json``."""
        return self.name.lower()

    @property
    def title(self) -> str:
        """The warning in a few words."""
        return self.value[0]

    @property
    def next_step(self) -> str:
        """Advice to the reader."""
        return self.value[1]

    def warn(self, message: str) -> StudyWarning:
        """A warning of this kind; the message says what was found."""
        return StudyWarning(code=self.code, title=self.title, message=message, next_step=self.next_step)


def study_warnings(
    trained: TrainedNetworks,
    comparisons: Sequence[Comparison],
    table: Table | None = None,
    pilot: TrainedNetworks | None = None,
    notices: Sequence[ExampleNotice] = (),
) -> list[StudyWarning]:
    """The warnings of a study, in the order of :class:`WarningKind`.

    Args:
        trained: the trained networks.
        comparisons: the answers to the questions.
        table: the studied table; without it, warnings about the table are not checked.
        pilot: the networks of the pilot that chose the settings, if there was one.
        notices: what was found in the examples of a network of one's own.
    """
    warnings = [
        *_diverged(trained),
        *_few(trained),
        *_coarse(trained, comparisons),
        *_budget_limited(trained),
        *_unreported(trained),
        *_grid_edges(trained),
        *_no_overfitting(trained),
    ]
    if table is not None:
        warnings += [*_leaks(table), *_duplicates(trained, table)]
        warnings += [*_nothing_learnt(trained, table), *_few_class_rows(trained, table)]
        warnings += _readings(table)
    if pilot is not None:
        warnings += [
            msgspec.structs.replace(w, message=f"In the pilot: {in_text(w.message)}") for w in pilot_warnings(pilot)
        ]
    warnings += [WarningKind[notice.code.upper()].warn(notice.message) for notice in notices]
    order = [kind.code for kind in WarningKind]
    return sorted(warnings, key=lambda warning: order.index(warning.code))


def pilot_warnings(trained: TrainedNetworks) -> list[StudyWarning]:
    """The warnings about a pilot: settings that diverged, and choices at an end of their grid.

    Args:
        trained: the networks of the pilot.
    """
    return [*_diverged(trained), *_grid_edges(trained)]


def _readings(table: Table) -> Iterator[StudyWarning]:
    numbering = []
    for notice in table.notices:
        if notice.code == "identifier" and not isinstance(table.readings.get(notice.column), DropReading):
            numbering.append(notice.column)
        else:
            kind = WarningKind.IDENTIFIER if notice.code == "identifier" else WarningKind.COLUMN_READING
            yield kind.warn(notice.message)
    if numbering:
        drop = " ".join(f"--column {shlex.quote(f'{name}=drop')}" for name in numbering)
        next_step = WarningKind.ROW_NUMBERS.next_step.replace("--column NAME=drop", drop)
        message = f"{', '.join(map(quote, numbering))}: the values number the rows."
        yield msgspec.structs.replace(WarningKind.ROW_NUMBERS.warn(message), next_step=next_step)


def _diverged(trained: TrainedNetworks) -> Iterator[StudyWarning]:
    """One warning for the settings that are left out, and one for those whose training loss rose."""
    networks = len(trained.splits)
    lost = {capitalise(trained.setting(s).label): count for s, count in trained.diverged.items()}
    if len(lost) == 1:
        label, count = next(iter(lost.items()))
        found = f"{label}: {count} of {networks} networks have losses that are not finite. The setting is left out."
        yield WarningKind.DIVERGED.warn(found)
    elif lost:
        yield WarningKind.DIVERGED.warn(
            f"Networks of {len(lost)} settings have losses that are not finite. The settings are left out: "
            f"{_listed(lost, networks)}."
        )
    risen = {}
    for setting in trained.settings:
        # a training function of the user's reports no training losses
        curves = [split[setting].curves.train or (None,) for split in trained.splits]
        count = sum(_last(curve) > _DIVERGED * _first(curve) for curve in curves)
        if count:
            risen[capitalise(trained.setting(setting).label)] = count
    rise = f"more than {_DIVERGED:g} times as large at the end as after the first epoch"
    if len(risen) == 1:
        label, count = next(iter(risen.items()))
        yield WarningKind.DIVERGED.warn(f"{label}: the training loss of {count} of {networks} networks is {rise}.")
    elif risen:
        yield WarningKind.DIVERGED.warn(
            f"The training loss of networks of {len(risen)} settings is {rise}: {_listed(risen, networks)}."
        )


def _listed(counts: Mapping[str, int], networks: int) -> str:
    """Settings, each with its number of networks."""
    return ", ".join(f"{in_text(label)} ({count} of {networks} networks)" for label, count in counts.items())


def _first(curve: Sequence[float | None]) -> float:
    return np.nan if curve[0] is None else curve[0]


def _last(curve: Sequence[float | None]) -> float:
    return np.nan if curve[-1] is None else curve[-1]


def _few(trained: TrainedNetworks) -> Iterator[StudyWarning]:
    plan = trained.plan
    rows, noun = plan.rows_outside_test, f"{trained.noun}s"
    if rows < _FEW_ROWS:
        subject = "On average, a network" if plan.time else "Each network"
        yield WarningKind.FEW_ROWS.warn(
            f"{subject} had {rows} {noun} for training and validation. Below {_FEW_ROWS}, the findings depend strongly "
            f"on which {noun} these are."
        )
    if trained.has_given_test:
        yield from few_seeds(len(trained.splits))
    elif len(trained.splits) < _FEW_SPLITS:
        yield WarningKind.FEW_SPLITS.warn(f"All intervals come from {len(trained.splits)} splits, which widens them.")


def few_seeds(seeds: int) -> list[StudyWarning]:
    """The warning of a study with a given test set whose intervals rest on few seeds; none from 5 seeds on."""
    if seeds >= _FEW_SEEDS:
        return []
    return [
        WarningKind.FEW_SEEDS.warn(
            f"All intervals come from {seeds} seeds. Such intervals are wide, and may contain the true difference in "
            f"fewer than 93\u00a0% of studies rather than 95\u00a0%."
        )
    ]


def _coarse(trained: TrainedNetworks, comparisons: Sequence[Comparison]) -> Iterator[StudyWarning]:
    """A primary comparison without a finding that could have missed what matters."""
    score = float(trained.arm_scores(trained.baseline, "best").mean())
    for c in comparisons:
        open_outcome = c.outcome in {"not enough evidence", "budget too small"}
        if c.primary and open_outcome and c.detectable > _TOO_COARSE * score:
            yield WarningKind.SMALL_TEST_FOLD.warn(
                f"Only a difference of {100 * c.detectable / score:.0f}\u00a0% of the "
                f"{in_text(METRICS[trained.selection].label)} of {in_text(trained.arm_label(trained.baseline))} would "
                "have been detected with 80\u00a0% power."
            )


def _budget_limited(trained: TrainedNetworks) -> Iterator[StudyWarning]:
    """Arms whose best epoch is among the last of the budget on most splits."""
    limited = []
    for name, settings in trained.arms.items():
        chosen = trained.choose(settings, "best")
        if trained.is_budget_limited(chosen):
            limited.append(
                f"{trained.arm_label(name)} ({trained.late_splits(chosen)} of {len(chosen)} {trained.split_noun})"
            )
    if not limited:
        return
    epochs = f"{trained.plan.epochs} epochs" if trained.trains_itself else "the epochs that were reported"
    last = f"at {'its' if len(limited) == 1 else 'their'} best in the last 5\u00a0% of {epochs}"
    if len(limited) == len(trained.arms) > 2:
        message = f"All {len(limited)} arms were {last} on most splits."
    else:
        message = f"{_these_arms(limited)} {last}: {', '.join(limited)}."
    option = f"{'--epochs ' if trained.plan.own is None else 'epochs='}{_MORE_EPOCHS * trained.plan.epochs}"
    arms = "this arm" if len(limited) == 1 else "these arms"
    next_step = f"Run the study with {option}: {arms} may move up."
    if not trained.trains_itself:
        next_step = "Train for more epochs in the training function."
    yield msgspec.structs.replace(WarningKind.BUDGET.warn(message), next_step=next_step)


def _these_arms(arms: Sequence[str]) -> str:
    return "This arm was" if len(arms) == 1 else "These arms were"


def _unreported(trained: TrainedNetworks) -> Iterator[StudyWarning]:
    """Networks of which a training function of the user's did not report two epochs."""
    networks = [network for split in trained.splits for network in split.values()]
    count = sum(len(network.curves.validation) < 2 for network in networks)
    if count and not trained.trains_itself:
        yield WarningKind.UNREPORTED.warn(
            f"The training function reported no validation losses of {count} of {len(networks)} networks, so that a "
            "budget too small would not be seen."
        )


def _grid_edges(trained: TrainedNetworks) -> Iterator[StudyWarning]:
    """Arms whose chosen setting lies at an end of their grid on most splits, if the grid has an inside."""
    edges = list(choices_at_ends(trained))
    if edges:
        arms = list(dict.fromkeys(edge.arm for edge in edges))
        found = f"{_these_arms(arms)} mostly chosen at an end of {'its' if len(arms) == 1 else 'their'} grid"
        yield WarningKind.GRID_EDGE.warn(f"{found}: {', '.join(edge.words for edge in edges)}.")


def _no_overfitting(trained: TrainedNetworks) -> Iterator[StudyWarning]:
    """Test losses that exceed training losses by little: the whole interval of the gap is small."""
    setting = trained.least_loss(trained.arms[trained.baseline])
    test = trained.losses(setting, "end", "test")
    train = trained.losses(setting, "end", "train")
    if not np.isfinite(train).all():  # the user's training function alone can score
        return
    gap = trained.interval(test - train.reshape(-1, *[1] * (test.ndim - 1)))
    if gap.high <= _SMALL * test.mean():
        decimals = interval_decimals(gap.low, gap.high)
        low, high = (number(limit, decimals, signed=True) for limit in (gap.low, gap.high))
        yield WarningKind.NO_OVERFITTING.warn(
            f"{capitalise(trained.setting(setting).label)}: after the last epoch the test loss exceeds the training "
            f"loss by {number(gap.mean, decimals, signed=True)} (95\u00a0% interval {low} to {high}), at most "
            f"{_SMALL:.0%} of the test loss of {test.mean():.3g}."
        )


def _leaks(table: Table) -> Iterator[StudyWarning]:
    score = "R²" if table.task == "regression" else "ROC-AUC"
    for column in leaking_columns(table):
        yield WarningKind.LEAKING_COLUMN.warn(
            f"Column “{column.name}” alone predicts the target with a held-out {score} of {column.score:.3f}."
        )


def _duplicates(trained: TrainedNetworks, table: Table) -> Iterator[StudyWarning]:
    duplicates = find_duplicates(table)
    if duplicates is None:
        return
    score, metric = lookup_score(table, duplicates.codes, make_splits(trained.plan, table))
    apart = f", apart from column “{duplicates.apart_from}”" if duplicates.apart_from is not None else ""
    yield WarningKind.DUPLICATE_ROWS.warn(
        f"{duplicates.rows:,} of {len(table.target):,} rows occur several times{apart}, and copies fall on both sides "
        f"of a split. A lookup of test rows among the training rows, without any learning, has a "
        f"{METRICS[metric].label} of {score:.3f}."
    )


def _nothing_learnt(trained: TrainedNetworks, table: Table) -> Iterator[StudyWarning]:
    """A loss that is not shown to be below a constant prediction's; and, if the scores agree, that nothing is learnt.

    Hardly anything was learnt only where the gain over a constant prediction is shown to be small and the scores that
    do not depend on calibration are near chance.
    """
    best = trained.least_loss(trained.settings)
    loss, constant = trained.losses(best, "best", "test"), baseline_loss(table)
    gain = trained.interval(constant - loss)
    if gain.low > 0:
        return
    name, chance = ("r2", 0.0) if table.task == "regression" else ("roc_auc", 0.5)
    score = float(np.nanmean(trained.scores([best] * len(trained.splits), "best", name)))
    is_chance = score < chance + _NEAR_CHANCE and gain.high < _SMALL * constant
    kind = WarningKind.NOTHING_LEARNT if is_chance else WarningKind.NO_GAIN_SHOWN
    decimals = interval_decimals(gain.low, gain.high)
    low, high = (number(limit, decimals, signed=True) for limit in (gain.low, gain.high))
    unit = " (squared error in units of the target's variance)" if table.task == "regression" else ""
    yield kind.warn(
        f"{capitalise(trained.setting(best).label)}, best on validation, has a test loss of {loss.mean():.3g}{unit}; a "
        f"constant prediction has {constant:.3g} (95\u00a0% interval of the improvement {low} to {high}). "
        f"{METRICS[name].label} is {score:.2f}."
    )


def _few_class_rows(trained: TrainedNetworks, table: Table) -> Iterator[StudyWarning]:
    if table.task == "regression":
        return
    counts = np.bincount(table.target, minlength=len(table.classes))
    rarest = int(counts.argmin())
    rows = counts[rarest] / (trained.plan.folds + bool(trained.plan.time))
    if rows < _FEW_CLASS_ROWS:
        yield WarningKind.FEW_CLASS_ROWS.warn(
            f"A test fold has about {plural(round(rows), 'row')} of class “{table.classes[rarest]}” "
            f"({counts[rarest]:,} of {counts.sum():,} rows)."
        )
