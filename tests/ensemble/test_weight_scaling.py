"""The error of weight scaling: zero without a nonlinearity."""

import pytest
import torch
from ensemble_models import ROWS, mlp
from torch import nn

from thinned import ensemble


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def test_the_gap_is_nothing_without_a_nonlinearity_and_something_with_one():
    x = ROWS.double()
    layers = [nn.Linear(6, 4), nn.Dropout(0.5), nn.Linear(4, 4), nn.Dropout(0.2), nn.Linear(4, 1)]
    linear = nn.Sequential(*layers).double()
    # at most 8 decisions, each a product: 1e-14 is 100 roundings of numbers about 1
    assert ensemble.gap(linear, x).gap.abs().max() < 1e-14
    logistic = ensemble.gap(linear, x, output="logits")
    assert logistic.exact
    assert logistic.geometric.abs().max() < 1e-14
    assert logistic.gap.abs().max() > 1e-4
    bent = ensemble.gap(nn.Sequential(*layers[:3], nn.ReLU(), *layers[3:]).double(), x)
    assert bent.gap.abs().max() > 1e-4
    assert bent.geometric is None


def test_a_sampled_gap_has_a_standard_error_that_holds_the_exact_one():
    """Of 5 numbers, one is farther off than 5 standard errors with chance 3e-6."""
    model = nn.Sequential(nn.Linear(6, 12), nn.Dropout(0.5), nn.Linear(12, 6), nn.ReLU(), nn.Linear(6, 1))
    exact = ensemble.gap(model, ROWS, output="logits")
    from thinned.ensemble.weight_scaling import _sampled_gap

    drawn = _sampled_gap(model, ROWS, 2000, "logits", 0, None, None, None)
    assert not drawn.exact
    assert ((drawn.gap - exact.gap).abs() < 5 * drawn.standard_error).all()
    torch.testing.assert_close(drawn.weight_scaled, exact.weight_scaled)
    wide = ensemble.gap(mlp(hidden=40), ROWS, members=64)
    assert not wide.exact
    assert wide.standard_error.min() > 0
