"""The recommended setting: the simplest that is as good as the best on validation."""

from collections.abc import Sequence
from typing import NamedTuple

from thinned.studies.analysis.grid_ends import grid_end_remark
from thinned.studies.analysis.selection import Array, TrainedNetworks
from thinned.studies.analysis.statistics import Spread, equivalence
from thinned.studies.design.setting import Setting
from thinned.studies.results import Choice, Comparison, Recommendation
from thinned.studies.wording import capitalise, interval_decimals, number, percent

__all__ = ["best_on_validation", "recommend", "techniques", "undetected_gain"]

_CREDIBLE = 0.95


class _Rival(NamedTuple):
    """A simpler setting, what the best one takes off its test score, and the probability that this is above 0."""

    setting: int
    gain: Spread
    probability: float
    limited: bool  # the simpler setting was still improving when the budget ended

    @property
    def is_beaten(self) -> bool:
        return self.probability > _CREDIBLE and not self.limited

    @property
    def mean(self) -> str:
        """The gain in words, with the digits that its interval supports."""
        return _rounded(self.gain, self.gain.mean, signed=True)

    @property
    def is_negative(self) -> bool:
        """Whether the gain is below 0 as it is printed."""
        return self.gain.mean < 0 and self.mean != _rounded(self.gain, 0.0)

    @property
    def evidence(self) -> str:
        return f"probability of being better {percent(self.probability)}"


def techniques(setting: Setting) -> int:
    """The number of techniques that a setting combines, 0 for no regularisation.

    Dropout is one, at whatever sites and in whatever form; another learning rate is none.
    """
    amounts = (setting.drops, setting.weight_decay, setting.max_norm, setting.batch_norm, setting.embedding)
    return sum(map(bool, amounts)) + len(setting.extras)


def best_on_validation(trained: TrainedNetworks) -> Choice:
    """The setting of least mean validation loss at the best epoch, of the arms that may be recommended."""
    return _choice(trained, trained.least_loss(_candidates(trained)))


def recommend(trained: TrainedNetworks, comparisons: Sequence[Comparison]) -> Recommendation:
    """The simplest setting to which the best on validation is not shown to be superior.

    For each number of techniques, from none on, the setting of least validation loss is compared with the best on the
    test rows. It is beaten where the best scores better with a probability above 95 %, unless the simpler one was still
    improving when the budget ended: with more epochs it could catch up. More epochs for the best change nothing.
    A setting of an arm that hurts is not considered, and no regularisation is not where the primary comparison finds
    that an arm helps.
    """
    candidates = _candidates(trained)
    best = trained.least_loss(candidates)
    pool = _not_refuted(trained, candidates, comparisons) or candidates
    best_of_pool = trained.least_loss(pool)
    beaten: list[_Rival] = []
    for count in range(techniques(trained.setting(best_of_pool))):
        simpler = [s for s in candidates if techniques(trained.setting(s)) == count]
        if not simpler:
            continue
        rival = _rival(trained, trained.least_loss([s for s in simpler if s in pool] or simpler), best_of_pool)
        if rival.is_beaten:
            beaten.append(rival)
        elif rival.setting in pool:
            reason = _simpler_reason(trained, rival, best_of_pool)
            return _recommendation(trained, rival.setting, reason + _refuted_reason(trained, best, best_of_pool))
    reason = _best_reason(trained, best_of_pool, len(candidates), beaten)
    return _recommendation(trained, best_of_pool, reason + _refuted_reason(trained, best, best_of_pool))


def _candidates(trained: TrainedNetworks) -> list[int]:
    arms = [arm.name for arm in trained.plan.arms if arm.name in trained.arms and not arm.warning]
    return sorted({setting for name in arms or trained.arms for setting in trained.arms[name]})


def _not_refuted(trained: TrainedNetworks, candidates: Sequence[int], comparisons: Sequence[Comparison]) -> list[int]:
    """The settings that no comparison with no regularisation speaks against."""
    at_best = [c for c in comparisons if c.against == "none" and c.when == c.against_when == "best"]
    refuted = {s for c in at_best if c.outcome == "hurts" for s in trained.arms[c.arm]}
    if any(c.primary and c.outcome == "helps" for c in at_best):
        refuted |= set(trained.arms["none"])
    return [s for s in candidates if s not in refuted]


def _rival(trained: TrainedNetworks, simpler: int, best: int) -> _Rival:
    splits = len(trained.splits)
    scores = [trained.scores([setting] * splits, "best") for setting in (simpler, best)]
    gain = trained.spread(scores[0] - scores[1])
    return _Rival(simpler, gain, equivalence(gain, 0.0).p_better, trained.is_budget_limited([simpler] * splits))


def _recommendation(trained: TrainedNetworks, setting: int, reason: str) -> Recommendation:
    choice = _choice(trained, setting)
    names = [arm.label for arm in trained.plan.arms if arm.name in trained.arms and arm.warning]
    left_out = f" Not considered: {', '.join(names)}." if names else ""
    end = grid_end_remark(trained, choice.arm, setting)
    reason = f"{reason}{end}{_test_result(trained, setting)}{left_out}"
    return Recommendation(arm=choice.arm, setting=setting, label=choice.label, reason=reason)


