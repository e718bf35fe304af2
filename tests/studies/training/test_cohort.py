"""A cohort trains each member as if it were alone."""

import dataclasses
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from cohort_cases import EVERY_KIND, PLAN, SETTINGS, make_data
from torch import nn

import thinned
from thinned import philox
from thinned.errors import InputError
from thinned.studies.design.arm import Arm
from thinned.studies.design.plan import Member, Plan
from thinned.studies.design.setting import Setting
from thinned.studies.design.streams import stream, stream_key
from thinned.studies.training import cohort
from thinned.studies.training.config import TrainingConfig
from thinned.studies.training.network import MLP, Linear, load_network

BUILD = partial(MLP, 5, (8, 8), 1)
make_config = TrainingConfig.of_plan
CONFIG = make_config(PLAN)


class Plain(nn.Module):
    """A user's own module: nothing in it knows of members."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = nn.Linear(inputs, 8)
        self.dropout = thinned.Dropout(0.5)
        self.last = nn.Linear(8, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.dropout(torch.tanh(self.first(x))))


def members_and_data(task: str = "binary") -> tuple[list[Member], list[cohort.Data]]:
    members = [Member(0, fold, setting) for fold in (0, 1) for setting in range(3)]
    folds = [make_data(fold, task) for fold in (0, 1)]
    return members, [folds[m.fold] for m in members]


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
@pytest.mark.parametrize("kind", ["stacks", "vmap"])
def test_a_member_of_a_cohort_equals_the_member_trained_alone(task: str, kind: str) -> None:
    outputs = 3 if task == "multiclass" else 1
    build = partial(MLP, 5, (8, 8), outputs) if kind == "stacks" else (lambda _: Plain(5, outputs))
    plan = dataclasses.replace(PLAN, task=task)
    members, data = members_and_data(task)
    together = cohort.train(make_config(plan), build, members, data)
    for member, own, inside in zip(members, data, together, strict=True):
        (alone,) = cohort.train(make_config(plan), build, [member], [own])
        # 12 steps of Adam in float32: rounding of the batched products, far below what another mask or order would do
        np.testing.assert_allclose(inside.train_loss, alone.train_loss, rtol=1e-4)
        np.testing.assert_allclose(inside.validation_loss, alone.validation_loss, rtol=1e-4)
        torch.testing.assert_close(inside.at_end, alone.at_end, rtol=1e-3, atol=1e-4)


def test_the_batched_program_equals_a_plain_pytorch_loop() -> None:
    """The same member by hand: nn.Linear, one network, masks from the NumPy specification."""
    data = make_data(0)
    (ours,) = cohort.train(CONFIG, BUILD, [Member(0, 1, 1)], [data])
    with torch.random.fork_rng():
        torch.manual_seed(stream_key(PLAN.seed, "init", 0, 1) >> 1)
        network = BUILD(SETTINGS[1])
    linears = [m for m in network.modules() if isinstance(m, Linear)]
    keys = [
        philox.fold_in(philox.fold_in(stream_key(PLAN.seed, "mask"), philox.site_number(f"hidden.{layer}.dropout")), 1)
        for layer in (0, 1)
    ]
    optimizer = torch.optim.Adam(network.parameters(), lr=PLAN.learning_rate)
    call = 0
    for epoch in range(PLAN.epochs):
        order = stream(PLAN.seed, "order", 0, 1, epoch).permutation(70)
        for start in range(0, 64, 16):
            rows = data.train[torch.from_numpy(order[start : start + 16])]
            h = data.x[rows]
            for linear, key in zip(linears[:2], keys, strict=True):
                h = torch.relu(nn.functional.linear(h, linear.weight, linear.bias))
                kept = torch.from_numpy(philox.keep(np.arange(h.numel()).reshape(h.shape), 0.3, key, call))
                h = torch.where(kept, h * philox.scale(0.3), 0)
            output = nn.functional.linear(h, linears[2].weight, linears[2].bias)[:, 0]
            nn.functional.binary_cross_entropy_with_logits(output, data.y[rows].float()).backward()
            optimizer.step()
            optimizer.zero_grad()
            call += 1
    network.eval()
    torch.testing.assert_close(ours.at_end, network(data.x[data.test]).detach(), rtol=1e-3, atol=1e-4)


def test_training_twice_gives_the_same_bits() -> None:
    members, data = members_and_data()
    first, second = (cohort.train(CONFIG, BUILD, members, data) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        assert a.validation_loss.tobytes() == b.validation_loss.tobytes()
        assert torch.equal(a.at_best, b.at_best)


def test_the_global_generator_is_left_alone() -> None:
    members, data = members_and_data()
    before = torch.get_rng_state()
    cohort.train(CONFIG, BUILD, members, data)
    assert torch.equal(before, torch.get_rng_state())


def test_best_epoch_is_that_of_the_least_validation_loss() -> None:
    members, data = members_and_data()
    for outcome in cohort.train(CONFIG, BUILD, members, data):
        assert outcome.best_epoch == int(outcome.validation_loss.argmin())


def test_arms_of_one_split_start_and_order_alike() -> None:
    """With a rate of 0 for all, members of one repeat and fold are one and the same network."""
    data = make_data(0)
    members = [Member(0, 0, 0)] * 3
    outcomes = cohort.train(CONFIG, BUILD, members, [data] * 3)
    for other in outcomes[1:]:
        np.testing.assert_allclose(outcomes[0].train_loss, other.train_loss, rtol=1e-5)
    assert not torch.allclose(outcomes[0].at_end, cohort.train(CONFIG, BUILD, [Member(0, 1, 0)], [data])[0].at_end)


def test_evaluation_in_chunks_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    members, data = members_and_data()
    whole = cohort.train(CONFIG, BUILD, members, data)
    monkeypatch.setattr(cohort, "_CHUNK", 7)
    parts = cohort.train(CONFIG, BUILD, members, data)
    for a, b in zip(whole, parts, strict=True):
        torch.testing.assert_close(a.at_end, b.at_end)


def test_losses_are_torchs() -> None:
    output = torch.randn(4, 6, 3)
    y = torch.randint(3, (4, 6))
    for m in range(4):
        expected = nn.functional.cross_entropy(output[m], y[m], reduction="none")
        torch.testing.assert_close(cohort.losses("multiclass", output, y)[m], expected)


class ByHand(nn.Module):
    """The network of a setting as one writes it with torch alone, masks from the NumPy specification."""

    def __init__(self, network: MLP, setting: Setting, member: int) -> None:
        super().__init__()
        self.linears = nn.ModuleList(
            nn.Linear(m.in_features, m.out_features, m.bias is not None) for m in linears(network)
        )
        self.norms = nn.ModuleList(nn.BatchNorm1d(8) for _ in range(2)) if setting.batch_norm else None
        for own, given in zip(self.linears, linears(network), strict=True):
            own.load_state_dict(given.state_dict())
        self.setting, self.member, self.call, self.rate = setting, member, 0, setting.dropout

    def drop(self, x: torch.Tensor, site: str, place: str) -> torch.Tensor:
        places = {"hidden": ("first", "last")}.get(self.setting.where, (self.setting.where,))
        if not self.training or place not in places or not self.rate:
            return x
        key = philox.fold_in(philox.fold_in(stream_key(PLAN.seed, "mask"), philox.site_number(site)), self.member)
        shape = (1, x.shape[1]) if self.setting.one_mask else tuple(x.shape)
        kept = torch.from_numpy(philox.keep(np.arange(math.prod(shape)).reshape(shape), self.rate, key, self.call))
        return torch.where(kept, x * philox.scale(self.rate), 0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.drop(x, "input_dropout", "input")
        for n, place in enumerate(("first", "last")):
            x, site = self.linears[n](x), f"hidden.{n}.dropout"
            x = self.drop(x, site, place) if self.setting.batch_norm == "before" else x
            x = torch.relu(x if self.norms is None else self.norms[n](x))
            x = x if self.setting.batch_norm == "before" else self.drop(x, site, place)
        return self.drop(self.linears[2](x), "output_dropout", "output")


def linears(network: nn.Module) -> list[Linear]:
    return [m for m in network.modules() if isinstance(m, Linear)]


def train_by_hand(setting: Setting, data: cohort.Data, plan: Plan, fold: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(stream_key(plan.seed, "init", 0, fold) >> 1)
        network = ByHand(BUILD(setting), setting, fold)
    matrices = [p for p in network.parameters() if p.ndim == 2]
    others = [p for p in network.parameters() if p.ndim == 1]
    groups: list[dict[str, Any]] = [{"params": matrices, "weight_decay": setting.weight_decay}]
    optimizer = torch.optim.AdamW([*groups, {"params": others, "weight_decay": 0.0}], lr=plan.learning_rate)
    for epoch in range(plan.epochs):
        switch = math.ceil(plan.epochs / 6)
        network.rate = {
            "constant": setting.dropout,
            "early": setting.dropout * max(0.0, 1 - epoch / switch),
            "late": setting.dropout if epoch >= switch else 0.0,
        }[setting.schedule]
        order = stream(plan.seed, "order", 0, fold, epoch).permutation(70)
        for start in range(0, 64, 16):
            rows = data.train[torch.from_numpy(order[start : start + 16])]
            output = network(data.x[rows])[:, 0]
            nn.functional.binary_cross_entropy_with_logits(output, data.y[rows].float()).backward()
            optimizer.step()
            optimizer.zero_grad()
            network.call += 1
            if setting.max_norm is not None:
                with torch.no_grad():
                    for linear in network.linears[:-1]:
                        linear.weight.copy_(torch.renorm(linear.weight, 2, 0, setting.max_norm))
    return network.eval()


@pytest.mark.parametrize("setting", EVERY_KIND, ids=lambda s: s.label)
def test_every_kind_of_setting_equals_a_plain_pytorch_loop(setting: Setting) -> None:
    """Beside members of other settings of its structure, on two folds."""
    same = [other for other in EVERY_KIND if other.structure == setting.structure and other != setting]
    plan = dataclasses.replace(PLAN, arms=(Arm("all", "all", (setting, *same)),), epochs=8)
    data = [make_data(fold) for fold in (0, 1)]
    members = [Member(0, fold, number) for fold in (0, 1) for number in range(len(plan.settings))]
    outcomes = cohort.train(make_config(plan), BUILD, members, [data[m.fold] for m in members])
    for member, outcome in zip(members, outcomes, strict=True):
        if member.setting == 0:
            expected = train_by_hand(setting, data[member.fold], plan, member.fold)
            with torch.no_grad():
                at_end = expected(data[member.fold].x[data[member.fold].test])
            # 32 steps of Adam in float32, whose first steps divide by tiny second moments
            torch.testing.assert_close(outcome.at_end, at_end, rtol=2e-3, atol=5e-4)


@pytest.mark.parametrize("setting", EVERY_KIND, ids=lambda s: s.label)
def test_every_kind_of_setting_changes_the_network(setting: Setting) -> None:
    plan = dataclasses.replace(PLAN, arms=(Arm("all", "all", (Setting(), setting)),), epochs=8)
    data = make_data(0)
    plain, changed = (cohort.train(make_config(plan), BUILD, [Member(0, 0, n)], [data])[0].at_end for n in (0, 1))
    assert (plain - changed).abs().max() > 0.01


def test_max_norm_bounds_the_incoming_weights_of_hidden_units_alone() -> None:
    settings = (Setting(), Setting(max_norm=0.3))
    plan = dataclasses.replace(PLAN, arms=(Arm("all", "all", settings),), epochs=8)
    data = make_data(0)
    free, bounded = (
        o.weights for o in cohort.train(make_config(plan), BUILD, [Member(0, 0, 0), Member(0, 0, 1)], [data] * 2)
    )
    for layer in (0, 1):
        assert bounded[f"hidden.{layer}.linear.weight"].norm(dim=1).max() <= 0.3 * (1 + 1e-6)
        assert free[f"hidden.{layer}.linear.weight"].norm(dim=1).max() > 0.3
    assert bounded["output.weight"].norm() > 0.3


def test_a_users_network_with_batch_norm_trains_member_by_member() -> None:
    members, data = members_and_data()
    build: Callable[[Setting], nn.Module] = lambda _: load_network("user_networks:user_network", 5, 1)  # noqa: E731
    together = cohort.train(CONFIG, build, members, data)
    for member, own, inside in zip(members, data, together, strict=True):
        (alone,) = cohort.train(CONFIG, build, [member], [own])
        torch.testing.assert_close(inside.at_end, alone.at_end, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(inside.weights["1.running_var"], alone.weights["1.running_var"], rtol=1e-3, atol=0)
    assert (together[0].at_end - together[2].at_end).abs().max() > 0.01  # rates are those of the setting


@pytest.mark.parametrize(
    ("name", "seen"),
    [
        ("nowhere:build", "No module named 'nowhere'"),
        ("user_networks:absent", "there is no 'absent'"),
        ("user_networks:nn", "it is a module"),
        ("user_networks:without_dropout", "it has none"),
        ("user_networks:wrong_shape", r"it gave \(2, 3\)"),
        ("user_networks:noisy_network", "random operation.* leave out what depends on values"),
        ("user_networks:branching_network", r"\.item\(\).* leave out what depends on values"),
        (".user_networks:user_network", "must be importable"),
    ],
)
def test_a_network_that_cannot_be_studied_is_refused(name: str, seen: str) -> None:
    with pytest.raises(InputError, match=seen):
        load_network(name, 5, 1)


def test_frozen_parameters_stay_as_they_are() -> None:
    """In a network of the user's own, also under weight decay and a largest norm."""

    def build(setting: Setting) -> nn.Module:
        network = load_network("user_networks:user_network", 5, 1)
        network.get_parameter("4.weight").requires_grad_(False)
        return network

    plan = dataclasses.replace(PLAN, arms=(Arm("all", "all", (Setting(weight_decay=1.0, max_norm=0.1),)),))
    member, data = Member(0, 0, 0), make_data(0)
    (outcome,) = cohort.train(make_config(plan), build, [member], [data])
    before = cohort._initialised(plan.seed, build, member, Setting())
    assert torch.equal(outcome.weights["4.weight"], before.get_parameter("4.weight"))
    assert outcome.weights["0.weight"].norm(dim=1).max() <= 0.1 * (1 + 1e-6)
    assert not torch.equal(outcome.weights["7.weight"], before.get_parameter("7.weight"))
