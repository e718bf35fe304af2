"""Samples and predictions: against plain loops, for every kind of site."""

import math

import numpy as np
import pytest
import torch
from ensemble_models import (
    MODELS,
    ROWS,
    assert_same,
    everything,
    loop,
    mlp,
)
from torch import nn

import thinned
from thinned import ensemble, masks, philox
from thinned.errors import InputError


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("training", [False, True])
def test_members_in_one_batch_equal_the_loop_and_the_model_stays(name, training):
    build, x = MODELS[name]
    model = build().train(training)
    before = everything(model)
    drawn = ensemble.sample(model, x, 12)
    assert_same(before, everything(model))
    assert drawn.loop == ""
    assert drawn.std.max() > 1e-3
    torch.testing.assert_close(drawn.outputs, loop(model, x, 12), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", [n for n in MODELS if n != "our layers"])  # a concrete mask is of its row
def test_a_member_is_one_network_however_rows_are_batched(name):
    build, x = MODELS[name]
    model = build().eval()
    axis = 1 if "time first" in name else 0
    all_rows, keywords = ensemble.sample(model, x, 6).outputs, isinstance(x, dict)

    def one(row):
        tensors = {k: v[row : row + 1] if isinstance(v, torch.Tensor) else v for k, v in x.items()} if keywords else {}
        part = tensors if keywords else x.narrow(axis, row, 1)
        return ensemble.sample(model, part, 6, batch_axis=axis).outputs

    for row in range(3):
        torch.testing.assert_close(one(row), all_rows.narrow(axis + 1, row, 1), atol=1e-5, rtol=1e-5)


def test_masks_are_those_of_the_address():
    model = nn.Sequential(nn.Dropout(0.3), nn.Identity())
    outputs = ensemble.sample(model, torch.ones(2, 7), 5, seed=3).outputs
    for member in range(5):
        key = philox.fold_in(philox.fold_in(3, philox.site_number("0")), member)
        kept = masks.keep_mask((7,), 0.3, key)
        assert torch.equal(outputs[member], (kept * torch.tensor(philox.scale(0.3), dtype=torch.float32)).expand(2, 7))


def test_fold_in_each_is_fold_in():
    numbers = [0, 1, 17, 2**32, 2**64 - 1]
    assert philox.fold_in_each(5, numbers).tolist() == [philox.fold_in(5, n) for n in numbers]
    assert philox.fold_in_each(5, numbers).dtype == np.uint64


def test_an_addressed_model_has_the_same_members_and_its_clock_stands():
    model = mlp().train()
    before = ensemble.sample(model, ROWS, 5).outputs
    thinned.address(model, seed=9)
    model(ROWS)
    assert torch.equal(ensemble.sample(model, ROWS, 5).outputs, before)
    assert int(model.thinned_clock) == 1


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_compiled_model_has_the_same_members():
    model = mlp()
    expected = ensemble.sample(model, ROWS, 5).outputs
    assert torch.equal(ensemble.sample(torch.compile(model), ROWS, 5).outputs, expected)


def test_half_precision():
    model = mlp().bfloat16()
    every, drawn = (f(model, ROWS.bfloat16(), output="logits") for f in (ensemble.enumerate, ensemble.sample))
    assert every.mean.dtype == drawn.mean.dtype == torch.bfloat16
    wide = ensemble.enumerate(model.double(), ROWS.bfloat16().double(), output="logits")
    # an output has a few roundings to 8 bits: 2^-8 relative each, of logits below 2
    torch.testing.assert_close(every.mean.double(), wide.mean, atol=2**-6, rtol=0)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_transformers(attention):
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32
    )
    config._attn_implementation = attention
    model = transformers.BertForSequenceClassification(config).eval()
    x = {"input_ids": torch.randint(50, (3, 7)), "attention_mask": torch.ones(3, 7, dtype=torch.long)}
    before = everything(model)
    drawn = ensemble.sample(model, x, 6)
    assert_same(before, everything(model))
    assert drawn.loop == ""
    assert drawn.std.max() > 1e-3
    torch.testing.assert_close(drawn.outputs, loop(model, x, 6), atol=1e-5, rtol=1e-4)
    hidden = ensemble.sample(model.bert, x, 3, select=lambda out: out.last_hidden_state)
    assert hidden.mean.shape == (3, 7, 16)


def test_stopping_when_the_error_is_small_enough():
    model = mlp()
    drawn = ensemble.sample(model, ROWS, 5000, until=0.05)
    assert 16 < drawn.members < 5000
    assert drawn.members % 16 == 0
    assert drawn.standard_error.max() <= 0.05
    sooner = ensemble.sample(model, ROWS, drawn.members - 16)
    assert sooner.standard_error.max() > 0.05
    torch.testing.assert_close(drawn.outputs[:-16], sooner.outputs)
    torch.testing.assert_close(drawn.std, drawn.outputs.std(0))
    torch.testing.assert_close(drawn.mean, drawn.outputs.mean(0))


@pytest.mark.parametrize("name", ["channels, alpha", "attention with weights", "scaled dot product"])
def test_the_mean_of_a_sample_goes_to_that_of_the_enumeration(name):
    """False-fail rate below 1e-4: 5 standard errors for 30 numbers, of fixed seeds."""
    build, x = MODELS[name]
    model, x = build().eval(), x[:1, ..., :2, :] if x.ndim == 4 and name.startswith("scaled") else x[:1]
    if name.startswith("scaled"):
        x = x[:, :1]
    if name.startswith("attention"):
        x = x[:, :2]
    every, drawn = ensemble.enumerate(model, x), ensemble.sample(model, x, 2000)
    assert ((drawn.mean - every.mean).abs() <= 5 * drawn.standard_error + 1e-6).all()


def test_the_sampling_error_falls_as_one_over_the_root_of_members():
    """The slope's standard deviation is below 0.02 with 64 groups of 256 members: 0.08 fails with chance 1e-4."""
    model = mlp(hidden=10)
    mean, outputs = ensemble.enumerate(model, ROWS).mean, ensemble.sample(model, ROWS, 1 << 14).outputs
    sizes = [4, 16, 64, 256]
    errors = [float((outputs.reshape(-1, n, 5, 3).mean(1) - mean).square().mean().sqrt()) for n in sizes]
    slope = np.polyfit(np.log(sizes), np.log(errors), 1)[0]
    assert slope == pytest.approx(-0.5, abs=0.08)


def test_predictions_split_their_uncertainty():
    model = mlp()
    for output, entropy in (("logits", True), ("values", False)):
        found = ensemble.predict(model, ROWS, 32, output=output)
        torch.testing.assert_close(found.total, found.aleatoric + found.epistemic)
        assert (found.epistemic > 0).all()
        assert (found.total.max() <= math.log(3) + 1e-6) or not entropy
    noisy = ensemble.predict(model, ROWS, 32, noise=0.25)
    torch.testing.assert_close(noisy.aleatoric, torch.full((5, 3), 0.25))
    torch.testing.assert_close(noisy.epistemic, noisy.sample.outputs.var(0))
    with pytest.raises(InputError, match="noise is for values"):
        ensemble.predict(model, ROWS, output="logits", noise=1.0)
