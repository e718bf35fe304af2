"""Arms: the ways to regularise that a study compares, and the questions that it asks of them."""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

from thinned import schedules
from thinned.errors import InputError, sentence

__all__ = ["ARMS", "RATES", "Arm", "ArmKind", "Question", "Setting", "at_epoch", "choose_arms", "declare"]

RATES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
_FEW_RATES = (0.1, 0.3, 0.5)
_DECAYS = (0.01, 0.1, 0.3, 1.0)
_NORMS = (1.0, 2.0)

Where = Literal["input", "first", "last", "hidden", "output"]
When = Literal["best", "end"]
#: without regularisation; with some; the best of all other arms' settings
ArmKind = Literal["reference", "method", "mix"]


@dataclasses.dataclass(frozen=True)
class Setting:
    """One fully specified way to regularise a network.

    Attributes:
        dropout: rate, in [0, 1).
        where: the dropout sites that have it: "hidden" is all hidden layers, "first" and "last" are one of them,
            "input" the encoded columns, "output" the logits or the value.
        weight_decay: of matrices, not of biases, decoupled from the gradient (AdamW, Loshchilov & Hutter 2019): a step
            takes off the learning rate times this.
        max_norm: largest norm of a hidden unit's incoming weights (Srivastava et al. 2014, §5.1); None is no limit.
        batch_norm: on the hidden layers, before the activation; dropout directly "before" it, or "after" it and the
            activation. None is without.
        one_mask: all rows of a mini-batch share their masks.
        schedule: "early" is dropout in the first sixth of the epochs, decreasing to 0, "late" is dropout after it
            (Liu et al. 2023).
        embedding: "piecewise" encodes numeric columns piecewise linearly (Gorishniy et al. 2022).
    """

    dropout: float = 0.0
    where: Where = "hidden"
    weight_decay: float = 0.0
    max_norm: float | None = None
    batch_norm: Literal["before", "after"] | None = None
    one_mask: bool = False
    schedule: Literal["constant", "early", "late"] = "constant"
    embedding: Literal["piecewise"] | None = None

    def __post_init__(self) -> None:
        """Refuse values that no network can be trained with."""
        if not 0 <= self.dropout < 1:
            raise InputError(sentence("rates must lie in [0, 1)", f"got {self.dropout!r}"))
        if not 0 <= self.weight_decay < float("inf"):
            raise InputError(sentence("weight decay must be a number of at least 0", f"got {self.weight_decay!r}"))
        if self.max_norm is not None and not self.max_norm > 0:
            raise InputError(sentence("a largest norm must be positive", f"got {self.max_norm!r}"))
        known = {
            "where": ("input", "first", "last", "hidden", "output"),
            "batch_norm": (None, "before", "after"),
            "schedule": ("constant", "early", "late"),
            "embedding": (None, "piecewise"),
        }
        for name, values in known.items():
            if getattr(self, name) not in values:
                text = ", ".join(map(repr, values))
                raise InputError(sentence(f"{name} must be one of {text}", f"got {getattr(self, name)!r}"))

    @property
    def structure(self) -> tuple[Any, ...]:
        """What networks of one cohort have in common."""
        return self.batch_norm, self.one_mask and self.dropout > 0, self.embedding

    @property
    def label(self) -> str:
        """In words, for tables and charts."""
        parts = []
        if self.dropout:
            kind = "dropout" if self.schedule == "constant" else f"{self.schedule} dropout"
            place = {"hidden": "", "first": " on the first layer", "last": " on the last layer"}
            norm = f" {self.batch_norm} batch norm" if self.batch_norm else ""
            where = place.get(self.where, f" on the {self.where}")
            parts.append(f"{'one-mask ' * self.one_mask}{kind} {self.dropout:g}{where}{norm}")
        elif self.batch_norm:
            parts.append("batch norm")
        if self.weight_decay:
            parts.append(f"weight decay {self.weight_decay:g}")
        if self.max_norm:
            parts.append(f"max-norm {self.max_norm:g}")
        if self.embedding:
            parts.append("piecewise-linear numbers")
        return ", ".join(parts) or "no regularisation"


