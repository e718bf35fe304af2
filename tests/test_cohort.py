"""A cohort trains each member as if it were alone."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

import thinned
from thinned import philox
from thinned.studies import cohort
from thinned.studies.network import MLP, Linear
from thinned.studies.plan import Member, Plan, stream, stream_key

PLAN = Plan(
    rates=(0.0, 0.3, 0.7),
    folds=2,
    seeds=1,
    hidden=(8, 8),
    epochs=3,
    batch_size=16,
    learning_rate=1e-2,
    seed=5,
    task="binary",
    data="",
    rows=120,
)


class Plain(nn.Module):
    """A user's own module: nothing in it knows of members."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = nn.Linear(inputs, 8)
        self.dropout = thinned.Dropout(0.5)
        self.last = nn.Linear(8, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.dropout(torch.tanh(self.first(x))))


def make_data(seed: int, task: str = "binary") -> cohort.Data:
    rng = np.random.default_rng(seed)
    x = torch.tensor(rng.normal(size=(120, 5)), dtype=torch.float32)
    signal = x[:, 0] + 0.5 * x[:, 1]
    y = {
        "binary": (signal > 0).long(),
        "multiclass": (signal > 0).long() + (signal > 1).long(),
        "regression": signal,
    }[task]
    rows = torch.tensor(rng.permutation(120))
    return cohort.Data(x, y, rows[:70], rows[70:95], rows[95:])


def members_and_data(task: str = "binary") -> tuple[list[Member], list[cohort.Data]]:
    members = [Member(0, fold, rate) for fold in (0, 1) for rate in PLAN.rates]
    folds = [make_data(fold, task) for fold in (0, 1)]
    return members, [folds[m.fold] for m in members]


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
@pytest.mark.parametrize("kind", ["stacks", "vmap"])
def test_a_member_of_a_cohort_equals_the_member_trained_alone(task: str, kind: str) -> None:
    outputs = 3 if task == "multiclass" else 1
    build = (lambda: MLP(5, (8, 8), outputs)) if kind == "stacks" else (lambda: Plain(5, outputs))
    plan = dataclasses.replace(PLAN, task=task)
    members, data = members_and_data(task)
    together = cohort.train(plan, build, members, data)
    for member, own, inside in zip(members, data, together, strict=True):
        (alone,) = cohort.train(plan, build, [member], [own])
        # 12 steps of Adam in float32: rounding of the batched products, far below what another mask or order would do
        np.testing.assert_allclose(inside.train_loss, alone.train_loss, rtol=1e-4)
        np.testing.assert_allclose(inside.validation_loss, alone.validation_loss, rtol=1e-4)
        torch.testing.assert_close(inside.at_end, alone.at_end, rtol=1e-3, atol=1e-4)


def test_the_batched_program_equals_a_plain_pytorch_loop() -> None:
    """The same member by hand: nn.Linear, one network, masks from the NumPy specification."""
    data = make_data(0)
    member = Member(0, 1, 0.3)
    (ours,) = cohort.train(PLAN, lambda: MLP(5, (8, 8), 1), [member], [data])
    with torch.random.fork_rng():
        torch.manual_seed(stream_key(PLAN, "init", 0, 1) >> 1)
        network = MLP(5, (8, 8), 1)
    linears = [m for m in network.modules() if isinstance(m, Linear)]
    keys = [
        philox.fold_in(philox.fold_in(stream_key(PLAN, "mask"), philox.site_number(f"hidden.{layer}.dropout")), 1)
        for layer in (0, 1)
    ]
    optimizer = torch.optim.Adam(network.parameters(), lr=PLAN.learning_rate)
    call = 0
    for epoch in range(PLAN.epochs):
        order = stream(PLAN, "order", 0, 1, epoch).permutation(70)
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
    first, second = (cohort.train(PLAN, lambda: MLP(5, (8, 8), 1), members, data) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        assert a.validation_loss.tobytes() == b.validation_loss.tobytes()
        assert torch.equal(a.at_best, b.at_best)


def test_the_global_generator_is_left_alone() -> None:
    members, data = members_and_data()
    before = torch.get_rng_state()
    cohort.train(PLAN, lambda: MLP(5, (8, 8), 1), members, data)
    assert torch.equal(before, torch.get_rng_state())


def test_best_epoch_is_that_of_the_least_validation_loss() -> None:
    members, data = members_and_data()
    for outcome in cohort.train(PLAN, lambda: MLP(5, (8, 8), 1), members, data):
        assert outcome.best_epoch == int(outcome.validation_loss.argmin())


def test_arms_of_one_split_start_and_order_alike() -> None:
    """With a rate of 0 for all, members of one repeat and fold are one and the same network."""
    data = make_data(0)
    members = [Member(0, 0, 0.0)] * 3
    outcomes = cohort.train(PLAN, lambda: MLP(5, (8, 8), 1), members, [data] * 3)
    for other in outcomes[1:]:
        np.testing.assert_allclose(outcomes[0].train_loss, other.train_loss, rtol=1e-5)
    assert not torch.allclose(
        outcomes[0].at_end, cohort.train(PLAN, lambda: MLP(5, (8, 8), 1), [Member(0, 1, 0.0)], [data])[0].at_end
    )


def test_evaluation_in_chunks_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    members, data = members_and_data()
    whole = cohort.train(PLAN, lambda: MLP(5, (8, 8), 1), members, data)
    monkeypatch.setattr(cohort, "_CHUNK", 7)
    parts = cohort.train(PLAN, lambda: MLP(5, (8, 8), 1), members, data)
    for a, b in zip(whole, parts, strict=True):
        torch.testing.assert_close(a.at_end, b.at_end)


def test_losses_are_torchs() -> None:
    output = torch.randn(4, 6, 3)
    y = torch.randint(3, (4, 6))
    for m in range(4):
        expected = nn.functional.cross_entropy(output[m], y[m], reduction="none")
        torch.testing.assert_close(cohort.losses("multiclass", output, y)[m], expected)
