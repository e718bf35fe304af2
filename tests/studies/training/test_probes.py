"""What is found inside networks, against each network by itself in float64; and what is said of it."""

import copy
import dataclasses
import html
import json
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
import torch
from study_cases import as_json, make_plan, make_records, trained_networks, typed
from torch import nn

import thinned
from thinned import philox
from thinned.studies import Study
from thinned.studies.analysis.claims.coadaptation import coadaptation_claim
from thinned.studies.analysis.claims.sample_size import sample_size_claim
from thinned.studies.analysis.claims.variance_shift import variance_shift_claim
from thinned.studies.design.arm import Arm
from thinned.studies.design.plan import Member, Plan
from thinned.studies.design.setting import Setting
from thinned.studies.design.streams import stream_key
from thinned.studies.training import cohort, probes
from thinned.studies.training.config import TrainingConfig
from thinned.studies.training.network import MLP
from thinned.studies.training.probes import FRACTIONS
from thinned.studies.training.records import Probes

NORMED = tuple(Setting(dropout=p, batch_norm=where) for where in ("before", "after") for p in (0.0, 0.5))
ARMS = (
    Arm("none", "none", (Setting(),)),
    Arm("dropout", "dropout", (Setting(dropout=0.4),)),
    Arm("first", "first", (Setting(dropout=0.5, where="first"),)),
    Arm("before", "before", NORMED[:2]),
    Arm("after", "after", NORMED[2:]),
)
PLAN = Plan(
    arms=ARMS,
    folds=2,
    seeds=1,
    hidden=(10, 7),
    epochs=4,
    batch_size=16,
    learning_rate=1e-2,
    seed=5,
    task="binary",
    data="",
    rows=200,
)
SETTINGS = list(PLAN.settings)
# A float32 sum of n products of numbers of size 1 is off by at most about n · 2⁻²⁴; the longest sums are over 100 rows,
# a network has four operations one after the other, and values are compared at their own scale.
CLOSE = 4 * 100 * 2**-24


def make_data(seed: int, task: str) -> cohort.Data:
    rng = np.random.default_rng(seed)
    x = torch.tensor(rng.normal(size=(200, 5)), dtype=torch.float32)
    signal = x[:, 0] + 0.5 * x[:, 1]
    y = {"binary": (signal > 0).long(), "multiclass": (signal > 0).long() + (signal > 1).long(), "regression": signal}
    rows = torch.tensor(rng.permutation(200))
    return cohort.Data(x, y[task], rows[:100], rows[100:140], rows[140:])


def trained(
    task: str, settings: list[Setting], size: int = 0
) -> tuple[list[Member], list[cohort.Data], list[Any], Plan]:
    """A cohort of these settings on two folds, looked into."""
    plan = Plan(**{**PLAN.__dict__, "task": task})
    members = [Member(0, fold, SETTINGS.index(s), size) for fold in (0, 1) for s in settings]
    folds = [make_data(fold, task) for fold in (0, 1)]
    data = [folds[m.fold] for m in members]
    build = partial(MLP, 5, PLAN.hidden, 3 if task == "multiclass" else 1)
    look = partial(probes.probe, plan, members, data)
    return members, data, cohort.train(TrainingConfig.of_plan(plan), build, members, data, probe=look), plan


def alone(task: str, setting: Setting, outcome: cohort.Outcome) -> MLP:
    """The member as a network of its own in float64, in evaluation mode."""
    network = MLP(5, PLAN.hidden, 3 if task == "multiclass" else 1, setting)
    network.load_state_dict(outcome.weights, strict=False)
    return network.double().eval()


