"""Comparisons: the answer to each declared question, with its outcome and a sentence that stands by itself."""

from collections.abc import Sequence
from typing import NamedTuple

from thinned.studies.analysis.selection import TrainedNetworks
from thinned.studies.analysis.statistics import PairedTest, Posterior, equivalence, holm, paired_test
from thinned.studies.design.questions import Question
from thinned.studies.metrics import METRICS
from thinned.studies.results import Comparison, Outcome, SupposedTest
from thinned.studies.wording import READING, capitalise, in_text, interval_decimals, number, p_value, percent

__all__ = ["ROPE", "compare_arms", "rope_width"]

#: half-width of the region of practical equivalence, as a fraction of the baseline's loss
ROPE = 0.01
_ALPHA = 0.05
_CREDIBLE = 0.95
_PRIMARY_WEIGHT = 0.8  # fraction of the error rate that the primary question has


def rope_width(trained: TrainedNetworks) -> float:
    """Half-width of the region of practical equivalence, in units of the selection score: one for the whole study."""
    return ROPE * float(trained.arm_scores(trained.baseline, "best").mean())


class _Answer(NamedTuple):
    """A question with its tests, and the mean score of the arm that the first one is compared with."""

    question: Question
    test: PairedTest
    conservative: PairedTest
    posterior: Posterior
    reference_score: float
    limited: tuple[str, ...]  # labels of the arms that were still improving when the budget ended


def compare_arms(trained: TrainedNetworks) -> list[Comparison]:
    """The comparisons of ``results.json``, in the order of the plan's questions.

    No conclusion is drawn where an arm was still improving when the budget ended.

    p-values are adjusted for the whole declared family. The primary question has four fifths of the error rate, the
    others share one fifth. A question about an arm that diverged is left out, but counts in the family.
    """
    rope, questions = rope_width(trained), trained.plan.questions
    answers = [_answer(trained, question, rope) for question in questions]
    p_values = [1.0 if answer is None else answer.test.p_value for answer in answers]
    adjusted = holm(p_values, _weights([question.primary for question in questions]))
    return [
        _comparison(trained, answer, p_adjusted, rope)
        for answer, p_adjusted in zip(answers, adjusted, strict=True)
        if answer is not None
    ]


def _answer(trained: TrainedNetworks, question: Question, rope: float) -> _Answer | None:
    if question.arm not in trained.arms or question.against not in trained.arms:
        return None
    reference = trained.arm_scores(question.against, question.against_when)
    gains = reference - trained.arm_scores(question.arm, question.when)
    spread, conservative = trained.spread(gains), trained.conservative_spread(gains)
    arms = dict.fromkeys((question.arm, question.against))
    limited = [arm for arm in arms if trained.is_budget_limited(trained.choose(trained.arms[arm], "best"))]
    return _Answer(
        question=question,
        test=paired_test(spread),
        conservative=paired_test(conservative),
        posterior=equivalence(spread, rope),
        reference_score=float(reference.mean()),
        limited=tuple(trained.arm_label(arm) for arm in limited),
    )


def _weights(primary: Sequence[bool]) -> list[float]:
    """Weights of the family: four fifths for the primary question; equal weights where none is primary."""
    first, others = sum(primary), len(primary) - sum(primary)
    if not first or not others:
        return [1.0] * len(primary)
    return [_PRIMARY_WEIGHT / first if p else (1 - _PRIMARY_WEIGHT) / others for p in primary]


def _comparison(trained: TrainedNetworks, answer: _Answer, p_adjusted: float, rope: float) -> Comparison:
    question, test, posterior = answer.question, answer.test, answer.posterior
    conservative = answer.conservative
    outcome = _outcome(answer, p_adjusted)
    return Comparison(
        question=question.text,
        arm=question.arm,
        when=question.when,
        against=question.against,
        against_when=question.against_when,
        primary=question.primary,
        difference=test.difference,
        low=test.low,
        high=test.high,
        p_value=test.p_value,
        p_adjusted=p_adjusted,
        detectable=test.detectable,
        splits=test.splits,
        rope=rope,
        p_better=posterior.p_better,
        p_equal=posterior.p_equal,
        p_worse=posterior.p_worse,
        outcome=outcome,
        sentence=f"{_finding(trained, answer, p_adjusted)} {_conclusion(trained, answer, rope, outcome)}",
        nadeau_bengio=SupposedTest(low=conservative.low, high=conservative.high, p_value=conservative.p_value),
    )


def _outcome(answer: _Answer, p_adjusted: float) -> Outcome:
    """A budget too small allows no conclusion; a difference too small to matter may still be significant."""
    if answer.limited:
        return "budget too small"
    if answer.posterior.p_equal > _CREDIBLE:
        return "practically equal"
    if p_adjusted < _ALPHA:
        return "helps" if answer.test.difference > 0 else "hurts"
    return "not enough evidence"


def _finding(trained: TrainedNetworks, answer: _Answer, p_adjusted: float) -> str:
    """Both scores, their difference with its interval, and the p-value."""
    question, test = answer.question, answer.test
    decimals = interval_decimals(test.low, test.high)
    arm = trained.arm_label(question.arm)
    if trained.trains_itself:
        arm = f"{READING[question.when]}, {arm}"
    against = trained.arm_label(question.against)
    if question.when != question.against_when:
        against = f"{against} {READING[question.against_when]}"
    metric = METRICS[trained.selection].label
    score = number(answer.reference_score - test.difference, decimals)
    low, high = (number(limit, decimals, signed=True) for limit in (test.low, test.high))
    return (
        f"{capitalise(arm)} had {_article(metric)} {in_text(metric)} of {score}, "
        f"{number(abs(test.difference), decimals)} {'below' if test.difference > 0 else 'above'} the "
        f"{number(answer.reference_score, decimals)} of {against} (95\u00a0% interval of the improvement {low} to "
        f"{high}, adjusted {p_value(p_adjusted, symbol=True)})."
    )


def _article(label: str) -> str:
    """The indefinite article before a score: initials are read letter by letter, as in "an RMSE"."""
    return "an" if label[0] in ("AEFHILMNORSX" if label.isupper() else "AEIOU") else "a"


def _conclusion(trained: TrainedNetworks, answer: _Answer, rope: float, outcome: Outcome) -> str:
    test = answer.test
    decimals = interval_decimals(test.low, test.high)
    if outcome == "budget too small":
        verb = "was" if len(answer.limited) == 1 else "were"
        return f"The budget was too small to tell: {' and '.join(answer.limited)} {verb} still improving at its end."
    if outcome == "helps":
        return "It helps."
    if outcome == "hurts":
        return "It hurts."
    if outcome == "practically equal":
        return (
            f"Practically equal: the difference is below {number(rope, decimals)} "
            f"(probability {percent(answer.posterior.p_equal)})."
        )
    if test.p_value < _ALPHA:
        return f"Not enough evidence for one of {len(trained.plan.questions)} questions."
    return f"Not enough evidence: a study like this detects {number(test.detectable, decimals)} with 80\u00a0% power."