def _choice(trained: TrainedNetworks, setting: int) -> Choice:
    names = [arm.name for arm in trained.plan.arms if arm.name in trained.arms and not arm.warning]
    arm = next(name for name in (*names, *trained.arms) if setting in trained.arms[name])
    return Choice(arm=arm, setting=setting, label=trained.setting(setting).label)


def _simpler_reason(trained: TrainedNetworks, rival: _Rival, best: int) -> str:
    label, where = trained.setting(best).label, f"that setting on all {trained.split_noun}"
    simpler = f"It is simpler than {label}, which was best on validation"
    improving = "was still improving when the budget ended"
    below = _below_baseline(trained, best, f"{label} ({where})")
    if rival.limited:
        own = capitalise(trained.setting(rival.setting).label)
        return f"{simpler}. {own} {improving}, so no conclusion can be drawn.{below}"
    late = f"; {label} {improving}" if trained.is_budget_limited([best] * len(trained.splits)) else ""
    if rival.is_negative and trained.baseline == "none" and rival.setting in trained.arms["none"]:
        worse = f"scored {_rounded(rival.gain, -rival.gain.mean)} worse on test {trained.noun}s"
        return f"{simpler} but {worse} ({where}; {rival.evidence}){late}."
    shown = f"is not shown to be better on test {trained.noun}s"
    return f"{simpler} but {shown} ({where}: {rival.mean}, {rival.evidence}){late}.{below}"


def _best_reason(trained: TrainedNetworks, best: int, count: int, beaten: Sequence[_Rival]) -> str:
    loss = trained.interval(trained.losses(best, "best", "validation"), "validation")
    mean = number(loss.mean, interval_decimals(loss.low, loss.high))
    when = " at the best epoch" if trained.trains_itself else ""
    total = len(trained.plan.settings)
    considered = f"{total} settings" if count == total else f"the {count} settings considered, of {total}"
    reason = f"Its mean validation loss{when}, {mean}, is the least of {considered}"
    if not beaten:
        return f"{reason}."
    rival = beaten[-1]
    label = trained.setting(rival.setting).label
    evidence = f"both settings on all {trained.split_noun}: {rival.mean}, {rival.evidence}"
    return f"{reason}, and it beats {label}, the best of the simpler ones, on test {trained.noun}s ({evidence})."


def _refuted_reason(trained: TrainedNetworks, best: int, best_of_pool: int) -> str:
    """A sentence where the setting of least validation loss is not considered."""
    if best == best_of_pool:
        return ""
    label = capitalise(trained.setting(best).label)
    return f" {label} had the least validation loss, but scored worse on test {trained.noun}s."


def _gain(trained: TrainedNetworks, setting: int) -> Spread | None:
    """The improvement of a setting over no regularisation on the test examples; None where it is that, or has none."""
    if trained.baseline != "none" or setting in trained.arms["none"]:
        return None
    gain: Array = trained.arm_scores("none", "best") - trained.scores([setting] * len(trained.splits), "best")
    return trained.spread(gain)


def _rounded(gain: Spread, value: float, *, signed: bool = False) -> str:
    """A value with the digits that the interval of a gain supports."""
    limits = gain.interval()
    return number(value, interval_decimals(limits.low, limits.high), signed=signed)


def undetected_gain(trained: TrainedNetworks, setting: int) -> str:
    """A remark for a setting that is not shown to be better than no regularisation on the test examples; "" for others.

    What is recommended was chosen on validation examples: the test need not confirm it.
    """
    gain = _gain(trained, setting)
    if gain is None or equivalence(gain, 0.0).p_better > _CREDIBLE:
        return ""
    chosen = "best on validation; " if setting == best_on_validation(trained).setting else ""
    if gain.interval().side() < 0:
        return f"{chosen}on test {trained.noun}s worse than {trained.arm_label('none')}"
    return (
        f"{chosen}on test {trained.noun}s no difference from {trained.arm_label('none')} that this study could detect"
    )


def _test_result(trained: TrainedNetworks, setting: int) -> str:
    """A sentence where the recommended setting is not shown to be better than no regularisation."""
    gain = _gain(trained, setting)
    if gain is None or equivalence(gain, 0.0).p_better > _CREDIBLE:
        return ""
    limits = gain.interval()
    mean, low, high = (_rounded(gain, value, signed=True) for value in (gain.mean, limits.low, limits.high))
    interval = f"95\u00a0% interval of the improvement {low} to {high}"
    worse = _below_baseline(trained, setting, "it")
    where = f"this setting on all {trained.split_noun}"
    if worse:
        return f"{worse.removesuffix('.')} ({where}: {interval})."
    return (
        f" On test {trained.noun}s this study could detect no difference between it and {trained.arm_label('none')} "
        f"({where}: {mean}, {interval})."
    )


def _below_baseline(trained: TrainedNetworks, setting: int, subject: str) -> str:
    """A sentence where a setting scores below no regularisation on the test examples."""
    gain = _gain(trained, setting)
    if gain is None or gain.mean >= 0:
        return ""
    amount = _rounded(gain, -gain.mean)
    if amount == _rounded(gain, 0.0):
        return ""
    return f" On test {trained.noun}s {subject} scored {amount} worse than {trained.arm_label('none')}."
