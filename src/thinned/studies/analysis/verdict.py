"""The verdict: the answer to the primary question, what to use, and the simplest rate that is good enough."""

import dataclasses
from collections.abc import Sequence

from thinned.studies.analysis.recommendation import best_on_validation, recommend, undetected_gain
from thinned.studies.analysis.selection import TrainedNetworks
from thinned.studies.results import Comparison, Outcome, Recommendation, StudyWarning, Verdict
from thinned.studies.wording import capitalise

__all__ = ["decide", "simplest_rate"]

_FINDING: dict[Outcome, str] = {
    "helps": "{} helps on this data{}",
    "hurts": "{} hurts on this data{}",
    "practically equal": "{} makes no difference that matters here{}",
    "not enough evidence": "{} makes no difference that this study could detect{}",
    "budget too small": "The budget was too small to tell whether {} helps{}",
}
#: warnings about single arms and settings, which do not bear on the verdict
_MINOR = ("grid_edge",)


def decide(
    trained: TrainedNetworks, comparisons: Sequence[Comparison], warnings: Sequence[StudyWarning] = ()
) -> Verdict:
    """The verdict, which answers the primary question, or the first where none is primary.

    Where an arm of the primary question diverged, the verdict says so and answers no other question instead.
    """
    recommended = recommend(trained, comparisons)
    lost = _lost_arm(trained)
    answer = None if lost else next((c for c in comparisons if c.primary), comparisons[0] if comparisons else None)
    bearing = {warning.code: warning.title for warning in warnings if warning.code not in _MINOR}
    outcome: Outcome = "not enough evidence"
    headline, sentence, heading = "Nothing was compared.", "", "Recommended: {}."
    if lost:
        advice = f"{recommended.label}{_remark(trained, recommended)}"
        headline = f"{capitalise(lost)} diverged, so the main question has no answer. Recommended: {advice}."
    if answer is not None:
        outcome, sentence = answer.outcome, f"{answer.sentence} "
        headline = _headline(trained, answer, recommended)
    if outcome == "budget too small":
        heading = "Provisionally: {}; train for more epochs first."
    caveats = f" Warnings: {'; '.join(bearing.values())}." if bearing else ""
    return Verdict(
        outcome=outcome,
        headline=headline,
        detail=f"{sentence}{heading.format(recommended.label)} {recommended.reason}{caveats}",
        recommended=recommended,
        best_on_validation=best_on_validation(trained),
        simplest_rate=simplest_rate(trained),
        metric=trained.selection,
        warnings=tuple(bearing),
    )


def _lost_arm(trained: TrainedNetworks) -> str | None:
    """The label of an arm of the primary question that diverged."""
    asked = [arm for question in trained.plan.questions if question.primary for arm in (question.arm, question.against)]
    return next((trained.arm_label(arm) for arm in asked if arm not in trained.arms), None)


def _headline(trained: TrainedNetworks, answer: Comparison, recommended: Recommendation) -> str:
    """The finding and what to do."""
    against_none = answer.against == "none"
    compared = "" if against_none else f", compared with {trained.arm_label(answer.against)}"
    finding = capitalise(_FINDING[answer.outcome].format(_subject(trained, answer), compared))
    setting, helps = recommended.setting, answer.outcome == "helps"
    remark = _remark(trained, recommended)
    if answer.outcome == "budget too small":
        return f"{finding}. Provisionally: {recommended.label}; train for more epochs first."
    is_table = trained.plan.own is None
    if is_table and helps and against_none and answer.arm == "dropout" and setting in trained.arms["dropout"]:
        return f"{finding}: use a rate of {trained.setting(setting).dropout:g} on the hidden layers{remark}."
    if not helps and against_none and answer.arm != "none" and setting in trained.arms.get("none", ()):
        return f"{finding}: leave it out{', and stop early' * trained.trains_itself}."
    if helps and setting in trained.arms[answer.arm]:
        return f"{finding}: use {recommended.label}{remark}."
    dropped = answer.arm == "dropout" and not trained.setting(setting).drops
    return f"{finding}. Recommended{' instead' * (helps and dropped)}: {recommended.label}{remark}."


def _remark(trained: TrainedNetworks, recommended: Recommendation) -> str:
    """In brackets, what the test examples say of the recommended setting where they don't confirm it."""
    remark = undetected_gain(trained, recommended.setting)
    return f" ({remark})" if remark else ""


def _subject(trained: TrainedNetworks, answer: Comparison) -> str:
    if (answer.arm, answer.when, answer.against, answer.against_when) == ("none", "best", "none", "end"):
        return "early stopping"
    return trained.arm_label(answer.arm)


def simplest_rate(trained: TrainedNetworks) -> float | None:
    """The smallest rate that passes the one-standard-error rule (Breiman et al. 1984), 0 where none is needed.

    Of the rates of arm ``dropout`` and no dropout, it is the smallest whose mean validation loss exceeds the least by
    at most one standard error. The error is that of the paired difference: the spread of the losses themselves is
    mostly that of the splits, which all rates share, and would let nearly every rate pass.

    None where the sites of a network have different rates, or settings another learning rate.
    """
    settings = [s for name in ("none", "dropout") for s in trained.arms.get(name, ())]
    others = {dataclasses.replace(trained.setting(s), dropout=0.0) for s in settings}
    if not trained.arms.get("dropout") or (trained.plan.own is not None and len(others) > 1):
        return None
    losses = {s: trained.losses(s, "best", "validation") for s in settings}
    least = losses[trained.least_loss(settings)]
    excess = {s: trained.spread(loss - least, "validation") for s, loss in losses.items()}
    near = [s for s, spread in excess.items() if spread.mean <= spread.error]
    return float(min(trained.setting(s).dropout for s in near))