def loss(task: str, output: torch.Tensor, y: torch.Tensor) -> float:
    if task == "multiclass":
        return float(nn.functional.cross_entropy(output, y))
    if task == "binary":
        return float(nn.functional.binary_cross_entropy_with_logits(output[:, 0], y.double()))
    return float(((output[:, 0] - y) ** 2).mean())


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_dependence_and_removal_are_those_of_each_network_alone(task: str) -> None:
    members, data, outcomes, plan = trained(task, [Setting(), Setting(dropout=0.4)])
    for member, own, outcome in zip(members, data, outcomes, strict=True):
        network = alone(task, SETTINGS[member.setting], outcome)
        x, y = own.x[own.test].double(), own.y[own.test]
        layers, units = [], x
        for layer in network.hidden:
            units = layer(units)
            layers.append(units.detach().numpy())
        expected = []
        for values in layers:
            correlation = np.abs(np.corrcoef(values[:, values.std(0) > 0].T))
            expected.append(correlation[np.triu_indices(len(correlation), 1)].mean())
        found = outcome.probes.coadaptation
        assert found is not None
        assert outcome.probes.variance_shift is None
        # a correlation is of size 1 and divided by two norms, each with the error of a sum
        assert found.dependence == pytest.approx(np.mean(expected), abs=3 * CLOSE)
        lost = np.zeros(len(FRACTIONS))
        for number in range(5):
            masks = [probes.removal_masks(plan, member, number, w, i).double() for i, w in enumerate(PLAN.hidden)]
            for f in range(len(FRACTIONS)):
                hidden = network.hidden[1](network.hidden[0](x) * masks[0][f]) * masks[1][f]
                lost[f] += loss(task, network.output(hidden).detach(), y) / 5
        scale = max(1.0, float(max(lost)))  # a squared error grows with its value
        assert found.removal == pytest.approx(list(lost), abs=4 * CLOSE * scale)
        assert found.removal[0] == pytest.approx(loss(task, outcome.at_best.double(), y), abs=CLOSE * scale)
        assert len(set(found.removal)) == len(FRACTIONS)


@pytest.mark.parametrize("before", [True, False])
def test_variances_and_repair_are_those_of_each_network_alone(before: bool) -> None:
    members, data, outcomes, plan = trained("binary", list(NORMED[:2] if before else NORMED[2:]))
    for member, own, outcome in zip(members, data, outcomes, strict=True):
        setting = SETTINGS[member.setting]
        network, found = alone("binary", setting, outcome), outcome.probes.variance_shift
        x, x_test, y = own.x[own.train].double(), own.x[own.test].double(), own.y[own.test]
        assert found.before == pytest.approx(loss("binary", network(x_test).detach(), y), abs=4 * CLOSE)
        recalibrated = thinned.recalibrate_batchnorm(copy.deepcopy(network), [x])
        assert found.after == pytest.approx(loss("binary", recalibrated(x_test).detach(), y), abs=8 * CLOSE)
        in_use = [variance(network, x, layer) for layer in (0, 1)]
        for name in ("hidden.0.dropout", "hidden.1.dropout"):  # the masks of the step after the last
            key = philox.fold_in(stream_key(plan.seed, "mask"), philox.site_number(name))
            site = network.get_submodule(name)
            site.key = torch.tensor(np.uint64(philox.fold_in(key, member.fold)).view(np.int64))
            site.call = torch.tensor(4 * (100 // 16))
        in_training = [variance(copy.deepcopy(network).train(), x, layer) for layer in (0, 1)]
        ratios = [a / b for a, b in zip(in_training, in_use, strict=True)]
        assert found.ratios == pytest.approx(ratios, rel=8 * CLOSE)
        if setting.dropout:
            assert ratios[1] > 1
            assert (ratios[0] > 1.3) is before  # after the first batch norm, it is given what it is given in use


def variance(network: nn.Module, x: torch.Tensor, layer: int) -> float:
    """Variance of what the batch norm of a layer is given, summed over its units."""
    seen: list[torch.Tensor] = []
    hook = network.hidden[layer].norm.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach()))
    network(x)
    hook.remove()
    return float(np.var(seen[0].numpy(), axis=0, ddof=1).sum())


def test_without_dropout_the_ratio_of_the_first_batch_norm_is_1() -> None:
    _, _, outcomes, _ = trained("binary", [NORMED[0]])
    assert [o.probes.variance_shift.ratios[0] for o in outcomes] == pytest.approx([1, 1], abs=8 * CLOSE)


