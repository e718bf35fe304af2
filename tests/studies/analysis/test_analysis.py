"""What a study says about records whose truth is known."""

import json
import math
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from study_cases import DECAYS, analysed, make_plan, make_records, noisy, own_plan, trained_networks

from thinned.errors import InputError
from thinned.studies.analysis.statistics import equivalence, nadeau_bengio, paired_test, resampled
from thinned.studies.design.arm import Arm
from thinned.studies.design.plan import Plan
from thinned.studies.design.setting import Setting

PLAN = make_plan()
NONE, LOW, MID, HIGH, WEAK, STRONG, STRONGEST = range(7)  # settings: none, dropout at 0.1, 0.3, 0.5, weight decays


def primary(found: dict[str, Any]) -> dict[str, Any]:
    return next(c for c in found["comparisons"] if c["primary"])


# --- outcomes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gain", "noise", "outcome"),
    [
        (0.2, 0.02, "helps"),
        (-0.2, 0.02, "hurts"),
        (0.0, 0.0005, "practically equal"),
        (0.004, 0.0005, "practically equal"),  # significant, and too small to matter: less than 1 % of the loss
        (0.0, 0.2, "not enough evidence"),
    ],
)
def test_outcomes(gain: float, noise: float, outcome: str) -> None:
    found = analysed(noisy(PLAN, [0, gain, gain, gain, 0, 0, 0], noise, 0), PLAN)
    answer = primary(found)
    assert answer["outcome"] == found["verdict"]["outcome"] == outcome
    assert answer["difference"] == pytest.approx(gain, abs=noise)
    if gain == 0.004:
        assert answer["p_adjusted"] < 1e-3


def test_a_comparison_is_made_of_the_paired_differences() -> None:
    """Noise that all settings of a split share falls out."""
    plan = make_plan([Arm("dropout", "dropout", (Setting(dropout=0.5),))])
    alone, shared = (analysed(noisy(plan, [0, 0.1], 0.02, 1, shared), plan) for shared in (0.0, 5.0))
    for name in ("difference", "low", "high", "p_value", "detectable"):
        assert primary(shared)[name] == pytest.approx(primary(alone)[name])
    tests = np.array([r["test"] for r in (record["best"] for record in noisy(plan, [0, 0.1], 0.02, 1))]).reshape(10, 2)
    gains = (tests[:, 0] - tests[:, 1]).reshape(2, 5)
    for name, value in paired_test(resampled(gains))._asdict().items():
        assert primary(alone)[name] == pytest.approx(value)
    supposed = paired_test(nadeau_bengio(gains, 0.25))
    for name, value in primary(alone)["nadeau_bengio"].items():
        assert getattr(supposed, name) == pytest.approx(value)
    rope = 0.01 * tests[:, 0].mean()
    assert primary(alone)["rope"] == pytest.approx(rope)
    for name, value in equivalence(resampled(gains), rope)._asdict().items():
        assert primary(alone)[name] == pytest.approx(value)


def test_the_share_of_test_rows_may_be_another_than_that_of_folds() -> None:
    records = noisy(PLAN, [0] * 7, 0.1, 2)
    wide, narrow = (primary(analysed(records, PLAN, share=share)) for share in (0.25, 0.1))
    ratio = np.ptp([narrow["nadeau_bengio"][side] for side in ("low", "high")])
    ratio /= np.ptp([wide["nadeau_bengio"][side] for side in ("low", "high")])
    assert ratio == pytest.approx(math.sqrt((0.1 + 0.1) / (0.1 + 0.25)))
    assert wide == primary(analysed(records, PLAN))


