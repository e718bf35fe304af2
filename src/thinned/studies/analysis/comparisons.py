"""The answer to each declared question: a comparison, its outcome, and one sentence that can be repeated."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from thinned.studies.analysis.selection import Record, Trained
from thinned.studies.analysis.statistics import Comparison, Posterior, compare, equivalence, holm
from thinned.studies.metrics import METRICS

__all__ = ["OUTCOMES", "ROPE", "answers", "capitalised", "formatter", "label_of", "metric_name", "region"]

OUTCOMES = ("helps", "hurts", "practically equal", "not enough evidence")
#: half-width of the region of practical equivalence, as a share of the baseline's loss
ROPE = 0.01
_ALPHA = 0.05
_SURE = 0.95
_PRIMARY = 0.8  # of the error rate is the primary question's
_AT = {"best": "at its best epoch", "end": "at the last epoch"}


def region(trained: Trained) -> float:
    """Half-width of the region of practical equivalence, in units of the selection score: one for the whole study."""
    level = float(trained.nested(trained.baseline, "best").mean())
    return float(trained.plan.get("rope", ROPE)) * level


class _Tested(NamedTuple):
    """A question with its test, the same by Nadeau & Bengio, and the mean score of what the arm is compared with."""

    question: Record
    comparison: Comparison
    supposed: Comparison
    posterior: Posterior
    level: float


def answers(trained: Trained) -> list[dict[str, Any]]:
    """The comparisons of ``results.json``, in the order of the plan's questions.

    The p-values are adjusted for the whole declared family, of which the primary question gets four fifths of the
    error rate, and the others share a fifth. A question about an arm that diverged is left out, but counts in the
    family.
    """
    rope = region(trained)
    asked = trained.plan["questions"]
    tested = [_test(trained, question, rope) for question in asked]
    p_values = [1.0 if test is None else test.comparison.p_value for test in tested]
    adjusted = holm(p_values, _weights([bool(question["primary"]) for question in asked]))
    return [_answer(trained, test, p, rope) for test, p in zip(tested, adjusted, strict=True) if test is not None]


def _test(trained: Trained, question: Record, rope: float) -> _Tested | None:
    if question["arm"] not in trained.arms or question["against"] not in trained.arms:
        return None
    other = trained.nested(question["against"], question["against_when"])
    gains = other - trained.nested(question["arm"], question["when"])
    spread, supposed = trained.spread(gains), trained.supposed_spread(gains)
    return _Tested(question, compare(spread), compare(supposed), equivalence(spread, rope), float(other.mean()))


def _weights(primary: list[bool]) -> list[float]:
    """Of the family: the primary question's four fifths, the rest in equal parts; all equal where none is primary."""
    first, others = sum(primary), len(primary) - sum(primary)
    if not first or not others:
        return [1.0] * len(primary)
    return [_PRIMARY / first if p else (1 - _PRIMARY) / others for p in primary]


def _answer(trained: Trained, tested: _Tested, p_adjusted: float, rope: float) -> dict[str, Any]:
    question, outcome = tested.question, _outcome(tested, p_adjusted)
    return {
        **{name: question[name] for name in ("arm", "when", "against", "against_when", "primary")},
        "question": question["text"],
        **tested.comparison._asdict(),
        "p_adjusted": p_adjusted,
        "rope": rope,
        **tested.posterior._asdict(),
        "nadeau_bengio": {name: getattr(tested.supposed, name) for name in ("low", "high", "p_value")},
        "outcome": outcome,
        "sentence": _sentence(trained, tested, p_adjusted, rope, outcome),
    }


def _outcome(tested: _Tested, p_adjusted: float) -> str:
    """Equivalence goes first: a difference too small to matter may be significant all the same."""
    if tested.posterior.p_equal > _SURE:
        return "practically equal"
    if p_adjusted < _ALPHA:
        return "helps" if tested.comparison.difference > 0 else "hurts"
    return "not enough evidence"


def _sentence(trained: Trained, tested: _Tested, p_adjusted: float, rope: float, outcome: str) -> str:
    question, c, level = tested.question, tested.comparison, tested.level
    show = formatter(c)
    arm = f"{label_of(trained, question['arm'])} {_AT[question['when']]}"
    against = f"{label_of(trained, question['against'])} {_AT[question['against_when']]}"
    found = (
        f"{capitalised(arm)} had a {metric_name(trained.selection)} of {show(level - c.difference)}, "
        f"{show(abs(c.difference))} {'below' if c.difference > 0 else 'above'} the {show(level)} of {against} "
        f"(95\u00a0% interval of the improvement {show(c.low, '+')} to {show(c.high, '+')}, adjusted {_p(p_adjusted)})"
    )
    detectable = f"where a true difference of {show(c.detectable)} would have been found four times out of five"
    family = f"for one of {len(trained.plan['questions'])} questions"
    return {
        "helps": f"{found}: it helps.",
        "hurts": f"{found}: it hurts.",
        "practically equal": (
            f"{found}: practically equal, the difference being smaller than {show(rope)} with a probability of "
            f"{_percent(tested.posterior.p_equal)}."
        ),
        "not enough evidence": f"{found}: not enough evidence, {family if c.p_value < _ALPHA else detectable}.",
    }[outcome]


def capitalised(text: str) -> str:
    """With a capital at the start, and no other change."""
    return text[:1].upper() + text[1:]


def label_of(trained: Trained, name: str) -> str:
    """The arm's label, as the plan has it."""
    return next(str(arm["label"]) for arm in trained.plan["arms"] if arm["name"] == name)


def metric_name(selection: str) -> str:
    """The selection score within a sentence."""
    label = METRICS[selection].label
    return label if label.isupper() else label.lower()


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.{3 if value < 0.1 else 2}f}"


def _percent(probability: float) -> str:
    """Never rounded up to certainty."""
    return "more than 99\u00a0%" if probability > 0.99 else f"{100 * probability:.0f}\u00a0%"


def formatter(comparison: Comparison) -> Callable[..., str]:
    """Writes numbers with as many decimals as the interval's width has meaning, and the sign that typesetters use."""
    reach = (comparison.high - comparison.low) / 2
    decimals = min(max(0, 1 - math.floor(math.log10(reach))), 9) if reach > 0 else 4

    def show(value: float, sign: str = "") -> str:
        rounded = round(value, decimals) + 0.0  # no minus zero
        return f"{rounded:{sign if rounded else ''},.{decimals}f}".replace("-", "−")

    return show
