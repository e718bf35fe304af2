"""A setting: one fully specified way to regularise a network."""

import dataclasses
import math
from collections.abc import Hashable
from typing import Any, Literal, TypeAlias

from thinned import schedules
from thinned.errors import InputError, sentence

__all__ = ["GROUP_WORDS", "Location", "Setting", "SiteForm", "SiteGroup", "SiteRates"]

Location: TypeAlias = Literal["input", "first", "last", "hidden", "output"]
#: groups of the dropout sites of a network of one's own
SiteGroup: TypeAlias = Literal[
    "attention weights",
    "residual branches",
    "embeddings",
    "convolutional",
    "fully connected",
    "recurrent",
    "drop path",
    "other",
]
#: "spatial" drops whole channels, "locked" the same units at all time steps, "one_mask" those of a whole mini-batch
SiteForm: TypeAlias = Literal["spatial", "locked", "one_mask"]

#: what the sites of a group drop, in words
GROUP_WORDS: dict[SiteGroup, str] = {
    "attention weights": "attention weights",
    "residual branches": "residual branches",
    "embeddings": "embeddings",
    "convolutional": "convolutional features",
    "fully connected": "fully connected layers",
    "recurrent": "recurrent layers",
    "drop path": "drop paths",
    "other": "other tensors",
}
_FORM_WORDS: dict[SiteForm, str] = {
    "spatial": "spatial on convolutional features",
    "locked": "locked over time steps",
    "one_mask": "one mask for each mini-batch between linear layers",
}

_CHOICES: dict[str, tuple[str | None, ...]] = {
    "where": ("input", "first", "last", "hidden", "output"),
    "batch_norm": (None, "before", "after"),
    "schedule": ("constant", "early", "late"),
    "embedding": (None, "piecewise"),
}


@dataclasses.dataclass(frozen=True)
class SiteRates:
    """Rates of the dropout sites of a network of one's own, by group, and the form of their masks.

    Attributes:
        scale: factor on each site's own rate; None gives every site that drops the rate :attr:`Setting.dropout`.
        groups: the groups that drop, the others are off; empty stands for all.
        off: groups that are off as well.
        form: "spatial" drops whole channels where features are convolutional, "locked" the same units at all time
            steps where they come from, or go to, a recurrent layer, "one_mask" the same units of the whole mini-batch
            between linear layers. None leaves every site as it is.
    """

    scale: float | None = None
    groups: tuple[SiteGroup, ...] = ()
    off: tuple[SiteGroup, ...] = ()
    form: SiteForm | None = None

    def __post_init__(self) -> None:
        """Refuse values that no network can be trained with."""
        if self.scale is not None and not 0 <= self.scale < math.inf:
            raise InputError(sentence("the scale of rates must be a number of at least 0", f"got {self.scale!r}"))
        if self.form not in (None, *_FORM_WORDS):
            raise InputError(sentence("form must be None, 'spatial', 'locked' or 'one_mask'", f"got {self.form!r}"))
        for group in (*self.groups, *self.off):
            if group not in GROUP_WORDS:
                text = ", ".join(map(repr, GROUP_WORDS))
                raise InputError(sentence(f"groups of sites must be among {text}", f"got {group!r}"))

    def includes(self, group: SiteGroup) -> bool:
        """True where the sites of this group drop."""
        return group not in self.off and (not self.groups or group in self.groups)