def test_the_primary_question_has_four_fifths_of_the_error_rate() -> None:
    found = analysed(noisy(PLAN, [0] * 7, 0.1, 3), PLAN)["comparisons"]
    assert len(found) == len(PLAN.questions) > 2
    for c in found:
        least = c["p_value"] / 0.8 if c["primary"] else c["p_value"]
        assert c["p_adjusted"] >= min(1, least) or c["p_adjusted"] == pytest.approx(min(1, least))
    smallest = min(found, key=lambda c: c["p_value"] / (0.8 if c["primary"] else 0.2 / (len(found) - 1)))
    weight = 0.8 if smallest["primary"] else 0.2 / (len(found) - 1)
    assert smallest["p_adjusted"] == pytest.approx(min(1, smallest["p_value"] / weight))


def test_without_a_primary_question_all_weigh_the_same() -> None:
    plan = PLAN.restricted_to([PLAN.settings[s] for s in (NONE, WEAK, STRONG, STRONGEST)])  # dropout was not finished
    assert not any(question.primary for question in plan.questions)
    found = analysed(noisy(plan, [0, 0.2, 0.2, 0.2, 0, 0, 0], 0.1, 3), plan)
    smallest = min(found["comparisons"], key=lambda c: c["p_value"])
    assert smallest["p_adjusted"] == pytest.approx(min(1, len(plan.questions) * smallest["p_value"]))
    assert found["verdict"]["outcome"] == found["comparisons"][0]["outcome"]


def test_false_alarms_of_a_family_stay_below_five_percent() -> None:
    """No effect, independent noise: 200 studies. The family's rate is at most 5 %; more than 20 of 200 has probability
    under 0.1 % (binomial).
    """
    alarms = sum(
        any(c["outcome"] in ("helps", "hurts") for c in analysed(noisy(PLAN, [0] * 7, 1.0, s), PLAN)["comparisons"])
        for s in range(200)
    )
    assert alarms <= stats.binom.ppf(0.999, 200, 0.05)


# --- selection ---------------------------------------------------------------------------------------------------


def test_the_choice_of_a_setting_never_sees_the_test_rows() -> None:
    """Best on the validation rows is worst on the test rows; in odd folds another setting is chosen."""

    def of(repeat: int, fold: int, setting: int) -> dict[str, float]:
        chosen = HIGH if fold % 2 else LOW
        return {"validation": 1.0 - (setting == chosen), "test": 2.0 if setting == chosen else 1.0}

    found = analysed(make_records(PLAN, of), PLAN)
    dropout = next(arm for arm in found["arms"] if arm["name"] == "dropout")
    assert dropout["best"]["chosen"] == [LOW, HIGH, LOW, HIGH, LOW] * 2
    assert primary(found)["difference"] == pytest.approx(-1)
    assert dropout["best"]["improvement"]["mean"] == pytest.approx(-1)
    assert dropout["best"]["scores"]["log_loss"]["mean"] == pytest.approx(2)


def test_best_and_end_are_two_readings_of_one_network() -> None:
    """Early stopping is arm none at its best epoch, and both readings of an arm are set against that."""

    def of(repeat: int, fold: int, setting: int) -> dict[str, Any]:
        at = {"train": 0.5, "validation": 1.0, "test": 1.0 - 0.1 * (setting == HIGH)}
        at["scores"] = {"log_loss": at["test"], "roc_auc": 0.8}
        worse = at | {"test": at["test"] + 1 + 0.01 * fold, "validation": 1 - 0.5 * (setting == LOW)}
        return {"best": at, "end": worse | {"scores": {"log_loss": worse["test"], "roc_auc": 0.6}}}

    found = analysed(make_records(PLAN, of), PLAN)
    stopping = next(c for c in found["comparisons"] if (c["arm"], c["against"]) == ("none", "none"))
    assert stopping["difference"] == pytest.approx(1.02)
    assert stopping["outcome"] == "helps"
    none, dropout = found["arms"][:2]
    assert none["best"]["improvement"] == {"mean": 0.0, "low": 0.0, "high": 0.0}
    assert none["end"]["improvement"]["mean"] == pytest.approx(-1.02)
    assert dropout["end"]["chosen"] == [LOW] * 10
    assert dropout["end"]["improvement"]["mean"] == pytest.approx(-1.02)
    assert none["end"]["scores"]["roc_auc"]["mean"] == pytest.approx(0.6)
    high = found["settings"][HIGH]
    assert [high["improvement"][when]["mean"] for when in ("best", "end")] == pytest.approx([0.1, 0.1])


