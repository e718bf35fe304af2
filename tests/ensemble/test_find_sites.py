"""Sites of the ensemble: found again when a model changes, and their axis of examples."""

import pytest
import torch
import torch.nn.functional as F
from ensemble_models import ROWS, Recurrent
from torch import nn

from thinned import ensemble
from thinned.ensemble.forward import ForwardPasses
from thinned.errors import InputError


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def test_what_was_found_is_looked_for_again_when_the_model_changes():
    class Optional(nn.Module):
        def __init__(self):
            super().__init__()
            self.drop, self.more = nn.Dropout(0.5), False

        def forward(self, x):
            return F.dropout(self.drop(x), 0.5, self.training and self.more)

    model = Optional()
    assert len(ForwardPasses(model, ROWS, None, None, None).sites) == 1
    model.more = True
    assert len(ForwardPasses(model, ROWS, None, None, None).sites) == 2
    model.drop.p = 0.0
    assert [site.name for site in ForwardPasses(model, ROWS, None, None, None).sites] == [""]


def test_time_and_batch_of_one_size_must_be_told_apart():
    with pytest.raises(InputError, match="batch_axis"):
        ensemble.sample(Recurrent(nn.LSTM), torch.randn(4, 4, 6), 2)
    assert ForwardPasses(Recurrent(nn.LSTM), torch.randn(4, 4, 6), None, None, 1).sites[0].batch_axis == 1


def test_another_value_of_an_argument_that_is_no_tensor_is_another_pass():
    class Deep(nn.Module):
        def forward(self, x, deep=False):
            return F.dropout(F.dropout(x, 0.5, self.training), 0.5, self.training and bool(deep))

    model = Deep()
    found = [ForwardPasses(model, {"x": ROWS, "deep": deep}, None, None, None).sites for deep in (False, True, [], [1])]
    assert [len(sites) for sites in found] == [1, 2, 1, 2]
