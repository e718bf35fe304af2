"""Descriptions and properties of observed dropouts that several rules need."""

from collections.abc import Iterable, Iterator

from thinned.audits.observation.dropout_uses import LOSSES, Use
from thinned.audits.observation.random_masks import Location
from thinned.audits.observation.recorder import ObservedDropout
from thinned.tracing.recorder import VIEWS

__all__ = ["describe", "first_at_each_line", "is_elementwise", "is_on_output"]

_SQUASHES = frozenset(["softmax", "log_softmax", "sigmoid", "logsigmoid", "softmin"])
_ENDS = LOSSES | _SQUASHES | {"LogSoftmax", "Softmax"}
#: through which no gradient flows, as where a metric is computed beside the loss
_WITHOUT_GRADIENT = frozenset(["argmax", "argmin", "argsort", "zeros_like", "ones_like", "eq", "ne", "ge", "gt", "lt"])
_PASSED = _SQUASHES | {view.strip("_") for view in VIEWS}


def describe(dropout: ObservedDropout) -> str:
    """The function or class of a dropout, its rate and shape, and the measured fraction that it dropped."""
    zeros = f" ({dropout.zero_fraction:.0%} became zero)" if dropout.zero_fraction else ""
    return f"{dropout.site.op} with p={dropout.site.p:g} on {tuple(dropout.site.shape)}{zeros}"


def first_at_each_line(dropouts: Iterable[ObservedDropout]) -> Iterator[tuple[ObservedDropout, int]]:
    """The first dropout of each module and line, and their number; a loop calls the same line many times."""
    groups: dict[tuple[str, str, Location | None], list[ObservedDropout]] = {}
    for dropout in dropouts:
        groups.setdefault((dropout.path, dropout.site.op, dropout.location), []).append(dropout)
    for group in groups.values():
        yield group[0], len(group)


def is_elementwise(dropout: ObservedDropout) -> bool:
    """True if each element has a decision of its own."""
    names = {"Dropout", "dropout", "dropout_", "AlphaDropout", "alpha_dropout"}
    return dropout.site.op in names and dropout.site.kind != "attention"


def is_on_output(dropout: ObservedDropout) -> bool:
    """True if a dropout has a layer's plain output as input, and its result is an output or goes to a loss."""
    origin = dropout.origin
    if dropout.site.kind not in {"module", "functional"} or origin is None:
        return False
    if not origin.op.startswith(("linear", "conv", "addmm", "bilinear")) or not set(origin.later_ops) <= _PASSED:
        return False
    consumers = {op.name.strip("_") for op in dropout.site.consumers} - _WITHOUT_GRADIENT
    if not consumers:
        return dropout.is_output
    return consumers <= LOSSES or (consumers <= _ENDS and Use.FINAL in dropout.uses)