def test_settings_hold_every_part_and_the_mean_curves() -> None:
    def of(repeat: int, fold: int, setting: int) -> dict[str, Any]:
        curve = [2.0 - 0.1 * fold - 0.05 * epoch for epoch in range(20)]
        return {"train": 0.1 * fold, "best_epoch": 3 + fold, "curves": {"train": curve, "validation": curve}}

    found = analysed(make_records(PLAN, of), PLAN)
    assert [s["index"] for s in found["settings"]] == list(range(7))
    assert [s["label"] for s in found["settings"]][:2] == ["no regularisation", "dropout 0.1"]
    one = found["settings"][MID]
    assert (one["networks"], one["best_epoch"]) == (10, 5.0)
    assert one["best"]["train"]["mean"] == pytest.approx(0.2)
    assert one["curves"]["train"] == pytest.approx([1.8 - 0.05 * epoch for epoch in range(20)])
    assert set(one["end"]) == {"train", "validation", "test", "scores"}


def test_networks_trained_on_a_part_of_the_rows_are_left_aside() -> None:
    records = noisy(PLAN, [0, 0.1, 0.1, 0.1, 0, 0, 0], 0.01, 0)
    sized = [record | {"size": 100, "best": record["best"] | {"test": 9.0}} for record in records]
    assert analysed([*sized, *records], PLAN) == analysed(records, PLAN)


@settings(max_examples=20)
@given(st.permutations(range(70)))
def test_the_order_of_records_changes_nothing(order: list[int]) -> None:
    records = noisy(PLAN, [0, 0.1, 0.05, 0.1, 0, 0, 0], 0.02, 5)
    assert analysed([records[i] for i in order], PLAN) == analysed(records, PLAN)


# --- verdict -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gains", "headline"),
    [
        ([0, 0.1, 0.3, 0.2, 0, 0, 0], "Dropout helps on this data: use a rate of 0.3 on the hidden layers."),
        (
            [0, 0.1, 0.3, 0.2, 0, 0.5, 0],
            "Dropout helps on this data. Recommended instead: weight decay 0.1.",
        ),
        ([0, -0.1, -0.3, -0.2, -1, -1, -1], "Dropout hurts on this data: leave it out, and stop early."),
    ],
)
def test_headlines_give_no_advice_that_the_recommended_setting_contradicts(gains: list[float], headline: str) -> None:
    verdict = analysed(noisy(PLAN, gains, 0.01, 0), PLAN)["verdict"]
    assert verdict["headline"] == headline
    best = int(np.argmax(gains))
    assert verdict["recommended"]["setting"] == best
    assert verdict["recommended"]["label"] == PLAN.settings[best].label
    assert best in PLAN.setting_indices(PLAN.arm(verdict["recommended"]["arm"]))
    assert verdict["metric"] == "log_loss"


def late(records: list[dict[str, Any]], *settings: int) -> list[dict[str, Any]]:
    """The same records with these settings at their best in the last epoch of 20."""
    return [r | {"best_epoch": 20} if r["setting"] in settings else r for r in records]