@dataclasses.dataclass(frozen=True)
class Setting:
    """One fully specified way to regularise a network.

    Attributes:
        dropout: dropout rate, in [0, 1).
        where: the dropout sites that have this rate. "hidden" stands for all hidden layers, "first" and "last" for one
            of them, "input" for the encoded columns, "output" for the logits or the value.
        weight_decay: decay of matrices, not of biases, decoupled from the gradient (AdamW, Loshchilov & Hutter 2019):
            each step subtracts the learning rate times this.
        max_norm: largest norm of a hidden unit's incoming weights (Srivastava et al. 2014, §5.1); None sets no limit.
        batch_norm: batch norm on the hidden layers, before the activation, with dropout directly "before" it, or
            "after" it and the activation. None leaves it out.
        one_mask: let all rows of a mini-batch share their masks.
        schedule: "early" drops in the first sixth of the epochs only, at a rate that decreases to 0; "late" drops
            after it (Liu et al. 2023).
        embedding: "piecewise" encodes numeric columns piecewise linearly (Gorishniy et al. 2022).
        extras: amounts of techniques that the file of an arm defines, by name, as ``(("label_smoothing", 0.1),)``; see
            :class:`thinned.studies.design.definition.Technique`.
        sites: rates of the dropout sites of a network of one's own; None gives all of them the rate ``dropout``.
        learning_rate: learning rate, where it is not that of the plan.
    """

    dropout: float = 0.0
    where: Location = "hidden"
    weight_decay: float = 0.0
    max_norm: float | None = None
    batch_norm: Literal["before", "after"] | None = None
    one_mask: bool = False
    schedule: Literal["constant", "early", "late"] = "constant"
    embedding: Literal["piecewise"] | None = None
    extras: tuple[tuple[str, float], ...] = ()
    sites: SiteRates | None = None
    learning_rate: float | None = None

    def __post_init__(self) -> None:
        """Refuse values that no network can be trained with."""
        if not 0 <= self.dropout < 1:
            raise InputError(sentence("rates must lie in [0, 1)", f"got {self.dropout!r}"))
        if not 0 <= self.weight_decay < math.inf:
            raise InputError(sentence("weight decay must be a number of at least 0", f"got {self.weight_decay!r}"))
        if self.max_norm is not None and not self.max_norm > 0:
            raise InputError(sentence("a largest norm must be positive", f"got {self.max_norm!r}"))
        if self.learning_rate is not None and not 0 < self.learning_rate < math.inf:
            raise InputError(sentence("the learning rate must be a number above 0", f"got {self.learning_rate!r}"))
        if self.sites is not None and self.sites.scale is not None and self.dropout:
            value = f"got dropout={self.dropout!r} and sites.scale={self.sites.scale!r}"
            raise InputError(sentence("sites have one rate, or their own rates with a scale", value))
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                text = ", ".join(map(repr, choices))
                raise InputError(sentence(f"{name} must be one of {text}", f"got {getattr(self, name)!r}"))

    @property
    def structure(self) -> tuple[Hashable, ...]:
        """The properties that all networks of one cohort share."""
        return self.batch_norm, self.one_mask and self.dropout > 0, self.embedding

    @property
    def needs_own_mlp(self) -> bool:
        """True where the setting changes more than a user's network lets us change: rates of its dropout layers."""
        return bool(self.batch_norm or self.one_mask or self.embedding or self.where in ("input", "output"))

    @property
    def drops(self) -> bool:
        """True where some dropout site has a rate above 0."""
        return self.dropout > 0 or (self.sites is not None and bool(self.sites.scale))

    @property
    def label(self) -> str:
        """The setting in words, for tables and charts."""
        parts = []
        if self.sites is not None and self.drops:
            parts.append(_label(self.sites, self.dropout))
        elif self.dropout:
            kind = "dropout" if self.schedule == "constant" else f"{self.schedule} dropout"
            locations = {"hidden": "", "first": " on the first layer", "last": " on the last layer"}
            location = locations.get(self.where, f" on the {self.where}")
            norm = f" {self.batch_norm} batch norm" if self.batch_norm else ""
            parts.append(f"{'one-mask ' * self.one_mask}{kind} {self.dropout:g}{location}{norm}")
        elif self.batch_norm:
            parts.append("batch norm")
        if self.weight_decay:
            parts.append(f"weight decay {self.weight_decay:g}")
        if self.max_norm:
            parts.append(f"max-norm {self.max_norm:g}")
        if self.embedding:
            parts.append("piecewise-linear numbers")
        parts += [f"{name.replace('_', ' ')} {amount:g}" for name, amount in self.extras]
        if self.learning_rate is not None:
            rate = f"learning rate {self.learning_rate:g}"
            return ", ".join([*(parts or ["no regularisation"]), rate])
        return ", ".join(parts) or "no regularisation"

    def at_epoch(self, epoch: int, epochs: int) -> "Setting":
        """The setting with the rate that its schedule has in this epoch (0-based) of a budget."""
        if self.schedule == "constant":
            return self
        schedule = schedules.early if self.schedule == "early" else schedules.late
        return dataclasses.replace(self, dropout=schedule(self.dropout, math.ceil(epochs / 6))(epoch))

    def to_dict(self) -> dict[str, Any]:
        """The setting as JSON types; fields of later versions only where they say something."""
        entries = dataclasses.asdict(self)
        for name in ("extras", "sites", "learning_rate"):
            if not entries[name]:
                del entries[name]
        return entries


def _label(sites: SiteRates, rate: float) -> str:
    """Rates of sites in words."""
    if sites.scale is None:
        amount = f"dropout {rate:g}"
    else:
        amount = "dropout as it is" if sites.scale == 1 else f"dropout at {sites.scale:g} times its own rates"
    location = f" on {_listed(sites.groups)} alone" if sites.groups else ""
    exception = f" but none on {_listed(sites.off)}" if sites.off else ""
    form = "" if sites.form is None else f", {_FORM_WORDS[sites.form]}"
    return f"{amount}{location}{exception}{form}"


def _listed(groups: tuple[SiteGroup, ...]) -> str:
    *first, last = (GROUP_WORDS[group] for group in groups)
    return f"{', '.join(first)} and {last}" if first else last