@dataclasses.dataclass(frozen=True)
class Arm:
    """A way to regularise, with the settings among which validation rows choose.

    Attributes:
        name: short, unique in a study.
        label: in words, for tables and charts.
        settings: at least one; the choice is made anew in every split.
        warning: why the arm is not to be recommended, though it is measured; None if it may be.
        kind: "reference" is without regularisation, a "mix" holds the settings of all other arms, and a "method" is
            any other arm.
    """

    name: str
    label: str
    settings: tuple[Setting, ...]
    warning: str | None = None
    kind: ArmKind = dataclasses.field(default="method", kw_only=True, compare=False)

    def __post_init__(self) -> None:
        """An arm without settings can't be trained."""
        if not self.settings:
            raise InputError(sentence("an arm must have a setting", f"{self.name!r} has none"))


class Question(NamedTuple):
    """A comparison that is declared before the run: ``arm`` at its best epoch or at the end, against another."""

    arm: str
    when: When
    against: str
    against_when: When
    text: str
    primary: bool = False


def _rates(rates: Iterable[float] = _FEW_RATES, **others: Any) -> tuple[Setting, ...]:
    return tuple(Setting(dropout=rate, **others) for rate in rates)


_NONE = Arm("none", "no regularisation", (Setting(),), kind="reference")

#: What is compared unless the user chooses; "early stopping" is arm "none", read at its best epoch.
ARMS: tuple[Arm, ...] = (
    _NONE,
    Arm("dropout", "dropout", _rates(RATES)),
    Arm("weight_decay", "weight decay", tuple(Setting(weight_decay=decay) for decay in _DECAYS)),
    Arm("input", "dropout on the input", _rates(where="input")),
    Arm("first", "dropout on the first hidden layer", _rates(where="first")),
    Arm("last", "dropout on the last hidden layer", _rates(where="last")),
    Arm(
        "output",
        "dropout on the output",
        _rates((0.1,), where="output"),
        warning="dropout on the output only adds noise to the prediction that is learned from",
    ),
    Arm("batch_norm", "batch norm", (Setting(batch_norm="after"),)),
    Arm("dropout_before_bn", "dropout before batch norm", _rates(batch_norm="before")),
    Arm("dropout_after_bn", "dropout after batch norm", _rates(batch_norm="after")),
    Arm(
        "dropout_weight_decay",
        "dropout and weight decay",
        tuple(Setting(dropout=rate, weight_decay=decay) for rate in (0.3, 0.5) for decay in (0.1, 0.3)),
    ),
    Arm(
        "dropout_max_norm",
        "dropout and max-norm",
        tuple(Setting(dropout=rate, max_norm=norm) for rate in (0.3, 0.5) for norm in _NORMS),
    ),
    Arm("batch_dropout", "one mask for each mini-batch", _rates(one_mask=True)),
    Arm("early_dropout", "early dropout", _rates(schedule="early")),
    Arm("late_dropout", "late dropout", _rates(schedule="late")),
    Arm("piecewise", "piecewise-linear numbers", (Setting(embedding="piecewise"),)),
    Arm("piecewise_dropout", "piecewise-linear numbers and dropout", _rates(embedding="piecewise")),
)

_COCKTAIL = "cocktail"
_MIXES = (
    Setting(dropout=0.3, batch_norm="after", weight_decay=0.1),
    Setting(dropout=0.1, embedding="piecewise", weight_decay=1.0),
    Setting(dropout=0.3, embedding="piecewise", weight_decay=1.0),
)

#: (arm, when, against, when, text); those whose two arms are both in the study are asked
_QUESTIONS: tuple[tuple[str, When, str, When, str], ...] = (
    ("dropout", "best", "none", "best", "Does dropout help, when both stop early?"),
    ("none", "best", "none", "end", "Does early stopping help?"),
    ("dropout", "end", "none", "best", "Is dropout for the full budget better than early stopping?"),
    ("weight_decay", "best", "none", "best", "Does weight decay help, when both stop early?"),
    ("dropout", "best", "weight_decay", "best", "Is dropout better than weight decay?"),
    ("batch_norm", "best", "none", "best", "Does batch norm help?"),
    ("input", "best", "dropout", "best", "Is dropout better on the input than on all hidden layers?"),
    ("first", "best", "dropout", "best", "Is dropout better on the first hidden layer than on all?"),
    ("last", "best", "dropout", "best", "Is dropout better on the last hidden layer than on all?"),
    ("output", "best", "dropout", "best", "Is dropout better on the output than on the hidden layers?"),
    ("dropout_after_bn", "best", "batch_norm", "best", "Does dropout help a network with batch norm?"),
    ("dropout_before_bn", "best", "dropout_after_bn", "best", "Is dropout better before batch norm than after it?"),
    ("dropout_weight_decay", "best", "dropout", "best", "Does weight decay help beside dropout?"),
    ("dropout_max_norm", "best", "dropout", "best", "Does max-norm help beside dropout?"),
    ("batch_dropout", "best", "dropout", "best", "Is one mask for each mini-batch better than one for each row?"),
    ("early_dropout", "best", "dropout", "best", "Is early dropout better than dropout throughout?"),
    ("late_dropout", "best", "dropout", "best", "Is late dropout better than dropout throughout?"),
    ("piecewise", "best", "none", "best", "Do piecewise-linear numbers help?"),
    ("piecewise_dropout", "best", "piecewise", "best", "Does dropout help a network with piecewise-linear numbers?"),
    (_COCKTAIL, "best", "none", "best", "Does the best mix help?"),
)