@pytest.mark.parametrize("gain", [0.2, -0.2, 0.0])
@pytest.mark.parametrize("limited", [(NONE,), (LOW, MID, HIGH)])
def test_a_budget_too_small_allows_no_conclusion(gain: float, limited: tuple[int, ...]) -> None:
    records = noisy(PLAN, [0, gain, gain, gain, 0, 0, 0], 0.0005, 0)
    found = analysed(late(records, *limited), PLAN)
    assert primary(found)["outcome"] == found["verdict"]["outcome"] == "budget too small"
    assert found["verdict"]["headline"].startswith("The budget was too small to tell whether dropout helps")
    assert "budget" in found["verdict"]["warnings"]
    advice = f"Provisionally: {found['verdict']['recommended']['label']}; train for more epochs first."
    assert found["verdict"]["headline"].endswith(f". {advice}")
    assert advice in found["verdict"]["detail"]
    assert "too small to tell" in primary(found)["sentence"]
    other = next(c for c in found["comparisons"] if (c["arm"], c["against"]) == ("weight_decay", "none"))
    assert (other["outcome"] == "budget too small") is (NONE in limited)
    alone = primary(analysed(records, PLAN))  # the numbers are the same
    assert {k: v for k, v in primary(found).items() if type(v) is float} == {
        k: v for k, v in alone.items() if type(v) is float
    }


def test_an_arm_that_stopped_on_half_of_the_splits_had_its_budget() -> None:
    records = noisy(PLAN, [0, 0.2, 0.2, 0.2, 0, 0, 0], 0.02, 0)
    half = [r | {"best_epoch": 20} if r["fold"] < 2 or (r["fold"] == 2 and r["repeat"]) else r for r in records]
    assert primary(analysed(half, PLAN))["outcome"] == "helps"
    most = [r | {"best_epoch": 20} if r["fold"] < 3 else r for r in records]
    assert primary(analysed(most, PLAN))["outcome"] == "budget too small"


def validated(gains: list[float], chosen: int, plan: Plan = PLAN) -> list[dict[str, Any]]:
    """Test losses as in ``noisy``; the validation rows prefer one setting."""
    records = noisy(plan, gains, 0.02, 1)
    for record in records:
        for when in ("best", "end"):
            record[when]["validation"] = 0.5 if record["setting"] == chosen else 1.0 + record["setting"] / 100
    return records


def test_without_evidence_the_simplest_setting_is_recommended() -> None:
    verdict = analysed(validated([0.0] * 7, MID), PLAN)["verdict"]
    assert verdict["recommended"]["label"] == "no regularisation"
    assert verdict["best_on_validation"] == {"arm": "dropout", "setting": MID, "label": "dropout 0.3"}
    assert (
        "simpler than dropout 0.3, which was best on validation but is not shown to be better"
        in (verdict["recommended"]["reason"])
    )
    shown = analysed(validated([0, 0, 0.1, 0, 0, 0, 0], MID), PLAN)["verdict"]
    assert shown["recommended"]["label"] == shown["best_on_validation"]["label"] == "dropout 0.3"
    assert "beats no regularisation" in shown["recommended"]["reason"]


def test_a_simpler_setting_that_was_still_improving_is_not_beaten() -> None:
    records = validated([0, 0, 0.1, 0, 0, 0, 0], MID)
    simpler = analysed(late(records, NONE), PLAN)["verdict"]["recommended"]
    assert simpler["setting"] == NONE
    assert "No regularisation was still improving when the budget ended" in simpler["reason"]
    assert analysed(late(records, MID), PLAN)["verdict"]["recommended"]["setting"] == MID


def test_a_choice_below_the_baseline_on_test_rows_is_said_to_be() -> None:
    verdict = analysed(validated([0, 0, -0.1, 0, 0, 0, 0], MID), PLAN)["verdict"]
    assert verdict["recommended"]["label"] != "dropout 0.3"
    told = verdict["recommended"]["reason"]
    assert "scored worse on test rows" in told or "worse than no regularisation" in told
    near = analysed(validated([0, 0, 0.1, 0, 0, 0, 0], MID), PLAN)["verdict"]
    assert "worse" not in near["recommended"]["reason"]