def test_looking_changes_nothing_and_asks_only_who_is_asked() -> None:
    settings = [Setting(), Setting(dropout=0.5, where="first"), Setting(dropout=0.4)]
    members, data, looked, plan = trained("binary", settings)
    plain = cohort.train(TrainingConfig.of_plan(plan), partial(MLP, 5, PLAN.hidden, 1), members, data)
    for before, after in zip(plain, looked, strict=True):
        assert torch.equal(before.at_best, after.at_best)
        assert all(torch.equal(before.weights[name], after.weights[name]) for name in before.weights)
    assert [o.probes.coadaptation is not None for o in looked] == [True, False, True] * 2
    assert all(o.probes.variance_shift is None for o in looked)
    assert all(o.probes == Probes() for o in plain)
    json.dumps(msgspec.to_builtins([o.probes for o in looked]), allow_nan=False)
    *_, small, _ = trained("binary", [Setting()], size=50)
    assert [o.probes for o in small] == [Probes(), Probes()]


def test_a_member_is_found_the_same_alone_and_in_a_cohort() -> None:
    members, data, together, plan = trained("binary", list(NORMED[2:]))
    look = partial(probes.probe, plan, members[1:2], data[1:2])
    config = TrainingConfig.of_plan(plan)
    (own,) = cohort.train(config, partial(MLP, 5, PLAN.hidden, 1), members[1:2], data[1:2], probe=look)
    for name, value in msgspec.to_builtins(own.probes.variance_shift).items():
        assert getattr(together[1].probes.variance_shift, name) == pytest.approx(value, abs=100 * CLOSE)


def test_dependence_of_units_that_are_known() -> None:
    x = torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64)
    z = torch.tensor([1.0, -2.0, 1.0], dtype=torch.float64)  # not correlated with x
    units = torch.stack([torch.stack([x, -2 * x + 1, z, 3 + 0 * x], 1), torch.stack([x, 0 * x, 0 * x, 0 * x], 1)])
    found = probes.dependence(units)
    assert float(found[0]) == pytest.approx(1 / 3, abs=1e-12)  # pairs 1, 0, 0; the last unit does not vary
    assert bool(found[1].isnan())


def test_removal_masks_take_exact_shares_and_more_of_the_same() -> None:
    member = Member(0, 1, 0)
    masks = probes.removal_masks(PLAN, member, 2, 10, 0)
    assert (masks == 0).sum(1).tolist() == [0, 1, 2, 3, 4, 5]
    assert torch.allclose(masks.sum(1), torch.tensor(10.0))
    assert bool(((masks[:-1] > 0) | (masks[1:] == 0)).all())
    assert torch.equal(masks, probes.removal_masks(PLAN, Member(0, 1, 3), 2, 10, 0))
    others = [(Member(1, 1, 0), 2, 0), (Member(0, 0, 0), 2, 0), (member, 1, 0), (member, 2, 1)]
    assert all(not torch.equal(masks, probes.removal_masks(PLAN, m, n, 10, layer)) for m, n, layer in others)
    assert bool((probes.removal_masks(PLAN, member, 0, 1, 0) == 1).all())


# what is said of the findings


def judged(claim: Callable[..., Any], records: list[dict[str, Any]], plan: Plan) -> Any:
    """A claim about these records as ``results.json`` has it."""
    return as_json(claim(trained_networks(records, plan)))


def by_size(records: list[dict[str, Any]], plan: Plan, training_rows: list[int]) -> Any:
    return as_json(sample_size_claim(typed(records), plan, training_rows))


DROPOUT = make_plan(["dropout"], (0.1, 0.5))


def units(of: Callable[[int], float], lost: float = 0.1) -> list[dict[str, Any]]:
    """Records whose dependence is known by setting, with noise of 0.01; best at setting 1."""
    rng = np.random.default_rng(0)

    def told(repeat: int, fold: int, setting: int) -> dict[str, Any]:
        removal = [0.5 + f * (lost if setting == 0 else 0.02) for f in FRACTIONS]
        found = {"dependence": of(setting) + 0.01 * rng.normal(), "removal": removal}
        return {"probes": {"coadaptation": found}, "validation": 1.0 - 0.1 * (setting == 1)}

    return make_records(DROPOUT, told)