def at_epoch(setting: Setting, epoch: int, epochs: int) -> Setting:
    """The setting with the rate that its schedule has in this epoch of a budget."""
    if setting.schedule == "constant":
        return setting
    make = schedules.early if setting.schedule == "early" else schedules.late
    rate = make(setting.dropout, math.ceil(epochs / 6))(epoch)
    return dataclasses.replace(setting, dropout=rate)


def choose_arms(
    chosen: Sequence[str | Arm] | None = None, rates: Sequence[float] | None = None, *, own_network: bool = False
) -> tuple[Arm, ...]:
    """The arms of a study, "none" first and "cocktail" last.

    Args:
        chosen: names of arms, and arms of the user's own; None takes all.
        rates: of the arm "dropout"; None takes :data:`RATES`.
        own_network: the network is the user's, so that arms that change its structure are not to be had.

    Raises:
        InputError: a name is unknown or given twice, or an arm needs another structure than the user's network has.
    """
    known = {arm.name: arm for arm in ARMS}
    if rates is not None:
        known["dropout"] = Arm("dropout", "dropout", _rates(sorted({rate for rate in rates if rate})))
    fits = {name: not own_network or not any(map(_needs_ours, arm.settings)) for name, arm in known.items()}
    names = [name for name in known if fits[name]] + [_COCKTAIL] if chosen is None else list(chosen)
    arms = {"none": _NONE}
    for one in names:
        name = one.name if isinstance(one, Arm) else one
        if name == _COCKTAIL and not isinstance(one, Arm):
            continue
        if not isinstance(one, Arm) and one not in known:
            raise InputError(sentence(f"arms must be of {', '.join([*known, _COCKTAIL])}", f"got {one!r}"))
        arm = one if isinstance(one, Arm) else known[one]
        if name in arms and arms[name] != arm:
            raise InputError(sentence("arms must have different names", f"{name!r} is there twice"))
        if own_network and any(map(_needs_ours, arm.settings)):
            remedy = "leave it out, or leave out the network"
            raise InputError(
                sentence(f"arm {name!r} changes the network's structure", "the network is your own", remedy)
            )
        arms.setdefault(name, arm)
    if _COCKTAIL in names:
        mixes = () if own_network or chosen is not None else _MIXES
        union = [setting for arm in arms.values() if not arm.warning for setting in arm.settings]
        arms[_COCKTAIL] = Arm(_COCKTAIL, "the best mix", tuple(dict.fromkeys([*union, *mixes])), kind="mix")
    if not arms.keys() - {"none", _COCKTAIL}:
        raise InputError(
            sentence("a study must have an arm besides 'none' and 'cocktail'", "it has no other", "add dropout")
        )
    return tuple(arms.values())


def declare(arms: Sequence[Arm]) -> tuple[Question, ...]:
    """The questions asked of these arms, of which the first about a regulariser is primary.

    An arm of the user's own, and one whose counterpart is not in the study, is set against "none".
    """
    names = {arm.name for arm in arms}
    asked = [question for question in _QUESTIONS if {question[0], question[2]} <= names]
    asked_of = {question[0] for question in asked}
    asked += [
        (arm.name, "best", "none", "best", f"Does {arm.label} help, when both stop early?")
        for arm in arms
        if arm.name not in asked_of
    ]
    primary = next(question for question in asked if question[0] != "none")
    return tuple(Question(*question, primary=question is primary) for question in asked)


def _needs_ours(setting: Setting) -> bool:
    return bool(setting.batch_norm or setting.one_mask or setting.embedding or setting.where in ("input", "output"))