def test_a_reason_says_of_which_setting_its_difference_is_and_says_it_once() -> None:
    """One setting on all splits, where the arm of the chart chooses anew on each; and the chart's arm of no other."""
    close = analysed(validated([0.0] * 7, MID), PLAN)["verdict"]["recommended"]["reason"]
    assert "(that setting on all splits: " in close
    worse = analysed(validated([0.0, 0.0, -0.1, 0.0, 0.0, 0.0, 0.0], MID), PLAN)["verdict"]["recommended"]["reason"]
    told = f"{close} {worse}"
    assert "early stopping alone" not in told
    assert worse.count("worse") == 1


def test_a_recommended_value_at_an_end_of_its_grid_is_said_to_be() -> None:
    """Weight decay 1 is the highest of all arms, and 0.1 is none."""
    highest, inside = 6, 5
    assert [PLAN.settings[s].weight_decay for s in (highest, inside)] == [1.0, 0.1]
    reasons = {}
    for best in (highest, inside):
        gains = [0.3 * (s == best) for s in range(7)]
        found = analysed(noisy(PLAN, gains, 0.01, 0), PLAN)["verdict"]["recommended"]
        assert found["setting"] == best
        reasons[best] = found["reason"]
    assert " Weight decay 1 is the highest that was tried: try 3 and 10, too." in reasons[highest]
    assert "that was tried" not in reasons[inside]


OWN = own_plan(["none", "dropout", "as_is", "weight_decay"])


@pytest.mark.parametrize(
    ("plan", "noun"),
    [(PLAN, "rows"), (OWN, "examples")],
    ids=["table", "network"],
)
def test_a_recommendation_that_the_test_does_not_confirm_says_so(plan: Plan, noun: str) -> None:
    """Dropout helps, and the best on validation is a weight decay that is not shown to improve anything, or is."""
    base = plan.arm("none").label
    decay = plan.setting_indices(plan.arm("weight_decay"))[1]
    dropouts = plan.setting_indices(plan.arm("dropout"))

    def verdict(gain: float) -> dict[str, Any]:
        gains = [0.3 if s in dropouts else gain if s == decay else 0.0 for s in range(len(plan.settings))]
        found = analysed(validated(gains, decay, plan), plan)["verdict"]
        assert found["outcome"] == "helps"
        assert found["recommended"]["setting"] == decay
        return found

    remark = f"best on validation; on test {noun} no difference from {base} that this study could detect"
    reasons = {gain: verdict(gain)["recommended"]["reason"] for gain in (-0.008, 0.0)}
    assert f" On test {noun} this study could detect no difference between it and {base}" in reasons[0.0]
    assert f"worse than {base} (this setting on all splits: 95\u00a0% interval of the improvement" in reasons[-0.008]
    label = plan.settings[decay].label
    assert verdict(0.0)["headline"].endswith(f"{label} ({remark}).")
    assert verdict(-0.008)["headline"].endswith(f"{label} ({remark}).")
    assert verdict(0.1)["headline"].endswith(f"{label}.")


def test_where_dropout_helps_none_is_not_recommended() -> None:
    """Validation rows prefer no regularisation, test rows dropout."""
    records = noisy(PLAN, [0, 0.2, 0.2, 0.2, 0, 0, 0], 0.02, 0)
    for record in records:
        record["best"]["validation"] = 0.5 if record["setting"] == NONE else 1.0 + record["setting"] / 100
    verdict = analysed(records, PLAN)["verdict"]
    assert verdict["outcome"] == "helps"
    assert verdict["headline"] == "Dropout helps on this data: use a rate of 0.1 on the hidden layers."
    assert verdict["best_on_validation"]["label"] == "no regularisation"
    assert "No regularisation had the least validation loss, but scored worse" in verdict["recommended"]["reason"]


