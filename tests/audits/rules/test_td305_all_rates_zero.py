"""TD305: every rate is 0."""

import pytest
import torch
from torch import nn

import thinned


@pytest.mark.parametrize(("p", "codes"), [(0.0, {"TD305"}), (0.1, set())])
def test_rates_of_zero(p: float, codes: set[str]) -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(p), nn.Linear(4, 2))
    result = thinned.audit(model, torch.ones(4, 4))
    assert result.codes() == codes
    assert all(finding.severity == "info" for finding in result)


def test_a_model_without_dropout_has_no_rates() -> None:
    assert not thinned.audit(nn.Linear(4, 2), torch.ones(4, 4))
