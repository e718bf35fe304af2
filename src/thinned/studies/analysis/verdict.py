"""The verdict: the answer to the primary question, what to use, and the simplest rate that is good enough."""

from collections.abc import Sequence

from thinned.studies.analysis.selection import TrainedNetworks
from thinned.studies.results import Comparison, Outcome, Recommendation, Verdict
from thinned.studies.wording import capitalise, interval_decimals, number

__all__ = ["decide", "simplest_rate"]

_FINDING: dict[Outcome, str] = {
    "helps": "helps on this data",
    "hurts": "hurts on this data",
    "practically equal": "makes no difference that matters here",
    "not enough evidence": "makes no difference that this study could detect",
}


def decide(trained: TrainedNetworks, comparisons: Sequence[Comparison]) -> Verdict:
    """The verdict, which answers the primary question, or the first where none is primary."""
    recommended = _recommend(trained)
    answer = next((c for c in comparisons if c.primary), comparisons[0] if comparisons else None)
    outcome: Outcome = "not enough evidence"
    headline = f"Nothing was compared: of what was trained, {recommended.label} had the least validation loss."
    detail = recommended.reason
    if answer is not None:
        outcome = answer.outcome
        headline = _headline(trained, answer, recommended)
        detail = _detail(answer, recommended)
    return Verdict(
        outcome=outcome,
        headline=headline,
        detail=detail,
        recommended=recommended,
        simplest_rate=simplest_rate(trained),
        metric=trained.selection,
    )


def _recommend(trained: TrainedNetworks) -> Recommendation:
    """The setting of least mean validation loss at the best epoch, and the first arm that has it."""
    warned = {arm.name for arm in trained.plan.arms if arm.warning}
    candidates = {name: settings for name, settings in trained.arms.items() if name not in warned} or trained.arms
    settings = sorted({setting for own in candidates.values() for setting in own})
    best = trained.least_loss(settings)
    loss = trained.interval(trained.losses(best, "best", "validation"), "validation")
    left_out = ", ".join(trained.arm_label(name) for name in trained.arms if name not in candidates)
    reason = (
        f"Its mean validation loss at the best epoch, {number(loss.mean, interval_decimals(loss.low, loss.high))}, is "
        f"the least of {len(settings)} settings{f' (not considered: {left_out})' if left_out else ''}."
    )
    arm = next(name for name, own in candidates.items() if best in own)
    return Recommendation(arm=arm, setting=best, label=trained.setting(best).label, reason=reason)


def _headline(trained: TrainedNetworks, answer: Comparison, recommended: Recommendation) -> str:
    """The finding and what to do; advice that the recommended setting contradicts is not given."""
    against_none = answer.against == "none"
    compared = "" if against_none else f", compared with {trained.arm_label(answer.against)}"
    finding = f"{capitalise(_subject(trained, answer))} {_FINDING[answer.outcome]}{compared}"
    setting, helps = recommended.setting, answer.outcome == "helps"
    if helps and against_none and answer.arm == "dropout" and setting in trained.arms["dropout"]:
        return f"{finding}: use a rate of {trained.setting(setting).dropout:g} on the hidden layers."
    if not helps and against_none and answer.arm != "none" and setting in trained.arms["none"]:
        return f"{finding}: leave it out, and stop early."
    return f"{finding}; of all that was tried, {recommended.label} did best on validation rows."


def _subject(trained: TrainedNetworks, answer: Comparison) -> str:
    if (answer.arm, answer.when, answer.against, answer.against_when) == ("none", "best", "none", "end"):
        return "early stopping"
    return "dropout" if answer.arm == "dropout" else trained.arm_label(answer.arm)


def _detail(answer: Comparison, recommended: Recommendation) -> str:
    """The answer in words that can be repeated without the table."""
    detail = [answer.sentence]
    if answer.when == answer.against_when == "best":
        detail.append("Its setting was chosen without the rows that score it.")
    detail.append(f"Recommended: {recommended.label}. {recommended.reason}")
    return " ".join(detail)


def simplest_rate(trained: TrainedNetworks) -> float | None:
    """The smallest rate that passes the one-standard-error rule (Breiman et al. 1984), 0 where none is needed.

    Of the rates of arm ``dropout`` and no dropout, it is the smallest whose mean validation loss exceeds the least by
    at most one standard error. The error is that of the paired difference: the spread of the losses themselves is
    mostly that of the splits, which all rates share, and would let nearly every rate pass.
    """
    if not trained.arms.get("dropout"):
        return None
    settings = [s for name in ("none", "dropout") for s in trained.arms.get(name, ())]
    losses = {s: trained.losses(s, "best", "validation") for s in settings}
    least = losses[trained.least_loss(settings)]
    excess = {s: trained.spread(loss - least, "validation") for s, loss in losses.items()}
    near = [s for s, spread in excess.items() if spread.mean <= spread.error]
    return float(min(trained.setting(s).dropout for s in near))
