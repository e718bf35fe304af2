"""From outputs to predictions: the axis of classes, distributions, and shapes at the edges."""

import pytest
import torch
from ensemble_models import ROWS, Functional, mlp
from torch import nn

from thinned import ensemble
from thinned.errors import InputError


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


IMAGES = torch.randn(2, 3, 6, 7)


def segmentation():
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Dropout2d(0.5), nn.Conv2d(8, 4, 1)).eval()


def last(output):
    return output.movedim(1, -1)


@pytest.mark.parametrize("function", [ensemble.predict, ensemble.sample, ensemble.enumerate, ensemble.gap])
def test_classes_of_images_need_their_axis(function):
    with pytest.raises(
        InputError, match=r"got an output of shape \(2, 4, 6, 7\); pass select=lambda output: .*movedim"
    ):
        function(segmentation(), IMAGES, output="logits")
    assert function(segmentation(), IMAGES, output="values") is not None


def test_classes_of_images_on_the_last_axis():
    model = segmentation()
    prediction = ensemble.predict(model, IMAGES, 8, output="logits", select=last)
    p = ensemble.sample(model, IMAGES, 8).outputs.softmax(2)
    torch.testing.assert_close(prediction.mean, last(p.mean(0)))
    torch.testing.assert_close(prediction.total, torch.special.entr(p.mean(0)).sum(1))
    assert prediction.total.shape == (2, 6, 7)


def test_classes_of_sequences_are_last_unless_a_convolution_made_them():
    sequences = torch.randn(2, 5, 6)
    tokens = nn.Sequential(nn.Dropout(0.5), nn.Linear(6, 4))
    assert ensemble.predict(tokens, sequences, 4, output="logits").total.shape == (2, 5)
    convolved = nn.Sequential(nn.Dropout(0.5), nn.Conv1d(5, 4, 1))
    with pytest.raises(InputError, match="axis of classes"):
        ensemble.predict(convolved, sequences, 4, output="logits")
    upsampled = nn.Sequential(convolved, nn.Upsample(scale_factor=2))
    with pytest.raises(InputError, match="axis of classes"):
        ensemble.predict(upsampled, sequences, 4, output="logits")
    assert ensemble.predict(convolved, sequences, 4, output="logits", select=last).total.shape == (2, 6)


@pytest.mark.parametrize("function", [ensemble.predict, ensemble.enumerate, ensemble.gap])
def test_independent_labels_are_no_distribution(function):
    labels = nn.Sequential(mlp(), nn.Sigmoid())
    with pytest.raises(InputError, match=r"must sum to 1.*one at a time"):
        function(labels, ROWS, output="probabilities")
    one = function(labels, ROWS, output="probabilities", select=lambda output: output[:, 1:2])
    assert one.mean.shape == (5, 1)


def test_logits_are_no_probabilities():
    with pytest.raises(InputError, match=r"probabilities must lie in \[0, 1\].*softmax"):
        ensemble.sample(mlp(), ROWS, 4, output="probabilities")


class Squeezed(nn.Module):
    """Makes a scalar of a batch of one row."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 1))

    def forward(self, x):
        return self.inner(x).squeeze()


@pytest.mark.parametrize("output", ["values", "logits"])
def test_a_scalar_is_the_prediction_of_one_row(output):
    model = Squeezed()
    whole = ensemble.predict(model, ROWS, 12, output=output)
    one = ensemble.predict(model, ROWS[2:3], 12, output=output)
    for name in ("mean", "total", "aleatoric", "epistemic"):
        assert getattr(one, name).shape == ()
        torch.testing.assert_close(getattr(one, name), getattr(whole, name)[2])
    assert ensemble.enumerate(model, ROWS[:1], output=output).mean.shape == ()


@pytest.mark.parametrize("output", ["values", "logits"])
def test_no_rows_give_no_predictions(output):
    none = ensemble.predict(mlp(), ROWS[:0], 20, output=output, until=0.1)
    assert none.sample.outputs.shape == (16, 0, 3)
    assert none.mean.shape == (0, 3)
    assert none.total.shape == ((0, 3) if output == "values" else (0,))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_members_that_agree_have_no_epistemic_part_below_zero(dtype):
    model = mlp()
    nn.init.zeros_(model[3].weight)
    prediction = ensemble.predict(model.to(dtype), ROWS.to(dtype), 33, output="logits")
    assert prediction.epistemic.min() >= 0
    assert prediction.epistemic.float().sqrt().isfinite().all()


def test_results_are_short_in_print():
    model, x = Functional().eval(), {"x": torch.randn(500, 6)}
    prediction = ensemble.predict(model, x, 4)
    every = ensemble.enumerate(mlp(hidden=6), ROWS)
    for result in (prediction, prediction.sample, every, ensemble.gap(mlp(hidden=6), ROWS)):
        text = repr(result)
        assert len(text) < 400
        assert "object at 0x" not in text
        assert "tensor(" not in text
    assert repr(prediction).startswith("Prediction(mean=float32[500, 3], total=float32[500, 3]")