def test_an_arm_with_a_warning_is_measured_but_not_recommended() -> None:
    noise = Arm("output", "dropout on the output", (Setting(dropout=0.1, where="output"),), warning="adds noise")
    plan = make_plan(["dropout", noise])
    found = analysed(noisy(plan, [0, 0.1, 0.2, 0.1, 0.9], 0.01, 0), plan)
    assert found["verdict"]["recommended"]["label"] == "dropout 0.3"
    assert "dropout on the output" in found["verdict"]["recommended"]["reason"]
    assert "the least of the 4 settings considered, of 5" in found["verdict"]["recommended"]["reason"]
    assert found["arms"][-1]["best"]["improvement"]["mean"] == pytest.approx(0.9, abs=0.02)
    assert found["arms"][-1]["warning"] == "adds noise"


def test_a_study_without_dropout_has_its_verdict_too() -> None:
    plan = make_plan([DECAYS])
    found = analysed(noisy(plan, [0, 0.3, 0.1, 0.1], 0.01, 0), plan)
    assert found["verdict"]["headline"].startswith("Weight decay helps on this data")
    assert found["verdict"]["simplest_rate"] is None
    records = noisy(plan, [0, 0.3, 0.1, 0.1], 0.01, 0)
    records = [r | {"end": r["end"] | {"train": math.nan}} if r["setting"] == NONE else r for r in records]
    assert analysed(records, plan)["verdict"]["headline"].startswith("No regularisation diverged, so")


def test_sentences_have_the_digits_that_the_interval_has() -> None:
    answer = primary(analysed(noisy(PLAN, [0, 0.5, 0.5, 0.5, 0, 0, 0], 0.01, 0), PLAN))
    numbers = (
        r"At the best epoch, dropout had a log loss of 0\.\d{3}, 0\.\d{3} below the [01]\.\d{3} of no regularisation "
    )
    assert re.match(numbers, answer["sentence"])
    assert "adjusted p < 0.001" in answer["sentence"]
    assert answer["sentence"].endswith("It helps.")
    for seed in range(5):
        assert "−0.000" not in primary(analysed(noisy(PLAN, [0] * 7, 1.0, seed), PLAN))["sentence"]


def test_a_finding_that_the_family_takes_away_says_so() -> None:
    """The second of many questions: significant alone, not among the others."""
    found = analysed(noisy(PLAN, [0] * 7, 0.1, 3), PLAN)["comparisons"]
    taken = [c for seed in range(20) for c in analysed(noisy(PLAN, [0] * 7, 0.1, seed), PLAN)["comparisons"]]
    taken = [c for c in taken if c["p_value"] < 0.05 <= c["p_adjusted"] and c["outcome"] == "not enough evidence"]
    assert taken
    for c in taken:
        assert c["sentence"].endswith(f"Not enough evidence for one of {len(found)} questions.")


@pytest.mark.parametrize(
    ("gains", "noise", "simplest"),
    [
        ([0, 0.1, 0.3, 0.31, 0, 0, 0], 0.05, 0.3),  # within the error of the best, with less dropout
        ([0, 0.1, 0.3, 0.31, 0, 0, 0], 0.0001, 0.5),
        ([0, -0.1, -0.1, -0.1, 0, 0, 0], 0.001, 0.0),
    ],
)
def test_the_one_standard_error_rule(gains: list[float], noise: float, simplest: float) -> None:
    rng = np.random.default_rng(0)

    def of(repeat: int, fold: int, setting: int) -> dict[str, float]:
        return {"validation": 1 - gains[setting] + noise * rng.normal()}

    assert analysed(make_records(PLAN, of), PLAN)["verdict"]["simplest_rate"] == simplest


@pytest.mark.parametrize("part", ["validation", "test"])
def test_intervals_of_rows_that_folds_share_are_wide_enough(part: str) -> None:
    """5×2 folds of 200 rows, each tested on a fold and validated on a fifth of the others; the truth is 0.

    2,000 studies, at 95 % a standard error of 0.5 %. Were validation rows as much apart as test rows are, 88 % would
    hold the truth. False-fail rate below 1e-6 (the interval is on the safe side: 98 %).
    """
    trained, rng = trained_networks(noisy(PLAN, [0] * 7, 0.1, 0), PLAN), np.random.default_rng(1)
    covered = 0
    for _ in range(2000):
        rows, values = rng.normal(size=200), []
        for _ in range(2):
            folds = rng.permutation(200).reshape(5, 40)
            for fold in range(5):
                rest = np.delete(folds, fold, axis=0).reshape(-1)
                values.append(rows[folds[fold] if part == "test" else rng.permutation(rest)[:32]].mean())
        interval = trained.interval(np.array(values), part)
        covered += bool(interval.low <= 0 <= interval.high)
    assert covered > 0.925 * 2000