@pytest.mark.parametrize(("dropped", "holds"), [(0.1, True), (0.3, None), (0.5, False)])
def test_the_claim_of_coadaptation_may_hold_and_fail(dropped: float, holds: bool | None) -> None:
    found = judged(coadaptation_claim, units(lambda s: 0.3 if s == 0 else dropped), DROPOUT)
    assert found is not None
    assert found["holds"] is holds
    assert found["best_rate"] == 0.1
    assert found["rates"] == [0.0, 0.1, 0.5]
    assert found["difference"]["mean"] == pytest.approx(0.3 - dropped, abs=0.02)
    assert list(found["removal"]["loss"]) == ["0", "0.1"]
    assert found["removal"]["loss"]["0"][-1]["mean"] == pytest.approx(0.55)
    assert re.search(r"by 0\.050* without dropout and by 0\.010* with it", found["sentence"])
    json.dumps(found, allow_nan=False)


def test_networks_that_were_not_looked_into_have_no_claim() -> None:
    records = make_records(DROPOUT, lambda *place: {})
    assert judged(coadaptation_claim, records, DROPOUT) is None
    assert judged(variance_shift_claim, records, DROPOUT) is None
    normed = make_plan(["batch_norm", "dropout_before_bn"])
    assert judged(variance_shift_claim, make_records(normed, lambda *place: {}), normed) is None
    assert judged(coadaptation_claim, make_records(normed, lambda *place: {}), normed) is None


@pytest.mark.parametrize(
    ("ratio", "repaired", "holds", "words"),
    [
        (1.4, 0.05, True, "the variance shifts; new statistics lower the test loss."),
        (1.4, 0.0, None, "the variance shifts; whether new statistics lower the test loss cannot be told."),
        (1.4, -0.05, False, "the variance shifts; new statistics do not help, but raise the test loss."),
        (0.8, 0.05, False, "the variance is smaller in training than in use; new statistics lower the test loss."),
    ],
)
def test_the_claim_of_variance_shift_may_hold_and_fail(
    ratio: float, repaired: float, holds: bool | None, words: str
) -> None:
    plan = make_plan(["batch_norm", "dropout_before_bn", "cocktail"])
    rng = np.random.default_rng(1)

    def told(repeat: int, fold: int, setting: int) -> dict[str, Any]:
        if plan.settings[setting].batch_norm is None:
            return {"probes": {}}
        dropped = plan.settings[setting].dropout > 0
        ratios = [0.9 * ratio, (ratio if dropped else 1.0) + 0.01 * rng.normal()]
        after = 0.5 - (repaired if dropped else 0) + 0.01 * rng.normal()
        return {"probes": {"variance_shift": {"ratios": ratios, "before": 0.5, "after": after}}}

    found = judged(variance_shift_claim, make_records(plan, told), plan)
    assert found is not None
    assert [(arm["arm"], arm["rate"]) for arm in found["arms"]] == [
        ("batch_norm", 0.0),
        *(("dropout_before_bn", p) for p in (0.1, 0.3, 0.5)),
    ]
    assert len({arm["label"] for arm in found["arms"]}) == 4
    assert found["arms"][1]["ratio"]["mean"] == pytest.approx(ratio, abs=0.02)
    assert found["arms"][1]["repaired"]["mean"] == pytest.approx(repaired, abs=0.02)
    assert found["holds"] is holds
    assert words in found["sentence"]
    json.dumps(found, allow_nan=False)


TRAINING = [3200] * 10


