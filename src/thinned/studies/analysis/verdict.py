"""The verdict: the answer to the primary question, what to use, and the simplest rate that is good enough."""

from collections.abc import Mapping, Sequence
from typing import Any

from thinned.studies.analysis.comparisons import capitalised, formatter, label_of, metric_name
from thinned.studies.analysis.selection import Trained
from thinned.studies.analysis.statistics import Comparison

__all__ = ["simplest_rate", "verdict"]

Answer = Mapping[str, Any]


def verdict(trained: Trained, comparisons: Sequence[Answer]) -> dict[str, Any]:
    """The ``verdict`` of ``results.json``: it answers the primary question, or the first where none is primary."""
    recommended = _recommended(trained)
    answer = next((c for c in comparisons if c["primary"]), comparisons[0] if comparisons else None)
    if answer is None:
        outcome, detail = "not enough evidence", recommended["reason"]
        headline = f"Nothing was compared: of what was trained, {recommended['label']} had the least validation loss."
    else:
        outcome = answer["outcome"]
        headline = _headline(trained, answer, recommended)
        detail = _detail(trained, answer, comparisons, recommended)
    return {
        "outcome": outcome,
        "headline": headline,
        "detail": detail,
        "recommended": recommended,
        "simplest_rate": simplest_rate(trained),
        "metric": trained.selection,
    }


def _recommended(trained: Trained) -> dict[str, Any]:
    """The setting of least mean validation loss at the best epoch, and the first arm that holds it."""
    warned = {arm["name"] for arm in trained.plan["arms"] if arm.get("warning")}
    left = {name: settings for name, settings in trained.arms.items() if name not in warned} or trained.arms
    candidates = sorted({setting for settings in left.values() for setting in settings})
    setting = trained.least(candidates)
    loss = trained.interval(trained.losses(setting, "best", "validation"), "validation")
    show = formatter(Comparison(0.0, loss["low"] or 0.0, loss["high"] or 0.0, 1.0, 0.0, len(trained.splits)))
    out = ", ".join(label_of(trained, name) for name in trained.arms if name not in left)
    reason = (
        f"Its mean validation loss at the best epoch, {show(loss['mean'])}, is the least of {len(candidates)} settings"
        f"{f'; not considered: {out}' if out else ''}."
    )
    return {
        "arm": next(name for name, settings in left.items() if setting in settings),
        "setting": setting,
        "label": trained.setting(setting)["label"],
        "reason": reason,
    }


def _headline(trained: Trained, answer: Answer, recommended: Answer) -> str:
    """What was found, and what to do; advice that the recommended setting contradicts is not given."""
    against_none = answer["against"] == "none"
    found = {
        "helps": "{} helps on this data{}",
        "hurts": "{} hurts on this data{}",
        "practically equal": "{} makes no difference that matters here{}",
        "not enough evidence": "{} makes no difference that this study could find{}",
    }[answer["outcome"]].format(
        capitalised(_subject(trained, answer)),
        "" if against_none else f", compared with {label_of(trained, answer['against'])}",
    )
    setting, helps = recommended["setting"], answer["outcome"] == "helps"
    if helps and against_none and answer["arm"] == "dropout" and setting in trained.arms["dropout"]:
        return f"{found}: use a rate of {trained.setting(setting)['dropout']:g} on the hidden layers."
    if not helps and against_none and answer["arm"] != "none" and setting in trained.arms["none"]:
        return f"{found}: leave it out, and stop early."
    return f"{found}; of all that was tried, {recommended['label']} did best on validation rows."


def _subject(trained: Trained, answer: Answer) -> str:
    if (answer["arm"], answer["when"], answer["against"], answer["against_when"]) == ("none", "best", "none", "end"):
        return "early stopping"
    return "dropout" if answer["arm"] == "dropout" else label_of(trained, answer["arm"])


def _detail(trained: Trained, answer: Answer, comparisons: Sequence[Answer], recommended: Answer) -> str:
    """The answer in words that can be repeated without the table."""
    detail = [answer["sentence"]]
    if answer["when"] == answer["against_when"] == "best":
        detail.append(
            "Both stopped at their best validation epoch, and the setting was chosen without looking at the rows that "
            "score it."
        )
    pair = (answer["arm"], answer["against"])
    at_end = next(
        (c for c in comparisons if (c["arm"], c["against"], c["when"], c["against_when"]) == (*pair, "end", "end")),
        None,
    )
    if at_end is not None and at_end is not answer:
        show = formatter(Comparison(*(at_end[name] for name in Comparison._fields)))
        says = {
            "helps": "it helps",
            "hurts": "it hurts",
            "practically equal": "it makes no difference that matters",
            "not enough evidence": "there is not enough evidence either way",
        }[at_end["outcome"]]
        detail.append(
            f"When both train for all {trained.plan['epochs']} epochs instead, {says}: the "
            f"{metric_name(trained.selection)} improves by {show(at_end['difference'], '+')}, 95\u00a0% interval "
            f"{show(at_end['low'], '+')} to {show(at_end['high'], '+')}."
        )
    detail.append(f"Recommended: {recommended['label']}. {recommended['reason']}")
    return " ".join(detail)


def simplest_rate(trained: Trained) -> float | None:
    """The smallest rate that the one-standard-error rule lets pass (Breiman et al. 1984), 0 where none is needed.

    Of the rates of arm ``dropout`` and no dropout, the smallest whose mean validation loss exceeds the least by no more
    than one standard error. The error is that of the paired difference: the spread of the losses themselves is mostly
    that of the splits, which all rates share, and would let nearly every rate pass.
    """
    settings = [s for name in ("none", "dropout") for s in trained.arms.get(name, ())]
    if not trained.arms.get("dropout"):
        return None
    losses = {s: trained.losses(s, "best", "validation") for s in settings}
    least = losses[trained.least(settings)]
    excess = {s: trained.spread(loss - least, "validation") for s, loss in losses.items()}
    near = [s for s, spread in excess.items() if spread.mean <= spread.error]
    return float(min(trained.setting(s)["dropout"] for s in near))