# --- networks that diverged --------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [math.nan, math.inf, None])
def test_a_setting_that_diverged_is_never_chosen(value: float | None) -> None:
    records = noisy(PLAN, [0, 0.1, 0.2, 0.9, 0, 0, 0], 0.01, 0)
    records = [
        r | {"end": r["end"] | {"train": value}} if r["setting"] == HIGH and not r["fold"] else r for r in records
    ]
    found = analysed(records, PLAN)
    assert [s["index"] for s in found["settings"]] == [NONE, LOW, MID, WEAK, STRONG, STRONGEST]
    assert found["verdict"]["recommended"]["setting"] == MID
    assert found["warnings"][0]["code"] == "diverged"
    assert "Dropout 0.5: 2 of 10 networks have losses that are not finite" in found["warnings"][0]["message"]
    json.dumps(found, allow_nan=False)


def test_an_arm_that_diverged_is_left_out_and_counts_in_the_family() -> None:
    records = noisy(PLAN, [0, 0.1, 0.2, 0.3, 0, 0, 0], 0.1, 0)
    broken = [
        r | {"best": r["best"] | {"test": math.nan}} if r["setting"] in (WEAK, STRONG, STRONGEST) else r
        for r in records
    ]
    found, whole = analysed(broken, PLAN), analysed(records, PLAN)
    assert [arm["name"] for arm in found["arms"]] == ["none", "dropout"]
    assert all("weight_decay" not in (c["arm"], c["against"]) for c in found["comparisons"])
    alone = [c["p_value"] / 0.8 for c in found["comparisons"] if c["primary"]]  # were it the smallest of all
    assert primary(found)["p_adjusted"] >= max(primary(whole)["p_adjusted"], *alone, 0.0)


def test_the_headline_says_that_the_main_arm_diverged() -> None:
    records = noisy(PLAN, [0, 0.1, 0.2, 0.3, 0, 0, 0], 0.1, 0)
    broken = [r | {"best": r["best"] | {"test": math.nan}} if r["setting"] in (LOW, MID, HIGH) else r for r in records]
    verdict = analysed(broken, PLAN)["verdict"]
    assert verdict["headline"].startswith("Dropout diverged, so the main question has no answer. Recommended: ")
    assert verdict["outcome"] == "not enough evidence"


def test_a_study_of_which_nothing_is_left_is_refused() -> None:
    records = make_records(PLAN, lambda *place: {"test": math.nan})
    with pytest.raises(InputError, match="losses must stay finite"):
        analysed(records, PLAN)


def test_a_score_without_meaning_on_a_fold_is_left_out_of_its_mean() -> None:
    """ROC-AUC of a test fold with one class only, as grouped and time splits may have it."""
    records = noisy(PLAN, [0] * 7, 0.1, 0)
    for record in records:
        for when in ("best", "end"):
            if record["fold"] > 1:
                record[when]["scores"]["roc_auc"] = math.nan
    found = analysed(records, PLAN)
    assert found["settings"][0]["best"]["scores"]["roc_auc"]["mean"] == pytest.approx(0.8)
    for record in records:
        record["best"]["scores"]["roc_auc"] = None
    found = analysed(records, PLAN)
    assert found["settings"][0]["best"]["scores"]["roc_auc"] == {"mean": None, "low": None, "high": None}
    json.dumps(found, allow_nan=False)