def sized(gain: dict[int, float], noise: float = 0.002) -> tuple[Plan, list[dict[str, Any]]]:
    """A plan with sizes, and records in which the second setting of dropout gains so much at each size (0: all)."""
    plan = make_plan(["dropout", "weight_decay"], (0.1, 0.5), sizes=tuple(size for size in gain if size))
    rng = np.random.default_rng(2)
    records = []
    for size, value in gain.items():

        def told(repeat: int, fold: int, setting: int, value: float = value, size: int = size) -> dict[str, Any]:
            better = value if setting == 2 else 0.0
            loss = 1 - better + noise * rng.normal()
            scores = {"log_loss": loss, "roc_auc": 0.8}
            end = {"train": 0.1, "validation": 1.0, "test": loss + 0.3, "scores": {"log_loss": loss + 0.3}}
            best = {"train": 0.1, "validation": 1.0 - (setting == 2), "test": loss, "scores": scores}
            return {"size": size, "best": best, "end": end}

        records += make_records(plan, told)
    return plan, records


@pytest.mark.parametrize(
    ("gain", "holds", "threshold"),
    [
        ({250: 0.0, 500: 0.0, 1000: 0.05, 2000: 0.08, 0: 0.1}, True, 1000),
        ({250: 0.0, 500: 0.05, 1000: 0.05, 0: 0.1}, False, 500),
        ({250: 0.0, 500: 0.0, 1000: -0.05, 0: -0.05}, False, None),
        ({250: 0.0, 1000: 0.0, 2000: 0.05, 0: 0.05}, None, 2000),
        ({1000: 0.05, 2000: 0.08, 0: 0.1}, None, 1000),
    ],
)
def test_a_threshold_is_seen_where_there_is_one(
    gain: dict[int, float], holds: bool | None, threshold: int | None
) -> None:
    plan, records = sized(gain)
    found = by_size(records, plan, TRAINING)
    assert found is not None
    assert found["sizes"] == [size or 3200 for size in gain]
    assert found["holds"] is holds
    assert found["threshold"] == threshold
    assert list(found["gain"]) == ["dropout", "weight_decay", "early_stopping"]
    assert [g["mean"] for g in found["gain"]["dropout"]] == pytest.approx(list(gain.values()), abs=0.004)
    assert [g["mean"] for g in found["gain"]["early_stopping"]] == pytest.approx([0.3] * len(gain), abs=1e-9)
    json.dumps(found, allow_nan=False)


def test_sizes_that_were_not_finished_are_left_out() -> None:
    plan, records = sized({250: 0.0, 1000: 0.05, 0: 0.1})
    part = [r for r in records if r["size"] != 1000 or r["setting"] != 1]  # the rest of the grid is there
    found = by_size(part, plan, TRAINING)
    assert found is not None
    assert found["sizes"] == [250, 1000, 3200]
    none = [r for r in records if r["size"] != 1000 or r["setting"] != 0]
    found = by_size(none, plan, TRAINING)
    assert found is not None
    assert found["sizes"] == [250, 3200]
    assert by_size(records, dataclasses.replace(plan, sizes=()), TRAINING) is None
    uneven = by_size(records, plan, [1600, 3200] * 5)  # by time: there is no one number for the whole
    assert uneven is not None
    assert uneven["sizes"] == [250, 1000]
    assert by_size([r for r in records if r["setting"] in (0, 3)], plan, TRAINING) is None


def test_a_study_tells_the_claims(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("thinned.studies.design.plan.table_epochs", lambda training, batch_size: 2)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(240, 3))
    table = pd.DataFrame(x, columns=["a", "b", "c"]).assign(y=(x[:, 0] + rng.normal(size=240) > 0).astype(int))
    found = thinned.study(
        table,
        "y",
        arms=["dropout", "weight_decay", "batch_norm", "dropout_before_bn"],
        rates=(0.3,),
        folds=2,
        seeds=1,
        hidden=(6,),
        epochs=2,
        sizes=(40, 60),
        out=tmp_path / "run",
    )
    claims = Study.load(found.folder).results.claims
    assert claims.sizes.sizes == (40, 60, 96)
    assert claims.coadaptation.rates == (0.0, 0.3)
    assert {arm.arm for arm in claims.variance_shift.arms} == {"batch_norm", "dropout_before_bn"}
    page = html.unescape(found.report(tmp_path / "page.html").read_text(encoding="utf-8"))
    assert all(claim.sentence in page for claim in (claims.sizes, claims.coadaptation, claims.variance_shift))
