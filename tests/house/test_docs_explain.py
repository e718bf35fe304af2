"""docs/explain.md and docs/claims.md are what the script would write, and the claims' verdicts are what was found."""

import importlib.util
import itertools
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

import thinned
from thinned.explain import numbers
from thinned.explain import numpy_network as net
from thinned.explain.claims import FAILS, HOLDS, RATES, Claim, claims, forgetful, self_validation, sweep

SCRIPT = Path(__file__).resolve().parents[2] / "docs" / "tools" / "explain.py"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_explain", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def found() -> dict[str, Claim]:
    return {claim.title: claim for claim in claims()}


def test_the_pages_are_not_stale(tool: ModuleType) -> None:
    for path, text in tool.files().items():
        assert path.exists(), f"{path} is missing: run python docs/tools/explain.py"
        assert path.read_text("utf-8") == text, f"{path} is stale: run python docs/tools/explain.py"


def test_the_five_rows_are_of_the_bundled_table() -> None:
    table = thinned.datasets.churn()
    x, y = numbers.churn_rows()
    rows = numbers.five_rows(y)
    assert table["churn"][rows].tolist() == ["no", "no", "no", "yes", "yes"]
    np.testing.assert_allclose(x[rows, 0] * 10, table["number_customer_service_calls"][rows])
    np.testing.assert_allclose(x[rows, 1] * 1000, table["total_day_minutes"][rows])


def test_the_mask_of_numpys_seed_42(found: dict[str, Claim]) -> None:
    assert (np.random.RandomState(42).rand(4) > 0.5).astype(int).tolist() == [0, 1, 1, 1]
    claim = found["The mask of seed 42"]
    assert claim.verdict == FAILS
    assert "It is [0, 1, 1, 1];" in claim.result


def test_the_subnetworks_are_those_of_a_plain_loop() -> None:
    a = np.array([0.36, 0.13, 0.42, 0.25])
    for p, logistic in itertools.product((0.05, 0.5, 0.9), (True, False)):
        kept = round((1 - p) * 65536) / 65536
        ensemble = numbers.subnetworks(p, logistic)
        total = 0.0
        for i, mask in enumerate(itertools.product((0, 1), repeat=4)):
            logit = float(a / kept * mask @ net.EXAMPLE.output_weight - 1)
            value = 1 / (1 + np.exp(-logit)) if logistic else logit
            chance = np.prod([kept if m else 1 - kept for m in mask])
            total += chance * value
            assert ensemble.masks[i].tolist() == [bool(m) for m in mask]
            assert ensemble.probability[i] == pytest.approx(chance, rel=1e-12)
            assert ensemble.output[i] == pytest.approx(value, rel=1e-12)
        assert ensemble.mean == pytest.approx(total, rel=1e-12)
        assert ensemble.geometric_mean == pytest.approx(ensemble.weight_scaled, rel=1e-12)
        if logistic:
            assert abs(ensemble.mean - ensemble.weight_scaled) > 0.004
        else:
            assert ensemble.mean == pytest.approx(ensemble.weight_scaled, rel=1e-12)


def test_a_thousand_masks_converge(found: dict[str, Claim]) -> None:
    """3 rates, 4 units, within 4.5 standard errors: fails by chance for 12 · 7e-6 = 8e-5 of the keys."""
    for p in (0.05, 0.5, 0.9):
        means, errors = numbers.convergence(p)
        assert (np.abs(means[-1] - [0.36, 0.13, 0.42, 0.25]) < 4.5 * errors[-1]).all()
        draws = thinned.functional.dropout(
            torch.tensor([0.36, 0.13, 0.42, 0.25], dtype=torch.float64), p, key=20, call=0
        )
        np.testing.assert_allclose(means[0], draws.numpy(), rtol=1e-15)
    assert found["A thousand masks"].verdict == HOLDS


def test_forgetting_the_mask_changes_the_gradient_and_the_network(found: dict[str, Claim]) -> None:
    mask = np.array([True, False, True, False])
    trace, right, _ = numbers.step(0.5, mask)
    wrong = forgetful(net.EXAMPLE, trace, np.array([1.0]))
    assert (wrong.hidden_weight[:, ~mask] != 0).all()
    np.testing.assert_allclose(wrong.hidden_weight[:, mask], 0.5 * right.hidden_weight[:, mask])
    assert np.array_equal(wrong.output_weight, right.output_weight)
    cells = {row[0]: row[1:] for row in found["A backward pass that forgets the mask"].table}
    assert cells["loss on the five rows, 1,000 epochs"][0] != cells["loss on the five rows, 1,000 epochs"][1]


def test_a_validation_loss_of_training_rows_has_no_gap_without_dropout() -> None:
    gaps = {p: evaluation - training for p, training, evaluation, _ in self_validation()}
    assert gaps[0.0] == 0
    assert all(gap < 0 for p, gap in gaps.items() if p)


def test_after_100_epochs_nothing_is_learnt_but_the_share(found: dict[str, Claim]) -> None:
    losses = sweep(100).train
    assert losses.shape == (10, len(RATES))
    assert losses.min() > 0.65
    assert losses.max() < 0.68
    assert found["Losses after 100 epochs"].verdict == FAILS


def test_with_1000_epochs_dropout_takes_loss_off_other_rows() -> None:
    held_out = sweep(1000).held_out
    assert (np.diff(held_out.mean(0)) < 0).all()
    assert sweep(1000).train.mean(0)[0] < 0.25


def test_every_claim_has_a_verdict_and_figures(found: dict[str, Claim]) -> None:
    assert len(found) == 14
    for claim in found.values():
        assert any(character.isdigit() for character in claim.result + str(claim.table))
        assert len({len(row) for row in claim.table}) <= 1
